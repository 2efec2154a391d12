package plan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

func parse(t *testing.T, calls string) *plan.Plan {
	t.Helper()
	p, err := plan.Parse(json.RawMessage(calls), find, false)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// echo takes "ms" milliseconds, fails where "fail" is true, and answers "value",
// or else its arguments.
func echo(ctx context.Context, s plan.Step) (json.RawMessage, string, bool) {
	ms, _ := rawjson.Get(s.Arguments, "ms")
	n, _ := json.Number(ms).Int64()
	select {
	case <-time.After(time.Duration(n) * time.Millisecond):
	case <-ctx.Done():
		return nil, "ended", false
	}
	if fail, _ := rawjson.Get(s.Arguments, "fail"); string(fail) == "true" {
		return nil, "failed", false
	}
	if v, ok := rawjson.Get(s.Arguments, "value"); ok {
		return v, "", true
	}
	return s.Arguments, "", true
}

func run(t *testing.T, calls string) []plan.Outcome[string] {
	t.Helper()
	return plan.Run(t.Context(), parse(t, calls), plan.Work[string]{Do: echo})
}

func TestReferences(t *testing.T) {
	for arguments, want := range map[string]string{
		`{"x":{"$ref":"#/a"}}`:                     `{"x":{"rows":[{"id":12345678901234567890,"a/b":true,"$ref":"#/a/rows"}],"empty":{}}}`,
		`{"x":{"$ref":"#/a/rows/0/id"}}`:           `{"x":12345678901234567890}`,
		`{"x":{"$ref":"#/a/rows/0/a~1b"}}`:         `{"x":true}`,
		`{"x":{"$ref":"#/a/rows/0/a%2Fb"}}`:        `{"x":true}`,
		`{"x":[{"$ref":"#/a/empty"},1,"s"]}`:       `{"x":[{},1,"s"]}`,
		`{"x":{"$ref":"#/a/rows/0/$ref"}}`:         `{"x":"#/a/rows"}`,
		`{"x":{"$ref":"#/a/rows/0/id","y":1}}`:     `{"x":{"$ref":"#/a/rows/0/id","y":1}}`,
		`{"x":{"$literal":{"$ref":"#/a/rows"}}}`:   `{"x":{"$ref":"#/a/rows"}}`,
		`{"x":{},"y":[],"z":{"$ref":"#/a/empty"}}`: `{"x":{},"y":[],"z":{}}`,
	} {
		out := run(t, `[{"id":"a","tool":"crm_read","arguments":{"value":{"$literal":{"rows":[{"id":12345678901234567890,"a/b":true,"$ref":"#/a/rows"}],"empty":{}}}}},`+
			`{"id":"b","tool":"crm_read","arguments":`+arguments+`}]`)
		if string(out[1].Value) != want {
			t.Errorf("%s: %s %s, want %s", arguments, out[1].Value, out[1].Why, want)
		}
	}
}

func TestReferencesToNothing(t *testing.T) {
	for ref, want := range map[string]string{
		"#/a/rows/2/id": `#/a/rows/2/id: at #/a/rows there is no element "2": the list has 1`,
		"#/a/rows/-1":   `no element "-1"`,
		"#/a/rows/00":   `no element "00"`,
		"#/a/nothing":   `at #/a there is no "nothing", but rows, n`,
		"#/a/n/x":       "at #/a/n there is a number, which has no parts",
	} {
		out := run(t, `[{"id":"a","tool":"crm_read","arguments":{"value":{"rows":[{"id":1}],"n":5}}},{"id":"b","tool":"crm_read","arguments":{"x":{"$ref":"`+ref+`"}}}]`)
		if out[1].Status != plan.Failed || !strings.Contains(out[1].Why, want) {
			t.Errorf("%s: %s %q, want %q", ref, out[1].Status, out[1].Why, want)
		}
	}
}

// TestTimes: a plan takes as long as its longest chain, not as its levels.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parse(t, `[{"id":"a","tool":"a_read","arguments":{"ms":100}},{"id":"b","tool":"b_read","arguments":{"ms":500}},
			{"id":"c","tool":"c_read","after":["a"],"arguments":{"ms":400}},{"id":"d","tool":"d_read","after":["b"],"arguments":{"ms":100}}]`)
		began := time.Now()
		out := plan.Run(t.Context(), p, plan.Work[string]{Do: echo})
		if wall, critical := time.Since(began), plan.Critical(p, out); wall != 600*time.Millisecond || critical != wall {
			t.Errorf("it took %v, its longest chain %v", wall, critical)
		}
	})
}

func TestOnError(t *testing.T) {
	for policy, want := range map[string]string{
		"skip": "a error, b skipped, c skipped, d ok",
		"null": "a error, b ok, c ok, d ok",
		"fail": "a error, b skipped, c skipped, d skipped",
	} {
		synctest.Test(t, func(t *testing.T) {
			p := parse(t, `[{"id":"a","tool":"a_read","on_error":"`+policy+`","arguments":{"fail":true}},{"id":"b","tool":"b_read","arguments":{"value":{"$ref":"#/a/x/y"}}},
				{"id":"c","tool":"c_read","after":["b"]},{"id":"w","tool":"d_read","arguments":{"ms":5}},{"id":"d","tool":"d_read","after":["w"]}]`)
			out := plan.Run(t.Context(), p, plan.Work[string]{Do: echo})
			got := fmt.Sprintf("a %s, b %s, c %s, d %s", out[0].Status, out[1].Status, out[2].Status, out[4].Status)
			if got != want {
				t.Errorf("%s: %s, want %s", policy, got, want)
			}
			if policy == "null" && string(out[1].Value) != "null" {
				t.Errorf("the result of a failed call is %s", out[1].Value)
			}
			if policy == "skip" && (out[1].Why != "it depends on call a, which failed" || out[2].Why != "it depends on call b, which was skipped") {
				t.Errorf("%q, %q", out[1].Why, out[2].Why)
			}
		})
	}
}

func TestMap(t *testing.T) {
	out := run(t, `[{"id":"a","tool":"a_read","arguments":{"value":{"rows":[{"id":1},{"id":2,"bad":true},{"id":3}]}}},
		{"id":"m","tool":"b_read","map":{"$ref":"#/a/rows"},"on_error":"null","arguments":{"value":{"n":{"$ref":"#/item/id"},"first":{"$ref":"#/a/rows/0/id"}},"fail":{"$ref":"#/item/bad"}}},
		{"id":"c","tool":"c_read","arguments":{"value":{"$ref":"#/m/2/n"}}}]`)
	// An element without the member that is asked for fails by itself.
	if m := out[1]; m.Status != plan.Failed || len(m.Items) != 3 || m.Items[1].Result != "failed" || !strings.Contains(m.Items[0].Why, `no "bad"`) {
		t.Errorf("%+v", m)
	}
	out = run(t, `[{"id":"a","tool":"a_read","arguments":{"value":{"rows":[{"id":1},{"id":2},{"id":3}]}}},
		{"id":"m","tool":"b_read","map":{"$ref":"#/a/rows"},"arguments":{"value":{"n":{"$ref":"#/item/id"},"first":{"$ref":"#/a/rows/0/id"}}}},
		{"id":"c","tool":"c_read","arguments":{"value":{"$ref":"#/m/2/n"}}},{"id":"l","tool":"c_read","arguments":{"value":{"$ref":"#/m"}}}]`)
	if got := string(out[3].Value); got != `[{"n":1,"first":1},{"n":2,"first":1},{"n":3,"first":1}]` || string(out[2].Value) != "3" {
		t.Errorf("%s, then %s", got, out[2].Value)
	}
	long := strings.Repeat("0,", plan.MaxItems) + "0"
	for value, why := range map[string]string{`{"x":1}`: "is an object, not a list", `[` + long + `]`: "more than 100 elements"} {
		out = run(t, `[{"id":"a","tool":"a_read","arguments":{"value":`+value+`}},{"id":"m","tool":"b_read","map":{"$ref":"#/a"}}]`)
		if out[1].Status != plan.Failed || !strings.Contains(out[1].Why, why) {
			t.Errorf("%.40s: %s %q", value, out[1].Status, out[1].Why)
		}
	}
	full := "[" + strings.Repeat("0,", plan.MaxItems-1) + "0]"
	out = run(t, `[{"id":"a","tool":"a_read","arguments":{"value":`+full+`}},{"id":"m","tool":"b_read","map":{"$ref":"#/a"}},
		{"id":"n","tool":"b_read","map":{"$ref":"#/a"}},{"id":"o","tool":"b_read","map":{"$ref":"#/a"}}]`)
	failed := 0
	for _, o := range out {
		for _, i := range o.Items {
			if i.Status == plan.Failed && strings.Contains(i.Why, "more than 256 calls") {
				failed++
			}
		}
	}
	if failed != 3*plan.MaxItems+1-plan.MaxCalls {
		t.Errorf("%d calls were too many", failed)
	}
}

// TestWritesAreABarrier: at their own source only.
func TestWritesAreABarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parse(t, `[{"id":"r1","tool":"crm_read","arguments":{"ms":30}},{"id":"r2","tool":"crm_read","arguments":{"ms":10}},
			{"id":"w1","tool":"crm_write","arguments":{"ms":20,"fail":true}},{"id":"w2","tool":"crm_write","arguments":{"ms":20}},
			{"id":"r3","tool":"crm_read","arguments":{"ms":10}},{"id":"x","tool":"erp_read","arguments":{"ms":10}}]`)
		began := time.Now()
		var order []string
		out := plan.Run(t.Context(), p, plan.Work[string]{Do: echo, Done: func(i int, _ *plan.Outcome[string]) {
			order = append(order, fmt.Sprintf("%s %d", p.Nodes[i].ID, time.Since(began).Milliseconds()))
		}})
		got := strings.Join(order, ", ")
		if !strings.HasSuffix(got, "r1 30, w1 50, w2 70, r3 80") || !strings.Contains(got, "x 10") || !strings.Contains(got, "r2 10") {
			t.Error(got)
		}
		if c := plan.Critical(p, out); c != 80*time.Millisecond {
			t.Errorf("the longest chain is %v", c)
		}
	})
}

func TestEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parse(t, `[{"id":"a","tool":"a_read","arguments":{"ms":1000}},{"id":"b","tool":"b_read","after":["a"]},{"id":"c","tool":"c_read"}]`)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("its time is up"))
		defer cancel()
		out := plan.Run(ctx, p, plan.Work[string]{Do: echo})
		if out[0].Result != "ended" || out[1].Status != plan.Skipped || !strings.Contains(out[1].Why, "its time is up") || out[2].Status != plan.OK {
			t.Errorf("%+v", out)
		}
	})
}

// TestEachOnce: however a plan looks, each of its calls is made once at most, and
// not before what it needs.
func TestEachOnce(t *testing.T) {
	var mu sync.Mutex
	var calls atomic.Int64
	p := parse(t, `[{"id":"a","tool":"a_read"},{"id":"b","tool":"a_write","after":["a"]},{"id":"c","tool":"a_read","after":["a","b","a"]}]`)
	seen := ""
	out := plan.Run(t.Context(), p, plan.Work[int]{Do: func(_ context.Context, s plan.Step) (json.RawMessage, int, bool) {
		mu.Lock()
		seen += s.Node.ID
		mu.Unlock()
		return json.RawMessage("1"), int(calls.Add(1)), true
	}})
	if seen != "abc" || out[2].Result != 3 {
		t.Errorf("%s, %+v", seen, out)
	}
}

// Calls are begun in the order in which they are written, so that the first are
// not the last in a source's queue.
func TestBegunInOrder(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	elements := make([]string, 30)
	for i := range elements {
		elements[i] = strconv.Itoa(i)
	}
	var calls []string
	for i := range 20 {
		calls = append(calls, fmt.Sprintf(`{"id":"c%d","tool":"crm_read","arguments":{}}`, i))
	}
	calls = append(calls, `{"id":"l","tool":"crm_read","arguments":{"value":[`+strings.Join(elements, ",")+`]}}`,
		`{"id":"m","tool":"crm_read","map":{"$ref":"#/l/value"},"arguments":{"x":{"$ref":"#/item"}}}`)
	var mu sync.Mutex
	var nodes, items []int
	p := parse(t, "["+strings.Join(calls, ",")+"]")
	plan.Run(t.Context(), p, plan.Work[string]{Do: func(_ context.Context, s plan.Step) (json.RawMessage, string, bool) {
		mu.Lock()
		defer mu.Unlock()
		if s.Item >= 0 {
			items = append(items, s.Item)
		} else if n, err := strconv.Atoi(s.Node.ID[1:]); err == nil {
			nodes = append(nodes, n)
		}
		return s.Arguments, "", true
	}})
	if len(nodes) != 20 || len(items) != 30 || !slices.IsSorted(nodes) || !slices.IsSorted(items) {
		t.Errorf("begun as %v and %v", nodes, items)
	}
}
