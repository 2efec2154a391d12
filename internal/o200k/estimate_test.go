package o200k_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/internal/o200k"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// pieces cuts a text into some of about 2 kB.
func pieces(text string) (out []string) {
	const size = 2000
	for len(text) >= size {
		n := size
		for n < len(text) && text[n]&0xC0 == 0x80 {
			n++
		}
		out, text = append(out, text[:n]), text[n:]
	}
	return out
}

func read(t *testing.T, patterns ...string) (out []string) {
	t.Helper()
	for _, p := range patterns {
		paths, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(p)))
		if err != nil || paths == nil {
			t.Fatalf("%s: %v, %v", p, paths, err)
		}
		for _, path := range paths {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, pieces(string(raw))...)
		}
	}
	return out
}

// sampled returns the definitions of the sample sources, and what they answer.
func sampled(t *testing.T) (definitions, results []string) {
	t.Helper()
	var all strings.Builder
	for _, name := range sandbox.Names() {
		a, err := sandbox.New(name, sandbox.Options{})
		if err != nil {
			t.Fatal(err)
		}
		tools, err := a.Tools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range tools {
			definitions = append(definitions, string(tools[i].Raw))
			for _, query := range []string{"a", "e", "re"} {
				c := &upstream.Call{
					Op: upstream.CallTool, Name: tools[i].Name, Tool: &tools[i], Principal: upstream.Local(),
					Arguments: fmt.Appendf(nil, `{"query":%q}`, query),
				}
				if res, err := a.Call(t.Context(), c); err == nil {
					all.Write(res.Raw)
				}
			}
		}
	}
	return definitions, pieces(all.String())
}

// TestEstimate holds the error that is promised, against the exact count, over
// what Bulkhead carries and over what else people write.
func TestEstimate(t *testing.T) {
	exact := o200k.NewCounter()
	definitions, results := sampled(t)
	tests := map[string]struct {
		texts       []string
		each, inAll float64 // relative errors
	}{
		"definitions": {definitions, 0.15, 0.05},
		"results":     {results, 0.15, 0.06},
		"JSON":        {read(t, "docs/config.schema.json"), 0.10, 0.05},
		"code":        {read(t, "aggregate/b*.go", "upstream/rest/connectors/z*.toml"), 0.15, 0.06},
		"English":     {read(t, "docs/*.md"), 0.40, 0.10}, // with tables, which are dense,
		"German":      {[]string{strings.Repeat("Die Kundin bittet um Rückruf, weil die Rechnung vom Mai den Rabatt nicht enthält. ", 20)}, 0.30, 0.30},
		"Russian":     {[]string{strings.Repeat("Клиент просит вернуть деньги за заказ, который не пришёл вовремя. ", 20)}, 0.30, 0.30},
		"Chinese":     {[]string{strings.Repeat("客户要求退还未按时到货的订单款项，请尽快处理。", 30)}, 0.30, 0.30},
		"identifiers": {[]string{strings.Repeat(`{"id":"7f3a9c04-e1d2-4b58-9a6f-0c2d8e4b71a5","at":"2026-11-23T09:41:07Z"},`, 20)}, 0.30, 0.30},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if len(tt.texts) == 0 {
				t.Fatal("nothing to compare")
			}
			var estimated, sampled, counted float64
			for _, text := range tt.texts {
				e, n := float64(o200k.Estimate([]byte(text))), float64(exact.Count(text))
				if off := e/n - 1; math.Abs(off) > tt.each {
					t.Errorf("%.0f for %.0f tokens, %+.0f %%: %.80q", e, n, 100*off, text)
				}
				estimated, sampled, counted = estimated+e, sampled+float64(o200k.Sample([]byte(text), 4)), counted+n
			}
			if off := estimated/counted - 1; math.Abs(off) > tt.inAll {
				t.Errorf("%+.1f %% in all", 100*off)
			}
			if off := sampled/counted - 1; len(tt.texts) > 10 && math.Abs(off) > 0.12 {
				t.Errorf("%+.1f %% in all by samples", 100*off)
			}
			t.Logf("%d texts, %.0f tokens, %+.1f %%, by samples %+.1f %%", len(tt.texts), counted, 100*(estimated/counted-1), 100*(sampled/counted-1))
		})
	}
}

// TestEstimateOfAnything holds that nothing makes it fail or nonsensical.
func TestEstimateOfAnything(t *testing.T) {
	for _, text := range []string{"", "a", " ", "\x80\x80\xff", strings.Repeat("\x00", 300), strings.Repeat("{", 1<<16), strings.Repeat("é", 1<<16)} {
		for what, n := range map[string]int{"estimate": o200k.Estimate([]byte(text)), "sample": o200k.Sample([]byte(text), 4)} {
			if n < 0 || n > 2*len(text)+1 {
				t.Errorf("%s of %.10q (%d bytes) is %d", what, text, len(text), n)
			}
		}
	}
	if n := o200k.Estimate(nil); n != 0 {
		t.Errorf("nothing is %d tokens", n)
	}
}

// TestCount holds the exact count to what the vocabulary's maker publishes
// (openai/tiktoken, README: "hello world" is two tokens in o200k_base).
func TestCount(t *testing.T) {
	c := o200k.NewCounter()
	for text, want := range map[string]int{"": 0, "hello world": 2, "hello": 1} {
		if n := c.Count(text); n != want {
			t.Errorf("%q is %d tokens, not %d", text, n, want)
		}
	}
}

func BenchmarkSample(b *testing.B) {
	text := []byte(strings.Repeat(`{"order_id":"O-4711","status":"shipped","total":129.90},`, 1000))
	for b.Loop() {
		o200k.Sample(text, 4)
	}
}

func BenchmarkEstimate(b *testing.B) {
	text := []byte(strings.Repeat(`{"order_id":"O-4711","status":"shipped","total":129.90},`, 1000))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		o200k.Estimate(text)
	}
}

// TestCost holds the rule by which runs are compared to sums by hand.
func TestCost(t *testing.T) {
	a, b := o200k.Turn{Written: 3, Read: 10}, o200k.Turn{Written: 5, Read: 20}
	const definitions, question = 100, 7
	tests := map[string]struct {
		turns [][]o200k.Turn
		want  int
	}{
		"no call":     {nil, 107},
		"one":         {[][]o200k.Turn{{a}}, 107 + 3 + (107 + 13)},
		"one by one":  {[][]o200k.Turn{{a}, {b}}, 107 + 3 + (107 + 13) + 5 + (107 + 13 + 25)},
		"at once":     {[][]o200k.Turn{{a, b}}, 107 + 3 + 5 + (107 + 13 + 25)},
		"other order": {[][]o200k.Turn{{b}, {a}}, 107 + 5 + (107 + 25) + 3 + (107 + 25 + 13)},
	}
	for name, tt := range tests {
		if n := o200k.Cost(definitions, question, tt.turns...); n != tt.want {
			t.Errorf("%s: %d, not %d", name, n, tt.want)
		}
	}
}
