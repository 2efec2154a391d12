package aggregate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const readAndWrite = `{"calls":[{"id":"r","tool":"crm_read","arguments":{"value":{"a":1,"b":[2,3]}}},{"id":"w","tool":"crm_write","arguments":{"value":2}},{"id":"f","tool":"crm_read","arguments":{"fail":"denied"}}]}`

// TestBatchWrittenAnew: a model that sends a plan again writes it anew.
func TestBatchWrittenAnew(t *testing.T) {
	crm := newShop(t, "crm")
	v, _ := startBatches(t, aggregate.Options{}, crm)
	batch(t, v, "bulkhead_batch", readAndWrite)
	again := batch(t, v, "bulkhead_batch", `{"deadline_ms":5000,"calls": [ {"tool":"crm_read","arguments":{"value":{"b":[2,3], "a":1}},"id":"r"},
		{"id":"w","arguments":{"value": 2},"tool":"crm_write"}, {"id":"f","tool":"crm_read","arguments":{"fail":"denied"}}]}`)
	if got := again.String(); got != "r ok reused, w ok reused, f error denied" {
		t.Error(got)
	}
	for name, other := range map[string]string{
		"another value": strings.Replace(readAndWrite, `"value":2}`, `"value":2.0}`, 1),
		"another id":    strings.Replace(readAndWrite, `"w"`, `"x"`, 1),
		"another order": `{"calls":[{"id":"w","tool":"crm_write","arguments":{"value":2}},{"id":"r","tool":"crm_read","arguments":{"value":{"a":1,"b":[2,3]}}},{"id":"f","tool":"crm_read","arguments":{"fail":"denied"}}]}`,
		"one call more": strings.Replace(readAndWrite, `]}`, `,{"id":"z","tool":"crm_read"}]}`, 1),
	} {
		if b := batch(t, v, "bulkhead_batch", other); strings.Contains(b.String(), "reused") {
			t.Errorf("%s: %s", name, b)
		}
	}
}

// TestBatchAfterItsClientIsGone: what was under way when the client gave up is not
// done twice when it comes back with the same plan, whatever a tool says of itself.
func TestBatchAfterItsClientIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm, erp := newShop(t, "crm"), newShop(t, "erp")
		for _, s := range []*shop{crm, erp} {
			s.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
				res, err := s.answer(ctx, c)
				if e, ok := errors.AsType[*upstream.Error](err); ok && ctx.Err() != nil {
					e.Kind = upstream.Cancelled
				}
				return res, err
			}
		}
		v, stop := startBatches(t, aggregate.Options{}, crm, erp)
		defer stop()
		const plan = `{"calls":[{"id":"done","tool":"erp_write","arguments":{"ms":10}},{"id":"w","tool":"crm_write","arguments":{"ms":500}},
			{"id":"p","tool":"crm_plain","arguments":{"ms":501}},{"id":"r","tool":"crm_read","arguments":{"ms":502}},{"id":"later","tool":"erp_write","after":["w"],"arguments":{"ms":11}}]}`
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		began := time.Now()
		if _, err := v.CallTool(ctx, &aggregate.Request{Principal: upstream.Local(), Params: json.RawMessage(`{"name":"bulkhead_batch","arguments":` + plan + `}`)}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("it went on for %v", took)
		}
		b := batch(t, v, "bulkhead_batch", plan)
		if got := b.String(); got != "done ok reused, w error cancelled reused, p ok, r ok, later skipped" {
			t.Error(got)
		}
		if n := crm.count(`{"ms":500}`) + erp.count(`{"ms":10}`); n != 2 {
			t.Errorf("the writes were made %d times", n)
		}
		if !strings.Contains(b.Summary, "Nobody knows whether w happened") || !strings.Contains(b.Results[1].Error, "find that out, and if it was not, call the tool by itself") {
			t.Errorf("%s\n%s", b.Summary, b.Results[1].Error)
		}
	})
}

// TestBatchDoesNotDoubleWhatDoesNotSay: a tool that does not say whether it writes
// may write. What provably was not sent is.
func TestBatchDoesNotDoubleWhatDoesNotSay(t *testing.T) {
	crm := newShop(t, "crm")
	crm.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		_, _ = crm.answer(ctx, c)
		return nil, &upstream.Error{Kind: upstream.Unavailable, Sent: strings.Contains(string(c.Arguments), "sent"), Err: errors.New("lost")}
	}
	v, _ := startBatches(t, aggregate.Options{}, crm)
	const plan = `{"calls":[{"id":"p","tool":"crm_plain","arguments":{"is":"sent"}},{"id":"r","tool":"crm_read","arguments":{"was":"sent"}},
		{"id":"w","tool":"crm_write","arguments":{"is":"kept"}}]}`
	batch(t, v, "bulkhead_batch", plan)
	b := batch(t, v, "bulkhead_batch", strings.Replace(plan, `{"calls"`, `{"fresh":true,"calls"`, 1))
	if got := b.String(); got != "p error unavailable reused, r error unavailable, w error unavailable" {
		t.Error(got)
	}
	if crm.count(`{"is":"sent"}`) != 1 || crm.count(`{"was":"sent"}`) != 2 || crm.count(`{"is":"kept"}`) != 2 {
		t.Error(crm.asked)
	}
}

// TestBatchAfterAChange: what a tool was is not what it is. A read is made again
// when its definition, its credential or its source has changed; a write only at
// another source.
func TestBatchAfterAChange(t *testing.T) {
	crm := newShop(t, "crm")
	m := member(crm.fake)
	a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	if err := a.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	swap := func(change func(*aggregate.Member)) {
		t.Helper()
		next := newShop(t, "crm")
		next.call = crm.answer
		m.Adapter = next.fake
		change(&m)
		if err := a.Swap([]aggregate.Member{m}); err != nil {
			t.Fatal(err)
		}
		for len(names(t, v)) != 7 {
			time.Sleep(time.Millisecond)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*aggregate.Member)
		want   string
		writes int
	}{
		{"nothing", func(*aggregate.Member) {}, "r ok, w ok, f error denied", 1},
		{"another credential", func(m *aggregate.Member) { m.Fingerprint = "of somebody else" }, "r ok, w ok reused, f error denied", 1},
		{"another source", func(m *aggregate.Member) { m.Identity = "other" }, "r ok, w ok, f error denied", 2},
		{"nothing writes", func(m *aggregate.Member) { m.Limits.Writes = aggregate.Deny }, "r ok, w ok reused, f error denied", 2},
	} {
		if c.name != "nothing" {
			swap(c.change)
		}
		b := batch(t, v, "bulkhead_batch", readAndWrite)
		if got := b.String(); got != c.want || crm.count(`{"value":2}`) != c.writes {
			t.Errorf("after another %s: %s, %d writes", c.name, got, crm.count(`{"value":2}`))
		}
		if c.name == "another credential" && strings.Contains(string(b.Results[1].Result), `"value"`) {
			t.Errorf("what the other credential was answered is shown: %s", b.Results[1].Result)
		}
	}
}

// TestBatchReloadedMeanwhile: a plan that runs on after a change of the
// configuration goes by the new one, as single calls would.
func TestBatchReloadedMeanwhile(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*shop, *aggregate.Member) bool // false takes the source out
		want   string
		asked  int // of the second call
	}{
		"same": {func(*shop, *aggregate.Member) bool { return true }, "a ok, b ok, o ok", 1},
		"gone": {func(*shop, *aggregate.Member) bool { return false }, "a ok, b error not_found, o ok", 0},
		"hidden": {func(_ *shop, m *aggregate.Member) bool {
			m.Keep = func(tool string) bool { return tool != "write" }
			return true
		}, "a ok, b error not_found, o ok", 0},
		"denied": {func(_ *shop, m *aggregate.Member) bool { m.Limits.Writes = aggregate.Deny; return true }, "a ok, b error denied, o ok", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			crm, next, erp := newShop(t, "crm"), newShop(t, "crm"), newShop(t, "erp")
			m, other := member(crm.fake), member(erp.fake)
			a, err := aggregate.New([]aggregate.Member{m, other}, aggregate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			v, stop := run(t, a)
			defer stop()
			if err := a.Settled(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(500*time.Millisecond, func() {
				list := []aggregate.Member{other}
				if m.Adapter = next.fake; c.change(next, &m) {
					list = append(list, m)
				}
				if err := a.Swap(list); err != nil {
					t.Error(err)
				}
			})
			b := batch(t, v, "bulkhead_batch", `{"calls":[{"id":"a","tool":"crm_read","arguments":{"ms":1000}},{"id":"b","tool":"crm_write","after":["a"],"arguments":{"ms":5}},{"id":"o","tool":"erp_read","after":["a"]}]}`)
			if got := b.String(); got != c.want || crm.count(`{"ms":5}`) != 0 || next.count(`{"ms":5}`) != c.asked {
				t.Errorf("%s: %s; %s; the old one was asked %d times, the new one %d", name, got, b.Results[1].Error, crm.count(`{"ms":5}`), next.count(`{"ms":5}`))
			}
		})
	}
}

// TestBatchReadsOnlyToTheEnd: a tool that turns out to write in the middle of a plan
// that reads is not called.
func TestBatchReadsOnlyToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm := newShop(t, "crm")
		v, stop := startBatches(t, aggregate.Options{}, crm)
		defer stop()
		time.AfterFunc(500*time.Millisecond, func() {
			crm.fake.mu.Lock()
			crm.tools = []upstream.Tool{parse(t, "crm", `{"name":"read","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":false}}`)}
			crm.fake.mu.Unlock()
			crm.touch()
		})
		b := batch(t, v, "bulkhead_batch_read", `{"calls":[{"id":"a","tool":"crm_read","arguments":{"ms":5000}},{"id":"b","tool":"crm_read","after":["a"],"arguments":{"ms":5}}]}`)
		if got := b.String(); got != "a ok, b error denied" || crm.count(`{"ms":5}`) != 0 {
			t.Errorf("%s: %s", got, b.Results[1].Error)
		}
	})
}

// TestBatchMemoryIsBounded: however much others send, that a write was made is not
// forgotten for results' sake; what is kept has its bounds, and ends.
func TestBatchMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm := newShop(t, "crm")
		v, stop := startBatches(t, aggregate.Options{MaxResult: 4 << 20}, crm)
		defer stop()
		first := batch(t, v, "bulkhead_batch", readAndWrite)
		long := strings.Repeat("x", 3<<20)
		big := upstream.TextResult(long, false)
		crm.call = func(context.Context, *upstream.Call) (*upstream.Result, error) { return big, nil }
		other := &aggregate.Request{Principal: upstream.NewPrincipal("i", "hog")}
		for i := range 16 { // 96 MB of results
			callAs(t, v, other, "bulkhead_batch", fmt.Sprintf(`{"max_result_bytes":1024,"calls":[{"id":"r","tool":"crm_read","arguments":{"n":%d}},{"id":"w","tool":"crm_write","arguments":{"n":%d}}]}`, i, i))
		}
		crm.call = crm.answer
		for i := range 2000 {
			callAs(t, v, other, "bulkhead_batch", fmt.Sprintf(`{"max_result_bytes":1024,"calls":[{"id":"w","tool":"crm_write","arguments":{"n":%d}}]}`, 1000+i))
		}
		b := batch(t, v, "bulkhead_batch", readAndWrite)
		if got := b.String(); got != "r ok, w ok reused, f error denied" || crm.count(`{"value":2}`) != 1 {
			t.Errorf("first %s, then %s, %d writes", first, got, crm.count(`{"value":2}`))
		}
		if !strings.Contains(string(b.Results[1].Result), "its result was not kept") {
			t.Errorf("%s", b.Results[1].Result)
		}
		time.Sleep(6 * time.Minute)
		if b := batch(t, v, "bulkhead_batch", readAndWrite); strings.Contains(b.String(), "reused") {
			t.Errorf("after its time: %s", b)
		}
	})
}

// What is said of a list of which some elements failed has nothing sent again that
// has succeeded.
func TestBatchSaysWhichElements(t *testing.T) {
	v, _ := startBatches(t, aggregate.Options{}, newShop(t, "crm"))
	const plan = `{"calls":[{"id":"l","tool":"crm_read","arguments":{"value":%s}},
		{"id":"m","tool":"crm_write","map":{"$ref":"#/l/value"},"arguments":{"value":{"$ref":"#/item/v"},"fail":{"$ref":"#/item/f"}}}]}`
	for rows, want := range map[string]string{
		`[{"v":1,"f":""},{"v":2},{"v":3,"f":"lost"},{"v":4,"f":"busy"}]`: "1 of 2 calls succeeded; m failed (crm invalid_arguments). " +
			"Correct m (element 1 alone), and send nothing but that and what depends on it, as a new plan: as it is, it fails again. " +
			"Nobody knows whether m (element 2 alone) happened: find out before you make such a call again. " +
			"If you send the same plan again within 5 minutes, the other missing calls are made, but not these.",
		`[{"v":1,"f":""},{"v":2},{"v":3}]`: "1 of 2 calls succeeded; m failed (crm invalid_arguments). " +
			"Correct m (elements 1, 2 alone), and send nothing but that and what depends on it, as a new plan: as it is, it fails again.",
		`[{"v":1,"f":"busy"}]`: "1 of 2 calls succeeded; m failed (crm overloaded). Send the same plan again within 5 minutes to make only the missing calls.",
		`[{"v":1,"f":"stranger"},{"v":2,"f":""}]`: "1 of 2 calls succeeded; m failed (crm needs_login). The user has to sign in for m (element 0 alone) first, as the error says. " +
			"Send the same plan again within 5 minutes to make only the missing calls.",
		`[{"v":1,"f":"never"}]`: "1 of 2 calls succeeded; m failed (crm denied).", // as its error says, that does not help
		`[{"v":5,"f":"lost"}]`:  "1 of 2 calls succeeded; m failed (crm write_outcome_unknown). Nobody knows whether m (element 0 alone) happened: find out before you make such a call again.",
	} {
		if b := batch(t, v, "bulkhead_batch", fmt.Sprintf(plan, rows)); b.Summary != want {
			t.Errorf("%s:\n%s\nwant\n%s", rows, b.Summary, want)
		}
	}
}

// A read that stands behind a write is made again with it, and no read is answered
// from memory for longer than it is said.
func TestBatchReadsThatAreOutOfDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm, erp := newShop(t, "crm"), newShop(t, "erp")
		v, stop := startBatches(t, aggregate.Options{}, crm, erp)
		defer stop()
		const plan = `{"calls":[{"id":"before","tool":"crm_read","arguments":{"value":1}},{"id":"w","tool":"crm_write","arguments":{"fail":"once"}},
			{"id":"after","tool":"crm_read","arguments":{"value":2}},{"id":"other","tool":"erp_read","arguments":{"value":3}}]}`
		if got := batch(t, v, "bulkhead_batch", plan).String(); got != "before ok, w error denied, after ok, other ok" {
			t.Error(got)
		}
		if got := batch(t, v, "bulkhead_batch", plan).String(); got != "before ok reused, w ok, after ok, other ok reused" {
			t.Error(got)
		}
		for range 2 {
			time.Sleep(3 * time.Minute)
			batch(t, v, "bulkhead_batch", plan)
		}
		for arguments, want := range map[string]int{`{"value":1}`: 2, `{"value":2}`: 3, `{"fail":"once"}`: 2} {
			if n := crm.count(arguments); n != want {
				t.Errorf("%s was asked %d times, want %d", arguments, n, want)
			}
		}
	})
}

// Clients that have no session are told apart by their names: the plan of one is
// none of the other's.
func TestBatchOfAnotherClient(t *testing.T) {
	crm := newShop(t, "crm")
	v, _ := startBatches(t, aggregate.Options{}, crm)
	for _, client := range []string{"a", "b", "a"} {
		r := &aggregate.Request{Principal: upstream.Local(), Client: client}
		if a := callAs(t, v, r, "bulkhead_batch", `{"calls":[{"id":"w","tool":"crm_write","arguments":{"value":1}}]}`); a.IsError {
			t.Error(a.text())
		}
	}
	if n := crm.count(`{"value":1}`); n != 2 {
		t.Errorf("written %d times", n)
	}
}
