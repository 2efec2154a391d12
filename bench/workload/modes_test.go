package workload_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/workload"
)

// source answers calls as the upstream of the benchmark does.
type source struct {
	begun atomic.Int64
	spoil string // the key of a call that is answered wrongly
}

func (s *source) ask(_ context.Context, _ string, arguments []byte) ([]byte, error) {
	var a struct {
		Key   string
		MS    float64
		Of    []string
		Rows  []float64
		Fails bool
	}
	if err := json.Unmarshal(arguments, &a); err != nil {
		return nil, err
	}
	at, began := s.begun.Add(1), time.Now()
	time.Sleep(time.Duration(a.MS * float64(time.Millisecond)))
	if a.Fails {
		return []byte(`{"isError":true,"content":[]}`), nil
	}
	value := a.Key + "(" + strings.Join(a.Of, ",") + ")"
	if a.Key == s.spoil {
		value += "?"
	}
	var rows []map[string]any
	for i, ms := range a.Rows {
		rows = append(rows, map[string]any{"value": fmt.Sprintf("%s[%d]", value, i), "ms": ms})
	}
	return json.Marshal(map[string]any{"structuredContent": map[string]any{
		"value": value, "rows": rows, "took_us": time.Since(began).Microseconds(), "at": at,
	}})
}

// TestModesTakeWhatTheyMust carries plans out where nothing but the source takes
// time: the modes of a client then take exactly what the scheduler says.
func TestModesTakeWhatTheyMust(t *testing.T) {
	for _, shape := range workload.Shapes() {
		synctest.Test(t, func(t *testing.T) {
			p := shape.Draw(0, 1)
			var took []time.Duration
			sum := time.Duration(0)
			for mode, want := range map[int]func() time.Duration{
				workload.Sequential: func() time.Duration { return sum },
				workload.Eager:      func() time.Duration { return p.Critical(took) },
				workload.ByLevel: func() time.Duration {
					all := time.Duration(0)
					for _, level := range p.Levels() {
						longest := time.Duration(0)
						for _, i := range level {
							longest = max(longest, took[i])
						}
						all += longest
					}
					return all
				},
			} {
				run, err := workload.Modes()[mode].Do(t.Context(), new(source).ask, &p, 1)
				if err != nil {
					t.Fatalf("%s: %v", shape.Name, err)
				}
				sum, took = 0, run.Took()
				for _, d := range took {
					sum += d
				}
				if off := (run.Wall - want()).Abs(); off > time.Millisecond {
					t.Errorf("%s, %s: %v, want %v", shape.Name, workload.Modes()[mode].Name, run.Wall, want())
				}
			}
		})
	}
}

func TestWrongValuesAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, shape := range workload.Shapes() {
			if !strings.HasPrefix(shape.Name, "S3") {
				continue
			}
			p := shape.Draw(0, 1)
			for mode := range workload.Batch {
				_, err := workload.Modes()[mode].Do(t.Context(), (&source{spoil: "s1"}).ask, &p, 1)
				if err == nil || !strings.Contains(err.Error(), `s1()?`) {
					t.Errorf("mode %d takes a wrong value: %v", mode, err)
				}
			}
		}
	})
}

func TestAFailureToAskEndsTheRun(t *testing.T) {
	broken := func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("broken") }
	garbage := func(context.Context, string, []byte) ([]byte, error) { return []byte(`{}`), nil }
	for _, shape := range workload.Shapes() {
		p := shape.Draw(0, 1)
		for _, mode := range workload.Modes() {
			if _, err := mode.Do(t.Context(), broken, &p, 1); err == nil || !strings.Contains(err.Error(), "broken") {
				t.Errorf("%s, %s: %v", shape.Name, mode.Name, err)
			}
			if _, err := mode.Do(t.Context(), garbage, &p, 1); err == nil {
				t.Errorf("%s, %s: garbage is an answer", shape.Name, mode.Name)
			}
		}
	}
}

// TestBatchReadsItsAnswer has a tool that says what became of each call.
func TestBatchReadsItsAnswer(t *testing.T) {
	p := workload.Plan{Calls: []workload.Call{
		{ID: "list", Source: "a", Rows: []time.Duration{time.Second, 2 * time.Second}},
		{ID: "row.0", Source: "a", Takes: time.Second},
		{ID: "row.1", Source: "a", Takes: 2 * time.Second},
		{ID: "no", Source: "b", Fails: true, Takes: 3 * time.Second},
		{ID: "never", Source: "b", Of: []int{3}},
	}}
	var asked string
	answer := `{"structuredContent":{"results":[` +
		`{"id":"list","status":"ok","result":{"value":"list()","took_us":7,"at":1}},` +
		`{"id":"row","status":"ok","items":[{"status":"ok","result":{"value":"row(list()[0])","at":3}},{"status":"ok","result":{"value":"row(list()[1])","at":2}}]},` +
		`{"id":"no","status":"error"},{"id":"never","status":"skipped"}]}}`
	run, err := workload.Modes()[workload.Batch].Do(t.Context(), func(_ context.Context, tool string, arguments []byte) ([]byte, error) {
		asked = tool + " " + string(arguments)
		return []byte(answer), nil
	}, &p, 9)
	if err != nil {
		t.Fatal(err)
	}
	const want = `bulkhead_batch_read {"calls":[{"id":"list","tool":"a_read","arguments":{"key":"list","run":9,"ms":0,"rows":[1000,2000]}},` +
		`{"id":"row","tool":"a_read","arguments":{"key":"row","run":9,"ms":{"$ref":"#/item/ms"},"of":[{"$ref":"#/item/value"}]},"map":{"$ref":"#/list/rows"}},` +
		`{"id":"no","tool":"b_read","arguments":{"key":"no","run":9,"ms":3000,"fails":true}},` +
		`{"id":"never","tool":"b_read","arguments":{"key":"never","run":9,"ms":0,"of":[{"$ref":"#/no/value"}]}}]}`
	if asked != want {
		t.Errorf("asked %s", asked)
	}
	if took := run.Took(); took[0] != 7*time.Microsecond || took[3] != 3*time.Second || took[4] != 0 {
		t.Errorf("took %v", took)
	}
	if p.Calls[0].Write = true; true {
		if tool, _, err := p.Batch(1); err != nil || tool != "bulkhead_batch" {
			t.Errorf("a plan that writes goes to %s, %v", tool, err)
		}
	}
}
