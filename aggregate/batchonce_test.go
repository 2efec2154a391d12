package aggregate_test

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

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// TestAWriteIsMadeOnceWhateverIsReadAnew: a plan that is sent again does not make
// its write again because what the write was made from would be something else now.
func TestAWriteIsMadeOnceWhateverIsReadAnew(t *testing.T) {
	const (
		invoice = `{"id":"w","tool":"crm_write","arguments":{"invoice":{"$ref":"#/r/value"}}}`
		next    = `{"id":"r","tool":"crm_read","arguments":{"next":1}}`
		lost    = `{"id":"w","tool":"crm_write","arguments":{"invoice":{"$ref":"#/r/value"},"fail":"lost"}}`
		list    = `{"id":"l","tool":"crm_read","arguments":{"value":[1,2]}}`
		each    = `{"id":"w","tool":"crm_write","map":{"$ref":"#/l/value"},"arguments":{"invoice":{"$ref":"#/r/value"},"line":{"$ref":"#/item"}}}`
	)
	for name, tt := range map[string]struct {
		calls string
		again []string // what the plan has besides, each time that it is sent again
		want  int64    // writes
	}{
		"a write before it is made now":       {`{"id":"a","tool":"crm_write","arguments":{"fail":"once"}},` + next + `,` + invoice, []string{``}, 1},
		"the same, of a list":                 {`{"id":"a","tool":"crm_write","arguments":{"fail":"once"}},` + next + `,` + list + `,` + each, []string{``}, 2},
		"the read is old":                     {next + `,` + invoice + `,{"id":"f","tool":"crm_read","arguments":{"fail":"denied"}}`, []string{``, ``, ``}, 1},
		"the same, of a list, the read":       {next + `,` + list + `,` + each + `,{"id":"f","tool":"crm_read","arguments":{"fail":"denied"}}`, []string{``, ``, ``}, 2},
		"nobody knows, and fresh":             {next + `,` + lost, []string{`,"fresh":true`}, 1},
		"the same, of a list, and fresh":      {next + `,` + list + `,` + strings.ReplaceAll(each, `"line"`, `"fail":"lost","line"`), []string{`,"fresh":true`}, 2},
		"the read failed, which counts as no": {`{"id":"r","tool":"crm_read","on_error":"null","arguments":{"fail":"once","value":7}},` + invoice, []string{``}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				crm := newShop(t, "crm")
				var reads, writes atomic.Int64
				crm.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
					switch arguments := string(c.Arguments); {
					case strings.Contains(arguments, `"next"`):
						return upstream.StructuredResult(map[string]any{"value": reads.Add(1)})
					case strings.Contains(arguments, `"invoice"`):
						writes.Add(1)
						if strings.Contains(arguments, `"lost"`) {
							return nil, &upstream.Error{Kind: upstream.Unavailable, Sent: true, Err: errors.New("lost")}
						}
					}
					return crm.answer(ctx, c)
				}
				v, stop := startBatches(t, aggregate.Options{}, crm)
				defer stop()
				said := []fmt.Stringer{batch(t, v, "bulkhead_batch", `{"calls":[`+tt.calls+`]}`)}
				if n := writes.Load(); n != tt.want {
					t.Fatalf("written %d times at first: %v", n, said)
				}
				for _, more := range tt.again {
					time.Sleep(4 * time.Minute)
					said = append(said, batch(t, v, "bulkhead_batch", `{"calls":[`+tt.calls+`]`+more+`}`))
				}
				if n := writes.Load(); n != tt.want {
					t.Errorf("written %d times: %v", n, said)
				}
			})
		})
	}
}

// TestBatchWaitsForItself: who does not wait long enough for a plan that is still
// being carried out is told so, and not that something may have been done.
func TestBatchWaitsForItself(t *testing.T) {
	for name, tt := range map[string]struct {
		opt  aggregate.Options
		more string
	}{
		"its own deadline":   {more: `,"deadline_ms":100`},
		"the call's as well": {opt: aggregate.Options{Deadline: time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				crm := newShop(t, "crm")
				began, end := make(chan bool), make(chan bool)
				crm.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
					close(began)
					<-end
					return upstream.TextResult("done", false), nil
				}
				v, stop := startBatches(t, tt.opt, crm)
				defer stop()
				const plan = `{"calls":[{"id":"w","tool":"crm_write"}]`
				ended := make(chan bool)
				go func() {
					defer close(ended)
					batch(t, v, "bulkhead_batch", plan+`}`)
				}()
				<-began
				const want = "timeout: this plan was sent before and is still being carried out; send it again as it is to have its answer; nothing was sent; retry later."
				if got := call(t, v, "bulkhead_batch", plan+tt.more+`}`).text(); got != want {
					t.Error(got)
				}
				close(end)
				<-ended
			})
		})
	}
}

// TestBatchAtTheEnd: a plan that is still being carried out when Bulkhead is stopped
// does not have the client send it again, for which every write would be made twice.
func TestBatchAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, stop := startBatches(t, aggregate.Options{}, newShop(t, "crm"))
		defer stop()
		ctx, end := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { end(upstream.Caused(context.Canceled, upstream.ErrStopping)) })
		res, err := v.CallTool(ctx, &aggregate.Request{Principal: upstream.Local(), Params: json.RawMessage(`{"name":"bulkhead_batch","arguments":` +
			`{"calls":[{"id":"w","tool":"crm_write"},{"id":"r","tool":"crm_read","arguments":{"ms":1000}},{"id":"n","tool":"crm_read","after":["r"]}]}}`)})
		if err != nil {
			t.Fatal(err)
		}
		said := string(res)
		if !strings.Contains(said, "Bulkhead was stopped, and forgets this plan: send what is missing as a new one, without what succeeded.") || strings.Contains(said, "same plan again") {
			t.Error(said)
		}
	})
}

// TestBatchWhileEnding: nor does one that comes to its end while Bulkhead is ending.
func TestBatchWhileEnding(t *testing.T) {
	v, _ := startBatches(t, aggregate.Options{Ending: func() bool { return true }}, newShop(t, "crm"))
	b := batch(t, v, "bulkhead_batch", `{"calls":[{"id":"w","tool":"crm_write"},{"id":"f","tool":"crm_read","arguments":{"fail":"lost"}}]}`)
	if !strings.Contains(b.Summary, "forgets this plan: send what is missing as a new one") || strings.Contains(b.Summary, "same plan again") {
		t.Error(b.Summary)
	}
	if b := batch(t, v, "bulkhead_batch", `{"calls":[{"id":"w","tool":"crm_write"}]}`); b.Summary != "1 of 1 calls succeeded." {
		t.Error(b.Summary)
	}
}

// TestAWriteOfAListIsMadeOnceWhereverItStands: a list that is read anew, because its
// source is signed in to otherwise by now, has other elements before those that were
// written. Equal elements are as many writes.
func TestAWriteOfAListIsMadeOnceWhereverItStands(t *testing.T) {
	crm, erp := newShop(t, "crm"), newShop(t, "erp")
	lists := []string{`{"value":[{"v":1},{"v":2},{"v":2},{"v":3,"fail":"denied"}]}`, `{"value":[{"v":7},{"v":2},{"v":1},{"v":2},{"v":2}]}`}
	var read atomic.Int64
	answer := func(context.Context, *upstream.Call) (*upstream.Result, error) {
		return upstream.ParseResult([]byte(`{"content":[],"structuredContent":` + lists[read.Add(1)-1] + `}`))
	}
	crm.call = answer
	m, other := member(crm.fake), member(erp.fake)
	a, err := aggregate.New([]aggregate.Member{m, other}, aggregate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	if err := a.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	const plan = `{"calls":[{"id":"l","tool":"crm_read"},{"id":"w","tool":"erp_write","map":{"$ref":"#/l/value"},"arguments":{"$ref":"#/item"}}]}`
	if got := batch(t, v, "bulkhead_batch", plan).String(); got != "l ok, w error denied" {
		t.Fatal(got)
	}
	next := newShop(t, "crm")
	next.call = answer
	m.Adapter, m.Fingerprint = next.fake, "of somebody else"
	if err := a.Swap([]aggregate.Member{m, other}); err != nil {
		t.Fatal(err)
	}
	for len(names(t, v)) != 10 {
		time.Sleep(time.Millisecond)
	}
	b := batch(t, v, "bulkhead_batch", plan)
	if got := fmt.Sprint(erp.count(`{"v":1}`), erp.count(`{"v":2}`), erp.count(`{"v":7}`), read.Load()); b.String() != "l ok, w ok" || got != "1 3 1 2" {
		t.Errorf("%s; written %s times", b, got)
	}
}

// TestBatchWrittenOtherwise: a plan is the same one where what may be left out is
// written down, and whatever its texts are escaped with.
func TestBatchWrittenOtherwise(t *testing.T) {
	crm := newShop(t, "crm")
	v, _ := startBatches(t, aggregate.Options{}, crm)
	const l, w = `{"id":"l","tool":"crm_read","arguments":{"value":[1]}}`, `{"id":"w","tool":"crm_write"}`
	const m = `{"id":"m","tool":"crm_write","map":{"$ref":"#/l/value"},"arguments":{"value":"é/\\\""}}`
	batch(t, v, "bulkhead_batch", `{"calls":[`+l+`,`+w+`,`+m+`]}`)
	for _, calls := range []string{
		l + `,{"id":"w","tool":"crm_write","arguments":{}},` + m,
		l + `,{"id":"w","tool":"crm_write","on_error":"skip","after":[ ]},` + m,
		l + `,{"id":"w","tool":"crm_write","arguments":null,"map":null,"after":null,"on_error":null},` + m,
		l + `,{"i\u0064":"w","tool":"crm\u005fwrite"},{"id":"m","tool":"crm_write","map":{"$ref":"#\/l/value"},"arguments":{"v\u0061lue":"\u00e9\/\u005c\u0022"}}`,
	} {
		if got := batch(t, v, "bulkhead_batch", `{"calls":[`+calls+`]}`).String(); got != "l ok reused, w ok reused, m ok reused" {
			t.Errorf("%s: %s", calls, got)
		}
	}
	for _, calls := range []string{
		l + `,` + w + `,` + strings.ReplaceAll(m, `é`, `e`),
		l + `,{"id":"w","tool":"crm_write","on_error":"null"},` + m,
		l + `,{"id":"w","tool":"crm_write","arguments":{"x":null}},` + m,
		l + `,{"id":"w","tool":"crm_write","after":["l"]},` + m,
		`{"id":"w","tool":"crm_write","arguments":{"value":"\ud800"}}`, // half of a pair is no text, but not the same as any other
		`{"id":"w","tool":"crm_write","arguments":{"value":"\ud801"}}`,
		`{"id":"w","tool":"crm_write","arguments":{"value":"\ufffd"}}`,
	} {
		if got := batch(t, v, "bulkhead_batch", `{"calls":[`+calls+`]}`).String(); strings.Contains(got, "reused") {
			t.Errorf("%s: %s", calls, got)
		}
	}
}
