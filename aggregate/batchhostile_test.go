package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// manyReads is a plan of n reads that have nothing to do with each other.
func manyReads(n int, arguments string) string {
	var calls []string
	for i := range n {
		calls = append(calls, fmt.Sprintf(`{"id":"n%d","tool":"crm_read","arguments":%s}`, i, arguments))
	}
	return strings.Join(calls, ",")
}

// readRest reads what was held back behind a handle.
func readRest(t *testing.T, v *aggregate.View, handle string) string {
	t.Helper()
	var out strings.Builder
	for page := 1; ; page++ {
		a := call(t, v, "bulkhead_read_more", fmt.Sprintf(`{"handle":%q,"page":%d}`, handle, page))
		if a.IsError {
			t.Fatal(a.text())
		}
		for _, c := range a.Content[:len(a.Content)-1] {
			out.WriteString(c.Text)
		}
		if note := a.Content[len(a.Content)-1].Text; strings.Contains(note, "this is the end") {
			return out.String()
		}
	}
}

// TestBatchOfLongResults: calls that each answer 1 MB cost what their answers
// cost by themselves; the answer stays within its bounds, says how much it lacks,
// and the rest can be read.
func TestBatchOfLongResults(t *testing.T) {
	const most = 256 << 10
	crm := newShop(t, "crm")
	v, _ := startBatches(t, aggregate.Options{MaxResult: most, Deadline: 10 * time.Minute}, crm) // long results take a busy machine long
	whole := `{"rows":["` + strings.Repeat("0123456789", 100_000) + `"]}`
	res := upstream.JSONResult(json.RawMessage(whole))
	crm.call = func(context.Context, *upstream.Call) (*upstream.Result, error) { return res, nil }
	took := heapOf(func() {
		raw, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Params: fmt.Appendf(nil, `{"name":"bulkhead_batch_read","arguments":{"calls":[%s,{"id":"p","tool":"crm_read","arguments":{"x":{"$ref":"#/n0/rows/0"}}}]}}`, manyReads(24, `{"n":1}`))})
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > most+64<<10 {
			t.Errorf("the answer has %d bytes", len(raw))
		}
		var b struct {
			Structured batched `json:"structuredContent"`
		}
		if err := json.Unmarshal(raw, &b); err != nil {
			t.Fatal(err)
		}
		if s := b.Structured.Summary; !strings.Contains(s, "24 of 25 calls succeeded; p failed (what it refers to cannot be had). Correct p, and send nothing but that and what depends on it, as a new plan") || !strings.Contains(s, "results of ") || !strings.Contains(s, "were left out for their length: read them with bulkhead_read_more") {
			t.Error(s)
		}
		if why := b.Structured.Results[24].Error; why != "#/n0/rows/0: the result of n0 is too long to be referred to; have it answer less" {
			t.Error(why)
		}
		last := b.Structured.Results[23]
		if last.Truncated.Handle == "" {
			t.Fatalf("%+v", last)
		}
		first := readRest(t, v, last.Truncated.Handle)
		head, notice, ok := strings.Cut(first, "[truncated: crm: ")
		_, handle, _ := strings.Cut(notice, `"handle":"`)
		handle, _, _ = strings.Cut(handle, `"`)
		if head = strings.TrimSuffix(head, "\n"); !ok || head+readRest(t, v, handle) != whole {
			t.Errorf("it cannot be read as a whole: %d bytes, then %s", len(head), notice)
		}
	})
	if took > 100<<20 {
		t.Errorf("%d MB are held afterwards", took>>20)
	}
}

// heapOf returns how many bytes more are held after f than before.
func heapOf(f func()) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// TestBatchOfManyResults: however many results of allowed length there are, a plan
// holds so many at once and no more; those beyond can be read.
func TestBatchOfManyResults(t *testing.T) {
	crm := newShop(t, "crm")
	v, _ := startBatches(t, aggregate.Options{}, crm)
	whole := `{"k":1,"v":"` + strings.Repeat("x", 480_000) + `"}`
	res := upstream.JSONResult(json.RawMessage(whole))
	list := upstream.TextResult("["+strings.TrimSuffix(strings.Repeat("0,", 80), ",")+"]", false)
	var parts []string // of each result: not all are held until then
	for i := range 80 {
		parts = append(parts, fmt.Sprintf(`{"$ref":"#/m/%d/k"}`, i))
	}
	crm.call = func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		if string(c.Arguments) == "{}" {
			return list, nil
		}
		return res, nil
	}
	b := batch(t, v, "bulkhead_batch_read", `{"max_result_bytes":65536,"calls":[{"id":"l","tool":"crm_read"},{"id":"m","tool":"crm_read","map":{"$ref":"#/l"},"arguments":{"i":{"$ref":"#/item"}}},
		{"id":"c","tool":"crm_read","arguments":{"i":{"$ref":"#/m"}}},{"id":"d","tool":"crm_read","arguments":{"i":[`+strings.Join(parts, ",")+`]}}]}`)
	m := b.Results[1]
	if m.Status != "ok" || len(m.Items) != 80 || !strings.Contains(b.Summary, "80 results of 38") {
		t.Errorf("%s, %d items", b.Summary, len(m.Items))
	}
	for _, r := range b.Results[2:] {
		if !strings.Contains(r.Error, "the result of m is too long to be referred to") {
			t.Errorf("%s: %s", r.ID, r.Error)
		}
	}
	for _, it := range m.Items {
		if it.Result != nil || it.Truncated.Bytes != len(whole) {
			t.Fatalf("%+v", it)
		}
	}
	if got := readRest(t, v, m.Items[79].Truncated.Handle); got != whole {
		t.Errorf("%d bytes can be read, not %d", len(got), len(whole))
	}
}

// TestBatchErrorsAreBounded: what sources say when they fail does not make the
// answer long either, and nothing of it is lost.
func TestBatchErrorsAreBounded(t *testing.T) {
	crm := newShop(t, "crm")
	v, _ := startBatches(t, aggregate.Options{}, crm)
	long := strings.Repeat(`"é\`, 10_000)
	crm.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
		return upstream.TextResult(long, true), nil
	}
	a := call(t, v, "bulkhead_batch_read", `{"max_result_bytes":2048,"calls":[`+manyReads(64, `{"n":1}`)+`]}`)
	var b batched
	if err := json.Unmarshal(a.Structured, &b); err != nil {
		t.Fatal(err)
	}
	if len(a.Structured) > 64<<10 || b.Results[5].Code != "tool_error" || b.Results[5].Truncated.Bytes == 0 {
		t.Errorf("%d bytes, %+v", len(a.Structured), b.Results[5])
	}
	if got := readRest(t, v, b.Results[5].Truncated.Handle); got != long {
		t.Errorf("%d bytes can be read, not %d", len(got), len(long))
	}
}

// TestBatchEndsWithAllItsCalls: when its time is up or its client is gone, every
// call hears of it, at the source, in the queue and before its turn.
func TestBatchEndsWithAllItsCalls(t *testing.T) {
	for name, plan := range map[string]string{"deadline": `"deadline_ms":200,`, "client": ""} {
		synctest.Test(t, func(t *testing.T) {
			crm := newShop(t, "crm")
			var begun, ended, late atomic.Int64
			crm.call = func(ctx context.Context, _ *upstream.Call) (*upstream.Result, error) {
				if ctx.Err() != nil { // its turn came in the moment of the end
					late.Add(1)
				} else {
					begun.Add(1)
				}
				<-ctx.Done()
				ended.Add(1)
				return nil, &upstream.Error{Kind: upstream.Cancelled, Sent: true, Err: context.Cause(ctx)}
			}
			m := member(crm.fake)
			m.Limits = aggregate.Limits{Concurrency: 20, Queue: 100}
			a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			v, stop := run(t, a)
			defer stop()
			if err := a.Settled(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if name == "client" {
				time.AfterFunc(200*time.Millisecond, cancel)
			}
			began := time.Now()
			raw, err := v.CallTool(ctx, &aggregate.Request{Principal: upstream.Local(),
				Params: json.RawMessage(`{"name":"bulkhead_batch_read","arguments":{` + plan + `"calls":[` + manyReads(63, `{}`) + `,{"id":"z","tool":"crm_read","after":["n0"]}]}}`)})
			if took := time.Since(began); err != nil || took != 200*time.Millisecond || begun.Load() < 20 || ended.Load() != begun.Load()+late.Load() { // a place that comes free may be taken while the end goes round
				t.Errorf("%s: %v after %v: %d calls reached the source, %d of them ended", name, err, took, begun.Load(), ended.Load())
			}
			if n := strings.Count(string(raw), `\"status\":\"error\"`); n != 63 {
				t.Errorf("%s: %d calls failed: %.2000s", name, n, raw)
			}
		})
	}
}

// TestBatchAndPanics: a fault in one call costs that call.
func TestBatchAndPanics(t *testing.T) {
	crm := newShop(t, "crm")
	crm.call = func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		if strings.Contains(string(c.Arguments), "panic") {
			panic("out of order")
		}
		return upstream.TextResult("fine", false), nil
	}
	v, _ := startBatches(t, aggregate.Options{}, crm)
	b := batch(t, v, "bulkhead_batch", `{"calls":[{"id":"a","tool":"crm_read","arguments":{"do":"panic"}},{"id":"b","tool":"crm_read"},{"id":"s","tool":"bulkhead_sources"}]}`)
	if got := b.String(); got != "a error internal, b ok, s ok" {
		t.Error(got)
	}
}

// TestBatchAndOurFaults: a fault of ours beside the calls of a plan takes nothing
// down. What was found out is told, and of what was not that it may have happened.
func TestBatchAndOurFaults(t *testing.T) {
	const plan = `{"calls":[{"id":"a","tool":"crm_write"},{"id":"b","tool":"crm_read","after":["a"]}]}`
	v, _ := startBatches(t, aggregate.Options{}, newShop(t, "crm"))
	deaf := &aggregate.Request{Principal: upstream.Local(), Back: upstream.Back{Progress: func(json.RawMessage) { panic("nobody listens") }}}
	var b batched
	got := callAs(t, v, deaf, "bulkhead_batch", plan)
	if err := json.Unmarshal(got.Structured, &b); err != nil || b.String() != "a ok, b ok" {
		t.Errorf("progress that cannot be told: %v, %s", err, got.text())
	}
	v, _ = startBatches(t, aggregate.Options{Observer: blind{}}, newShop(t, "crm"))
	if got := call(t, v, "bulkhead_batch", plan); !got.IsError || !strings.HasPrefix(got.text(), "internal: ") || !strings.Contains(got.text(), "may have been carried out") {
		t.Errorf("an answer that is lost: %s", got.text())
	}
}

// blind is an observer that cannot look at plans.
type blind struct{}

func (blind) Asked(*aggregate.Request) func()          { return func() {} }
func (blind) Called(*upstream.Call, aggregate.Outcome) {}
func (blind) Planned(*aggregate.Planned)               { panic("nobody looks") }

// TestBatchAsks: what sources ask in the middle of a plan reaches a client that is
// asked by requests. One that is asked by results cannot be, and is told to make
// that call by itself; nothing hangs.
func TestBatchAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm, erp := newShop(t, "crm"), newShop(t, "erp")
		crm.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) { // speaks an older revision
			if c.Back.Ask == nil {
				return upstream.TextResult("there is nobody to ask", true), nil
			}
			of, _ := rawjson.GetString(c.Arguments, "of")
			got, err := c.Back.Ask(ctx, upstream.Question{Method: upstream.AskElicitation, Params: fmt.Appendf(nil, `{"message":"for %s?","requestedSchema":{}}`, of)})
			if err != nil {
				return nil, err
			}
			return upstream.TextResult(string(got), false), nil
		}
		erp.call = func(_ context.Context, c *upstream.Call) (*upstream.Result, error) { // speaks the present one
			if !strings.Contains(string(c.Params), "inputResponses") {
				return needs(`{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"sure?"}}},"requestState":"s"}`)
			}
			return upstream.TextResult("done", false), nil
		}
		v, stop := startBatches(t, aggregate.Options{}, crm, erp)
		defer stop()
		const plan = `{"calls":[{"id":"a","tool":"crm_read","arguments":{"of":"a"}},{"id":"b","tool":"crm_read","arguments":{"of":"b"}},{"id":"e","tool":"erp_read"}]}`
		ask := func(_ context.Context, q upstream.Question) (json.RawMessage, error) {
			time.Sleep(3 * time.Minute) // longer than the call may take: this time does not count
			message, _ := rawjson.GetString(q.Params, "message")
			return fmt.Appendf(nil, `{"action":"accept","content":{"to":%q}}`, message), nil
		}
		for name, c := range map[string]struct {
			r    *aggregate.Request
			want string
		}{
			"by requests": {&aggregate.Request{Principal: alice, Session: "1", Back: upstream.Back{Ask: ask, Capabilities: json.RawMessage(everything)}}, "a ok, b ok, e ok"},
			"by results":  {&aggregate.Request{Principal: alice, Session: "2", Modern: true, Back: upstream.Back{Capabilities: json.RawMessage(everything)}}, "a error tool_error, b error tool_error, e error denied"},
			"elsewhere":   {&aggregate.Request{Principal: alice, Session: "4", Modern: true, Back: upstream.Back{Capabilities: json.RawMessage(`{"elicitation":{"url":{}}}`)}}, "a error tool_error, b error tool_error, e error denied"},
			"not at all":  {&aggregate.Request{Principal: alice, Session: "3", Back: upstream.Back{}}, "a error tool_error, b error tool_error, e error denied"},
		} {
			a := callAs(t, v, c.r, "bulkhead_batch_read", plan)
			var b batched
			if err := json.Unmarshal(a.Structured, &b); err != nil {
				t.Fatal(err)
			}
			if got := b.String(); got != c.want {
				t.Errorf("%s: %s\n%s", name, got, a.Structured)
			}
			says := strings.Contains(b.Results[2].Error, "it needs elicitation, which is not possible in the middle of a plan: erp_read has to be called by itself")
			if says != (name == "by results") {
				t.Errorf("%s: %s", name, b.Results[2].Error)
			}
			if name == "by requests" && (!strings.Contains(string(b.Results[0].Result), "for a?") || !strings.Contains(string(b.Results[1].Result), "for b?")) {
				t.Errorf("%s, %s", b.Results[0].Result, b.Results[1].Result)
			}
		}
	})
}

// TestBatchSaysWhatAClientCannotDo: only what a client could do if it called the tool
// by itself is said to be for the plan's sake.
func TestBatchSaysWhatAClientCannotDo(t *testing.T) {
	const tasks = `"extensions":{"io.modelcontextprotocol/tasks":{}}`
	crm := newShop(t, "crm")
	v, _ := startBatches(t, aggregate.Options{}, crm)
	for _, c := range []struct {
		caps, needs string
		alone       bool
	}{
		{`{` + tasks + `}`, tasks, true},
		{`{"elicitation":{}}`, tasks, false},
		{`{"elicitation":{},` + tasks + `}`, `"elicitation":{},` + tasks, true},
		{`{` + tasks + `}`, `"elicitation":{},` + tasks, false},
		{`{"elicitation":{}}`, `"sampling":{}`, false},
		{`{"sampling":{}}`, `"sampling":{}`, true},
		{`{"sampling":{}}`, ``, false},
	} {
		crm.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return nil, &upstream.Error{Kind: upstream.Denied, RPC: &upstream.RPCError{Code: -32021, Message: "no", Data: json.RawMessage(`{"requiredCapabilities":{` + c.needs + `}}`)}}
		}
		a := callAs(t, v, &aggregate.Request{Principal: alice, Modern: true, Back: upstream.Back{Capabilities: json.RawMessage(c.caps)}}, "bulkhead_batch_read", `{"calls":[{"id":"a","tool":"crm_read"}]}`)
		alone, never := strings.Contains(a.text(), "crm_read has to be called by itself"), strings.Contains(a.text(), "which this client does not have")
		if alone != c.alone || never == c.alone {
			t.Errorf("a client with %s, a tool that needs %s: %s", c.caps, c.needs, a.text())
		}
	}
}

// TestBatchHoldsBackForWhoAsked: what did not fit into an answer is its asker's.
func TestBatchHoldsBackForWhoAsked(t *testing.T) {
	crm := newShop(t, "crm")
	v, _ := startBatches(t, aggregate.Options{}, crm)
	a := callAs(t, v, &aggregate.Request{Principal: alice}, "bulkhead_batch_read", `{"max_result_bytes":1024,"calls":[{"id":"a","tool":"crm_read","arguments":{"value":"`+strings.Repeat("x", 5000)+`"}}]}`)
	var b batched
	if err := json.Unmarshal(a.Structured, &b); err != nil {
		t.Fatal(err)
	}
	more := fmt.Sprintf(`{"handle":%q}`, b.Results[0].Truncated.Handle)
	if a := callAs(t, v, &aggregate.Request{Principal: alice}, "bulkhead_read_more", more); a.IsError {
		t.Error(a.text())
	}
	if a := callAs(t, v, &aggregate.Request{Principal: bob}, "bulkhead_read_more", more); !a.IsError {
		t.Error(a.text())
	}
}
