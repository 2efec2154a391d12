package aggregate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// batched is the answer to a plan.
type batched struct {
	Summary string
	Results []batchedItem
	Timing  struct {
		Wall     int `json:"wall_ms"`
		Critical int `json:"critical_path_ms"`
		Sum      int `json:"sum_ms"`
	}
}

type batchedItem struct {
	ID, Tool, Source, Status, Code, Error string
	Result, Content                       json.RawMessage
	Truncated                             struct {
		Bytes  int
		Handle string
	}
	Items  []batchedItem
	Reused bool
	MS     int
}

func (b batched) String() string {
	var out []string
	for _, r := range b.Results {
		s := r.ID + " " + r.Status
		if r.Code != "" {
			s += " " + r.Code
		}
		if r.Reused {
			s += " reused"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func batch(t *testing.T, v *aggregate.View, tool, arguments string) batched {
	t.Helper()
	a := call(t, v, tool, arguments)
	var b batched
	if err := json.Unmarshal(a.Structured, &b); err != nil || a.IsError {
		t.Fatalf("%v: %s", err, a.text())
	}
	if text := a.text(); text != string(a.Structured) {
		t.Errorf("the text says another thing: %.200s", text)
	}
	return b
}

// shop is a source that counts what is asked of it. Each call takes "ms", then
// fails as "fail" says, and answers "value".
type shop struct {
	*fake
	mu    sync.Mutex
	asked map[string]int // by arguments
}

func newShop(t testing.TB, id upstream.ID) *shop {
	s := &shop{fake: newFake(t, id), asked: map[string]int{}}
	for name, hints := range map[string]string{"read": `{"readOnlyHint":true}`, "write": `{"readOnlyHint":false}`, "plain": `{}`} {
		s.tools = append(s.tools, parse(t, id, fmt.Sprintf(`{"name":%q,"inputSchema":{"type":"object","properties":{"ms":{"type":"integer"}}},"annotations":%s}`, name, hints)))
	}
	s.call = s.answer
	return s
}

func (s *shop) answer(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	s.mu.Lock()
	s.asked[string(c.Arguments)]++
	n := s.asked[string(c.Arguments)]
	s.mu.Unlock()
	get := func(name string) json.RawMessage { v, _ := rawjson.Get(c.Arguments, name); return v }
	ms, _ := json.Number(get("ms")).Int64()
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
	case <-ctx.Done():
		return nil, &upstream.Error{Kind: upstream.Timeout, Sent: true, Err: context.Cause(ctx)}
	}
	switch fail := rawjson.String(get("fail")); {
	case fail == "once" && n > 1, fail == "":
		return upstream.StructuredResult(map[string]json.RawMessage{"value": get("value")})
	case fail == "tool":
		return upstream.TextResult("no such customer", true), nil
	case fail == "stranger":
		return nil, &upstream.Error{Kind: upstream.NeedsLogin, Err: errors.New("no grant")}
	case fail == "busy":
		return nil, &upstream.Error{Kind: upstream.Overloaded, Err: errors.New("busy")}
	case fail == "lost":
		return nil, &upstream.Error{Kind: upstream.Unavailable, Sent: true, Err: errors.New("lost")}
	}
	return nil, &upstream.Error{Upstream: s.id, Kind: upstream.Denied, Public: "it refuses access"}
}

func (s *shop) count(arguments string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[arguments]
}

// startBatches runs an aggregate of shops with our own tools.
func startBatches(t *testing.T, opt aggregate.Options, shops ...*shop) (*aggregate.View, func()) {
	t.Helper()
	var members []aggregate.Member
	for _, s := range shops {
		members = append(members, member(s.fake))
	}
	a, err := aggregate.New(members, opt)
	if err != nil {
		t.Fatal(err)
	}
	v, stop := run(t, a)
	if err := a.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	return v, stop
}

// TestBatchRunsAtOnce: as long as its longest chain, across sources, with results
// that later calls use.
func TestBatchRunsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, stop := startBatches(t, aggregate.Options{}, newShop(t, "crm"), newShop(t, "erp"), newShop(t, "desk"))
		defer stop()
		b := batch(t, v, "bulkhead_batch_read", `{"calls":[
			{"id":"c","tool":"crm_read","arguments":{"ms":200,"value":[{"id":12345678901234567890}]}},
			{"id":"o","tool":"erp_read","arguments":{"ms":700,"value":{"$ref":"#/c/value/0/id"}}},
			{"id":"t","tool":"desk_read","arguments":{"ms":400,"value":{"$ref":"#/c/value"}}}]}`)
		if got := b.String(); got != "c ok, o ok, t ok" || b.Timing.Wall != 900 || b.Timing.Critical != 900 || b.Timing.Sum != 1300 {
			t.Errorf("%s, %+v", got, b.Timing)
		}
		if got := string(b.Results[1].Result); got != `{"value":12345678901234567890}` || b.Results[1].Source != "erp" || b.Summary != "3 of 3 calls succeeded." {
			t.Errorf("%s from %s, %q", got, b.Results[1].Source, b.Summary)
		}
	})
}

func TestBatchRefusesBeforeItRuns(t *testing.T) {
	crm := newShop(t, "crm")
	v, _ := startBatches(t, aggregate.Options{}, crm)
	for plan, want := range map[string][]string{
		`{"calls":[{"id":"a","tool":"crm_read"},{"id":"b","tool":"crm_reed"},{"id":"b","tool":"bulkhead_batch"}]}`: {
			`b: unknown tool: "crm_reed"`,
			`calls[2]: has the id "b"`, "a plan cannot contain a plan"},
		`{"calls":[{"id":"a","tool":"crm_read"},{"id":"b","tool":"crm_read","arguments":{"ms":"soon"}}]}`: {"b: crm_read: ms: got string, want integer"},
		`{"calls":[{"id":"a","tool":"crm_read"},{"id":"w","tool":"crm_write"}]}`:                          {"w: crm_write does not say that it only reads"},
		`{"calls":[{"id":"a","tool":"crm_read"},{"id":"p","tool":"crm_plain"}]}`:                          {"p: crm_plain does not say that it only reads"},
		`{"calls":"crm_read"}`: {"calls: must be a list of calls"},
		`{"calls":[7],"deadline":5,"deadline_ms":0.5,"max_result_bytes":10,"fresh":"no"}`: {
			`there is no argument "deadline"`, "deadline_ms is no whole number", "max_result_bytes is no whole number", "fresh is neither", "calls[0]: is a number"},
		`{"deadline_ms":1e99}`: {"calls: must be a list"},
		`[]`:                   {"calls: must be a list"},
	} {
		a := call(t, v, "bulkhead_batch_read", plan)
		if !a.IsError || !strings.HasPrefix(a.text(), "invalid_arguments: ") {
			t.Errorf("%s: %s", plan, a.text())
		}
		for _, w := range want {
			if !strings.Contains(a.text(), w) {
				t.Errorf("%s:\n%s\nhas no %q", plan, a.text(), w)
			}
		}
	}
	if len(crm.asked) != 0 {
		t.Errorf("calls were made: %v", crm.asked)
	}
}

// TestBatchSentAgain: only what has failed or was skipped is made again, and a
// write of which nobody knows whether it happened is not.
func TestBatchSentAgain(t *testing.T) {
	crm, erp := newShop(t, "crm"), newShop(t, "erp")
	v, _ := startBatches(t, aggregate.Options{}, crm, erp)
	const plan = `{"calls":[{"id":"a","tool":"crm_read","arguments":{"value":1}},
		{"id":"w","tool":"crm_write","arguments":{"value":2}},
		{"id":"u","tool":"erp_write","arguments":{"fail":"lost"}},
		{"id":"f","tool":"erp_read","arguments":{"fail":"once","value":3}},
		{"id":"d","tool":"crm_read","arguments":{"x":{"$ref":"#/f/value"}}}]%s}`
	first := batch(t, v, "bulkhead_batch", fmt.Sprintf(plan, ""))
	if got := first.String(); got != "a ok, w ok, u error write_outcome_unknown, f error denied, d skipped" {
		t.Error(got)
	}
	if want := "2 of 5 calls succeeded; u failed (erp write_outcome_unknown), f failed (erp denied), d was skipped. Nobody knows whether u happened: find out"; !strings.HasPrefix(first.Summary, want) {
		t.Error(first.Summary)
	}
	if e := first.Results[3].Error; !strings.HasPrefix(e, "denied: erp: ") {
		t.Error(e)
	}
	again := batch(t, v, "bulkhead_batch", fmt.Sprintf(plan, ` , "deadline_ms":60000`)) // however else it is asked
	if got := again.String(); got != "a ok reused, w ok reused, u error write_outcome_unknown reused, f ok, d ok" {
		t.Error(got)
	}
	if e := again.Results[2].Error; !strings.Contains(e, "It was not sent again with this plan, because it may have been carried out") {
		t.Error(e)
	}
	for arguments, want := range map[string]int{`{"value":1}`: 1, `{"value":2}`: 1} {
		if n := crm.count(arguments); n != want {
			t.Errorf("crm was asked %d times with %s", n, arguments)
		}
	}
	if n := erp.count(`{"fail":"lost"}`); n != 1 {
		t.Errorf("the lost write was sent %d times", n)
	}
	// Another principal or session has nothing of it.
	for name, r := range map[string]*aggregate.Request{
		"session": {Principal: upstream.Local(), Session: "s"}, "principal": {Principal: upstream.NewPrincipal("i", "s")},
	} {
		a := callAs(t, v, r, "bulkhead_batch", fmt.Sprintf(plan, ""))
		if a.IsError || strings.Contains(a.text(), "reused") {
			t.Errorf("%s: %s", name, a.text())
		}
	}
	fresh := batch(t, v, "bulkhead_batch", fmt.Sprintf(plan, `,"fresh":true`))
	if got := fresh.String(); got != "a ok, w ok, u error write_outcome_unknown reused, f ok, d ok" {
		t.Error(got)
	}
}

// TestBatchSentTwiceAtOnce: a client that has given up and asks again gets what
// the first attempt brings.
func TestBatchSentTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm := newShop(t, "crm")
		v, stop := startBatches(t, aggregate.Options{}, crm)
		defer stop()
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if b := batch(t, v, "bulkhead_batch", `{"calls":[{"id":"w","tool":"crm_write","arguments":{"ms":500}}]}`); b.Results[0].Status != "ok" {
					t.Error(b)
				}
			})
		}
		both.Wait()
		if n := crm.count(`{"ms":500}`); n != 1 {
			t.Errorf("written %d times", n)
		}
		// What is remembered is forgotten in the end.
		time.Sleep(6 * time.Minute)
		batch(t, v, "bulkhead_batch", `{"calls":[{"id":"w","tool":"crm_write","arguments":{"ms":500}}]}`)
		if n := crm.count(`{"ms":500}`); n != 2 {
			t.Errorf("written %d times", n)
		}
	})
}

func TestBatchDeadlineAndCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm := newShop(t, "crm")
		v, stop := startBatches(t, aggregate.Options{}, crm, newShop(t, "erp"))
		defer stop()
		b := batch(t, v, "bulkhead_batch_read", `{"deadline_ms":300,"calls":[{"id":"a","tool":"crm_read","arguments":{"ms":100}},
			{"id":"b","tool":"erp_read","arguments":{"ms":5000}},{"id":"c","tool":"crm_read","after":["b"]}]}`)
		if got := b.String(); got != "a ok, b error timeout, c skipped" || b.Timing.Wall != 300 || b.Results[2].Error != "the plan ended before it: its time was up" {
			t.Errorf("%s after %d ms: %s", got, b.Timing.Wall, b.Results[2].Error)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		_, err := v.CallTool(ctx, &aggregate.Request{Principal: upstream.Local(),
			Params: json.RawMessage(`{"name":"bulkhead_batch","arguments":{"calls":[{"id":"a","tool":"crm_read","arguments":{"ms":60000}},{"id":"b","tool":"crm_read","after":["a"]}]}}`)})
		if err != nil || crm.count(`{}`) != 0 {
			t.Errorf("%v; what came after was called %d times", err, crm.count(`{}`))
		}
	})
}

// TestBatchResultsThatAreLong: the longest are held back, the short ones stay.
func TestBatchResultsThatAreLong(t *testing.T) {
	v, _ := startBatches(t, aggregate.Options{MaxResult: 64 << 10}, newShop(t, "crm"))
	long := strings.Repeat("0123456789", 5000)
	b := batch(t, v, "bulkhead_batch_read", `{"max_result_bytes":4096,"calls":[{"id":"a","tool":"crm_read","arguments":{"value":"`+long+`"}},
		{"id":"b","tool":"crm_read","arguments":{"value":"short"}},
		{"id":"m","tool":"crm_read","map":{"$ref":"#/a/value"}},{"id":"c","tool":"crm_read","arguments":{"value":{"$ref":"#/a/value"}}}]}`)
	a := b.Results[0]
	if a.Truncated.Bytes != len(long)+len(`{"value":""}`) || a.Result != nil || string(b.Results[1].Result) != `{"value":"short"}` {
		t.Fatalf("%+v", b.Results[:2])
	}
	if c := b.Results[3]; c.Truncated.Bytes != a.Truncated.Bytes { // what was held back could be referred to
		t.Errorf("%+v", c)
	}
	if m := b.Results[2]; m.Code != "invalid_arguments" || !strings.Contains(m.Error, "is a text, not a list") {
		t.Errorf("%+v", m)
	}
	rest := call(t, v, "bulkhead_read_more", `{"handle":"`+a.Truncated.Handle+`"}`)
	if rest.IsError || rest.text() != `{"value":"`+long+`"}` {
		t.Errorf("%.100s", rest.text())
	}
}

// TestBatchProgress: a client that wants to hear of it is told of each call.
func TestBatchProgress(t *testing.T) {
	v, _ := startBatches(t, aggregate.Options{}, newShop(t, "crm"))
	var told []string
	callAs(t, v, &aggregate.Request{Principal: upstream.Local(), Back: upstream.Back{Progress: func(p json.RawMessage) { told = append(told, string(p)) }}},
		"bulkhead_batch", `{"calls":[{"id":"a","tool":"crm_read"},{"id":"b","tool":"crm_write","arguments":{"fail":"tool"},"after":["a"]}]}`)
	want := `{"progress":1,"total":2,"message":"a (crm_read): ok"} {"progress":2,"total":2,"message":"b (crm_write): error"}`
	if got := strings.Join(told, " "); got != want {
		t.Error(got)
	}
}
