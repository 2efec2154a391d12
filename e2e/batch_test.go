package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// TestBatch: a model sends one plan in place of four calls in three turns. What
// needs another call's result waits for it, the others do not, and what a tool
// requires is said and held.
func TestBatch(t *testing.T) {
	const latency = 300 * time.Millisecond
	config := sandboxUpstream("crm", "crm", latency) +
		sandboxUpstream("shop", "warehouse", latency, "tools.override.recent_orders.requires = ['top_customers']") +
		sandboxUpstream("desk", "tickets", latency)
	for _, modern := range []bool{false, true} {
		t.Run(fmt.Sprint("modern ", modern), func(t *testing.T) {
			_, url := serveHTTP(t, config)
			c := overHTTP(t, url, modern)
			c.ready()
			list := c.must("tools/list", nil)
			tools, _ := rawjson.Get(list, "tools")
			described := map[string]string{}
			for tool := range rawjson.Elements(tools) {
				name, _ := rawjson.GetString(tool, "name")
				described[name], _ = rawjson.GetString(tool, "description")
			}
			if d := described["shop_recent_orders"]; !strings.HasPrefix(d, "REQUIRES: output of shop_top_customers. ") {
				t.Errorf("shop_recent_orders is described as %q", d)
			}
			const orders = `{"id":"orders","tool":"shop_recent_orders","arguments":{"customer_id":{"$ref":"#/%s/customers/0/%s"}}}`
			calls := func(more ...string) json.RawMessage {
				return json.RawMessage("[" + strings.Join(append([]string{
					`{"id":"who","tool":"crm_find_customers","arguments":{"query":"a"}}`,
					`{"id":"tickets","tool":"desk_open_tickets","arguments":{"customer_id":{"$ref":"#/who/customers/0/customer_id"}}}`,
				}, more...), ",") + "]")
			}
			r := c.mustCall("bulkhead_batch_read", map[string]any{"calls": calls(fmt.Sprintf(orders, "who", "id"))})
			if !r.IsError || !strings.Contains(r.text(), "orders: shop_recent_orders needs the output of shop_top_customers, which is not in the plan") {
				t.Errorf("a plan without what it needs: %s", r.text())
			}
			top := `{"id":"top","tool":"shop_top_customers"}`
			began := time.Now()
			r = c.mustCall("bulkhead_batch_read", map[string]any{"calls": calls(top, fmt.Sprintf(orders, "top", "customer_id"))})
			wall := time.Since(began)
			var b struct {
				Summary string
				Results []struct{ ID, Status, Source, Error string }
				Timing  struct {
					Wall     int `json:"wall_ms"`
					Critical int `json:"critical_path_ms"`
					Sum      int `json:"sum_ms"`
				}
			}
			if err := json.Unmarshal(r.Structured, &b); err != nil || r.IsError || b.Summary != "4 of 4 calls succeeded." {
				t.Fatalf("%v: %s", err, r.text())
			}
			// Two calls that wait for each other are its longest chain, and the other two are
			// not in it. That they run at once is for TestBatchAtOnce to say.
			const one = int(latency / time.Millisecond)
			if c := b.Timing.Critical; c < 2*one || c > b.Timing.Wall || b.Timing.Sum < c+2*one || int(wall.Milliseconds()) < b.Timing.Wall {
				t.Errorf("wall %v, %+v", wall, b.Timing)
			}
			if s := b.Results[1]; s.Source != "desk" || s.ID != "tickets" {
				t.Errorf("%+v", b.Results)
			}
		})
	}
}

// batched is what a plan was answered.
type batched struct {
	Summary string
	Results []struct {
		ID, Status, Code, Source, Error string
		Result, Content                 json.RawMessage
		Reused                          bool
	}
}

func (b batched) String() string {
	var out []string
	for _, r := range b.Results {
		out = append(out, strings.TrimRight(r.ID+" "+r.Status+" "+r.Code, " "))
	}
	return strings.Join(out, ", ")
}

func decoded(t *testing.T, structured []byte) (b batched) {
	t.Helper()
	if err := json.Unmarshal(structured, &b); err != nil {
		t.Fatalf("%v: %.300s", err, structured)
	}
	return b
}

// halfFailing stands before a server and lets the calls whose argument n is odd fail
// the first time, each in another way.
type halfFailing struct {
	http.Handler
	mu   sync.Mutex
	seen map[int]int
}

func newHalfFailing(t *testing.T, server string) (f *halfFailing, endpoint string) {
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, to.Host
	}}
	f = &halfFailing{Handler: proxy, seen: map[int]int{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return f, s.URL + to.Path
}

func (f *halfFailing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	text := at(body, "params", "arguments", "n")
	n, err := strconv.Atoi(text)
	if err != nil {
		f.Handler.ServeHTTP(w, r)
		return
	}
	f.mu.Lock()
	f.seen[n]++
	first := f.seen[n] == 1
	f.mu.Unlock()
	id := at(body, "id")
	w.Header().Set("Content-Type", "application/json")
	switch {
	case !first || n%2 == 0:
		f.Handler.ServeHTTP(w, r)
	case n%8 == 1:
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32050,"message":"it is broken"}}`, id)
	case n%8 == 3:
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"no such record"}],"isError":true}}`, id)
	case n%8 == 5:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		panic(http.ErrAbortHandler) // the connection breaks
	}
}

// TestBatchHalfOfWhichFails: what succeeds is byte by byte what a single call
// answers, each failure names its source and how it failed, and the plan sent again
// makes only the calls that failed.
func TestBatchHalfOfWhichFails(t *testing.T) {
	const n = 16
	f, endpoint := newHalfFailing(t, startFixture(t, buildFixture(t), "-http", "127.0.0.1:0", "-era", "legacy"))
	config := upstreamTable("crm", fmt.Sprintf("url = %q", endpoint), "retry.attempts = 1", "breaker.failures = 1000", "trust_annotations = true",
		"tools.override.odd_arguments.read_only = true", "tools.override.odd_result.read_only = true")
	_, url := serveHTTP(t, "[server]\nlist_wait = '30s'\n"+config)
	c := overHTTP(t, url, true)
	c.ready()
	arguments := func(i int) string {
		return fmt.Sprintf(`{"n":%d,"big":123456789012345678901,"e":1e400,"t":"caf\u00e9 %d"}`, i, i)
	}
	tools := []string{"crm_odd_arguments", "crm_odd_result"}
	var calls []string
	for i := range n {
		calls = append(calls, fmt.Sprintf(`{"id":"n%d","tool":%q,"arguments":%s}`, i, tools[i/2%2], arguments(i)))
	}
	plan := map[string]any{"calls": json.RawMessage("[" + strings.Join(calls, ",") + "]")}
	codes := map[int]string{1: "upstream_error", 3: "tool_error", 5: "unavailable", 7: "unavailable"}
	first := decoded(t, c.mustCall("bulkhead_batch_read", plan).Structured)
	for i, r := range first.Results {
		want := "ok"
		if i%2 == 1 {
			want = "error"
		}
		if r.Status != want || r.Code != codes[i%8] || r.Source != "crm" || want == "error" && r.Code != "tool_error" && !strings.HasPrefix(r.Error, r.Code+": crm: ") {
			t.Errorf("%d: %+v", i, r)
		}
		if want == "error" && !strings.Contains(first.Summary, fmt.Sprintf("n%d failed (crm %s)", i, codes[i%8])) {
			t.Errorf("%d is missing from %s", i, first.Summary)
		}
	}
	second := decoded(t, c.mustCall("bulkhead_batch_read", plan).Structured)
	if !strings.HasPrefix(second.Summary, "16 of 16 calls succeeded, 8 of them when this plan was sent before.") {
		t.Error(second.Summary)
	}
	f.mu.Lock()
	for i := range n {
		if want := 1 + i%2; f.seen[i] != want {
			t.Errorf("call %d reached the server %d times, not %d", i, f.seen[i], want)
		}
	}
	f.mu.Unlock()
	for i, r := range second.Results {
		raw := c.must("tools/call", map[string]any{"name": tools[i/2%2], "arguments": json.RawMessage(arguments(i))})
		single := sameValue(t, raw)
		if r.Reused != (i%2 == 0) || !slices.Contains(single, string(r.Result)) || i%2 == 0 && !slices.Contains(single, string(first.Results[i].Result)) {
			t.Errorf("%d (%v):\n%s\nand by itself\n%s", i, r.Reused, r.Result, single)
		}
	}
}

// sameValue is what a plan may answer for a result: its structured content; or its
// texts, as one, or as the values that they are, without space between tokens.
func sameValue(t *testing.T, result []byte) []string {
	t.Helper()
	compact := func(v []byte) string {
		var out bytes.Buffer
		if err := json.Compact(&out, v); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if structured, ok := rawjson.Get(result, "structuredContent"); ok {
		return []string{compact(structured)}
	}
	content, _ := rawjson.Get(result, "content")
	var texts []string
	for item := range rawjson.Elements(content) {
		text, _ := rawjson.GetString(item, "text")
		texts = append(texts, text)
	}
	return []string{string(rawjson.Quote(strings.Join(texts, "\n"))), compact([]byte("[" + strings.Join(texts, ",") + "]"))}
}

// TestBatchTellsAndAsks: while a plan runs its client hears of each call that ends,
// and what sources ask in the middle of one reaches a client that can be asked then.
// The other kind is told what to do; nothing hangs.
func TestBatchTellsAndAsks(t *testing.T) {
	const plan = `{"calls":[{"id":"p","tool":"odd_progress","arguments":{"count":3}},{"id":"e","tool":"odd_elicit_form","arguments":{"message":"sure?"}},` +
		`{"id":"s","tool":"odd_sample","arguments":{"prompt":"say"}},{"id":"r","tool":"test_simple_text","after":["p","e","s"],"arguments":{}}]}`
	program := buildFixture(t)
	eachUpstream(t, program, []way{{"http", "legacy"}, {"http", "modern"}}, func(t *testing.T, s *site, _ way) {
		for _, w := range slices.Concat(legacyClients, modernClients) {
			plan := strings.ReplaceAll(plan, `"after"`, `"on_error":"null","after"`)
			want := "p ok, e ok, s ok, r ok"
			if w.modern() {
				plan = strings.ReplaceAll(plan, `,"arguments":{"message"`, `,"on_error":"null","arguments":{"message"`)
				plan = strings.ReplaceAll(plan, `,"arguments":{"prompt"`, `,"on_error":"null","arguments":{"prompt"`)
			}
			c := s.join(w)
			x := c.ask("tools/call", tool("bulkhead_batch", plan), `"progressToken":"of the plan"`)
			result, _ := rawjson.Get(x.answer, "result")
			structured, _ := rawjson.Get(result, "structuredContent")
			b := decoded(t, structured)
			if w.modern() {
				want = "p ok, e error denied, s error denied, r ok"
				if b.Results[1].Code == "tool_error" { // the older kind of server fails by itself
					want = "p ok, e error tool_error, s error tool_error, r ok"
				} else if e := b.Results[1].Error; !strings.Contains(e, "which is not possible in the middle of a plan: odd_elicit_form has to be called by itself") {
					t.Errorf("%s: %s", w, e)
				}
			}
			if got := b.String(); got != want {
				t.Errorf("%s: %s\n%.600s", w, got, result)
			}
			last, asked := 0.0, 0
			for _, h := range x.before {
				switch h.method {
				case "notifications/progress":
					now, err := strconv.ParseFloat(at(h.text, "params", "progress"), 64)
					if err != nil || now <= last || now > 4 || at(h.text, "params", "total") != "4" || at(h.text, "params", "progressToken") != `"of the plan"` {
						t.Errorf("%s: after %v: %s", w, last, h.text)
					}
					last = now
				case "elicitation/create", "sampling/createMessage":
					asked++
				}
			}
			if last != 4 || asked != 0 && w.modern() || asked != 2 && !w.modern() {
				t.Errorf("%s: progress to %v, %d questions", w, last, asked)
			}
		}
	})
}
