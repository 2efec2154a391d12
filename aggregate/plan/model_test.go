package plan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
)

// TestAsOneAfterAnother: however calls overlap, a plan comes out as the interpreter
// below has it, each call made once at most and none that should not be, and what
// changes something at a source overlaps with nothing there. Time is not real, and
// call i takes 2^i ms, so that no two calls end at once by chance and it is settled
// which have begun when one fails with which the plan ends, or when its time is up.
func TestAsOneAfterAnother(t *testing.T) {
	for range 5 { // what it takes that a list with failed elements is referred to as a whole
		if !t.Failed() {
			rapid.Check(t, func(r *rapid.T) { asExpected(t, r) })
		}
	}
}

func asExpected(t *testing.T, r *rapid.T) {
	all := drawPlan(r)
	limit := never
	if rapid.IntRange(0, 3).Draw(r, "is ended") == 0 {
		limit = time.Duration(rapid.IntRange(0, 1<<len(all)).Draw(r, "limit"))*time.Millisecond + time.Millisecond/2
	}
	text := written(all)
	p, err := plan.Parse(json.RawMessage(text), find, false)
	if err != nil {
		r.Fatalf("%v\n%s", err, text)
	}
	want := expected(all, limit)
	var got []outcome
	o := &observed{made: map[string]int{}, active: map[string]map[string]int{}}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), limit, errors.New("its time was up"))
		defer cancel()
		out := plan.Run(ctx, p, plan.Work[string]{Do: o.do})
		for i := range out {
			got = append(got, outcomeOf(&out[i]))
		}
	})
	for i := range want {
		want[i].begun, want[i].ended, want[i].pause = 0, 0, 0
		if !reflect.DeepEqual(got[i], want[i]) {
			r.Errorf("%s:\n%+v, want\n%+v\nof\n%s\nwithin %v", all[i].id, got[i], want[i], text, limit)
		}
	}
	for call, n := range o.made {
		if n > 1 || !wanted(want, call) {
			r.Errorf("%s is made %d times\n%s", call, n, text)
		}
	}
	if len(o.wrong) > 0 {
		r.Errorf("%s\n%s", strings.Join(o.wrong, "\n"), text)
	}
}

// never is when a plan ends whose time is not up.
const never = time.Hour

// drawn is one call of a random plan.
type drawn struct {
	id      string
	tool    string
	refs    []ref // through arguments
	after   []int
	over    *ref // it is made for each element of this
	onError string
	rows    int // that it answers
	fails   int // it fails if this is not 0; of a call for each element, that element, counted from 1
}

// ref is a reference to a part of what an earlier call answers; of is item for one
// to the element of a list.
type ref struct {
	of   int
	path string // e.g. "/rows/0/deep"
}

const item = -1

func (r ref) text() string {
	if r.of == item {
		return fmt.Sprintf(`{"$ref":"#/item%s"}`, r.path)
	}
	return fmt.Sprintf(`{"$ref":"#/n%d%s"}`, r.of, r.path)
}

func written(all []drawn) string {
	var calls []string
	for i, d := range all {
		refs, after, over := []string{}, []string{}, ""
		for _, r := range d.refs {
			refs = append(refs, r.text())
		}
		for _, j := range d.after {
			after = append(after, fmt.Sprintf("%q", all[j].id))
		}
		if d.over != nil {
			over = `"map":` + d.over.text() + `,`
		}
		calls = append(calls, fmt.Sprintf(`{"id":%q,"tool":%q,"on_error":%q,"after":[%s],%s"arguments":{"in":[%s],"ms":%d,"rows":%d,"fails":%d}}`,
			d.id, d.tool, d.onError, strings.Join(after, ","), over, strings.Join(refs, ","), 1<<i, d.rows, d.fails))
	}
	return "[" + strings.Join(calls, ",\n") + "]"
}

func drawPlan(t *rapid.T) []drawn {
	all := make([]drawn, rapid.IntRange(1, 12).Draw(t, "calls"))
	for i := range all {
		d := &all[i]
		*d = drawn{
			id:      fmt.Sprintf("n%d", i),
			tool:    rapid.SampledFrom([]string{"a_read", "a_write", "b_read", "b_write", "c_read"}).Draw(t, "tool"),
			onError: rapid.SampledFrom([]string{"skip", "skip", "null", "null", "fail"}).Draw(t, "on_error"),
			rows:    rapid.IntRange(0, 3).Draw(t, "rows"),
			fails:   max(0, rapid.IntRange(-7, 3).Draw(t, "fails")),
		}
		if i == 0 {
			continue
		}
		// A reference that leads nowhere fails in no time. What ends the plan must take
		// some, or it is chance what else has begun.
		sure := d.onError == "fail"
		earlier := rapid.IntRange(0, i-1)
		if rapid.IntRange(0, 3).Draw(t, "map") == 0 {
			over := drawRef(t, all, earlier.Draw(t, "over"), sure, []string{"/rows", "/rows", "/in"})
			d.over = &over
		}
		for range rapid.IntRange(0, 3).Draw(t, "refs") {
			if d.over != nil && rapid.Bool().Draw(t, "of the element") {
				d.refs = append(d.refs, drawRef(t, nil, item, sure, []string{"", "/k", "/deep/of", "/nothing"}))
			} else {
				d.refs = append(d.refs, drawRef(t, all, earlier.Draw(t, "of"), sure, []string{"", "/id", "/rows", "/in", "/in/0", "/rows/1/deep/of", "/rows/0", "/id/of", "/nothing"}))
			}
		}
		d.after = rapid.SliceOfN(earlier, 0, 2).Draw(t, "after")
	}
	return all
}

// drawRef draws a reference by one of the paths; a sure one always leads somewhere.
func drawRef(t *rapid.T, all []drawn, of int, sure bool, paths []string) ref {
	listed := of != item && all[of].over != nil // its result is a list, of which only elements have names
	switch {
	case listed && (sure || rapid.Bool().Draw(t, "whole")), sure && of == item:
		return ref{of, ""}
	case sure:
		return ref{of, "/rows"}
	}
	path := rapid.SampledFrom(paths).Draw(t, "path")
	if listed {
		path = fmt.Sprintf("/%d%s", rapid.IntRange(0, 3).Draw(t, "element"), path)
	}
	return ref{of, path}
}

// outcome is how a call ended, and each of those for the elements of a list; value
// is what it answered, as JSON decodes it.
type outcome struct {
	status plan.Status
	value  any
	items  []outcome
	listed bool // there was a list
	// Of the interpreter only:
	begun, ended, pause time.Duration
}

func outcomeOf(o *plan.Outcome[string]) outcome {
	out := outcome{status: o.Status, listed: o.Items != nil}
	if o.Status == plan.OK && o.Value != nil {
		out.value = decode(o.Value)
	}
	for i := range o.Items {
		out.items = append(out.items, outcomeOf(&o.Items[i]))
	}
	return out
}

func decode(text []byte) (v any) {
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	return v
}

// answer is what a call answers that was given in; long values end up as their
// length, so that they do not grow with every call.
func answer(id string, in []any, rows int) any {
	list := []any{}
	for k := range rows {
		list = append(list, map[string]any{"k": float64(k), "deep": map[string]any{"of": id}})
	}
	given := any(in)
	if text, err := json.Marshal(in); err != nil || len(text) > 300 {
		given = fmt.Sprintf("%d bytes", len(text))
	}
	return map[string]any{"id": id, "in": given, "rows": list}
}

// observed is what a source sees of a plan.
type observed struct {
	mu     sync.Mutex
	made   map[string]int            // by call and element
	active map[string]map[string]int // by source and call
	wrong  []string
}

func (o *observed) do(ctx context.Context, s plan.Step) (json.RawMessage, string, bool) {
	defer o.enter(s)()
	var a struct {
		In              []any
		MS, Rows, Fails int
	}
	if err := json.Unmarshal(s.Arguments, &a); err != nil {
		return nil, err.Error(), false
	}
	select {
	case <-time.After(time.Duration(a.MS) * time.Millisecond):
	case <-ctx.Done():
		return nil, "", false
	}
	if s.Item < 0 && a.Fails > 0 || s.Item >= 0 && s.Item == a.Fails-1 {
		return nil, "", false
	}
	text, err := json.Marshal(answer(s.Node.ID, a.In, a.Rows))
	return text, "", err == nil
}

// enter notes that a call has begun, and returns what notes that it has ended.
func (o *observed) enter(s plan.Step) (leave func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id, source := s.Node.ID, s.Node.Source
	o.made[fmt.Sprint(id, " ", s.Item)]++
	if o.active[source] == nil {
		o.active[source] = map[string]int{}
	}
	writes := strings.HasSuffix(s.Node.Tool, "write")
	for other, n := range o.active[source] {
		if n > 0 && other != id+" true" && other != id+" false" && (writes || strings.HasSuffix(other, " true")) {
			o.wrong = append(o.wrong, id+" overlaps with a write, or it is one and overlaps")
		}
	}
	key := fmt.Sprint(id, " ", writes)
	o.active[source][key]++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.active[source][key]--
	}
}
