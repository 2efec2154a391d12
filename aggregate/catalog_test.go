package aggregate_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestColdStartWaitsForAllAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFake(t, "a", "x"), newFake(t, "b", "y")
		v, _ := start(t, aggregate.Options{}, member(b), member(a))
		began := time.Now()
		if diff := cmp.Diff([]string{"a_x", "b_y"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the first list took %s although every upstream had answered", took)
		}
	})
}

func TestColdStartIsBoundedByAHangingUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := newFake(t, "slow", "y")
		slow.hang = true
		v, _ := start(t, aggregate.Options{}, member(newFake(t, "a", "x")), member(slow))
		began := time.Now()
		if diff := cmp.Diff([]string{"a_x"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("the first list took %s, want 2s", took)
		}
		var told atomic.Int32
		defer subscribe(t, v, func() { told.Add(1) })()
		slow.touch() // it has come
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"a_x", "slow_y"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		if told.Load() != 1 {
			t.Errorf("the late upstream was announced %d times, want once", told.Load())
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("a later list waited: %s", took-3*time.Second)
		}
	})
}

func TestAnUpstreamThatIsDownHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := newFake(t, "down", "y")
		down.state = upstream.Down
		v, _ := start(t, aggregate.Options{}, member(newFake(t, "a", "x")), member(down))
		began := time.Now()
		if diff := cmp.Diff([]string{"a_x"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the first list took %s", took)
		}
	})
}

func TestDeadUpstreamKeepsItsToolsAndFailedListsAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "a", "x")
		v, _ := start(t, aggregate.Options{}, member(f))
		names(t, v)
		f.fail(errors.New("gone"))
		f.touch()
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"a_x"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		before := f.listed()
		f.set(t, "x", "z")
		time.Sleep(time.Minute) // no change is signalled: the retry finds it
		if diff := cmp.Diff([]string{"a_x", "a_z"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		if n := f.listed() - before; n != 1 {
			t.Errorf("listed %d times after it worked again, want once", n)
		}
	})
}

func TestOnlyRealChangesAreAnnouncedAndTheyAreBundled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFake(t, "a", "x"), newFake(t, "b", "y")
		v, _ := start(t, aggregate.Options{}, member(a), member(b))
		names(t, v)
		time.Sleep(time.Second)
		var told atomic.Int32
		cancel := subscribe(t, v, func() { told.Add(1) })
		for range 1000 { // a storm of announcements of nothing
			a.touch()
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		if told.Load() != 0 {
			t.Fatalf("an unchanged list was announced %d times", told.Load())
		}
		if n := a.listed(); n > 20 {
			t.Errorf("1000 announcements within a second caused %d lists", n)
		}
		a.set(t, "x", "x2")
		b.set(t, "y2")
		a.touch()
		b.touch()
		time.Sleep(time.Second)
		if told.Load() != 1 {
			t.Errorf("two changes at once were announced %d times, want once", told.Load())
		}
		cancel()
		a.set(t)
		a.touch()
		time.Sleep(time.Second)
		if told.Load() != 1 {
			t.Error("announced after the subscription was cancelled")
		}
	})
}

func TestAShuffledListIsNoChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "a", "x", "y", "z")
		v, _ := start(t, aggregate.Options{}, member(f))
		first := names(t, v)
		time.Sleep(time.Second)
		var told atomic.Int32
		defer subscribe(t, v, func() { told.Add(1) })()
		f.set(t, "z", "x", "y")
		f.touch()
		time.Sleep(time.Second)
		if diff := cmp.Diff(first, names(t, v)); diff != "" || told.Load() != 0 {
			t.Errorf("announced %d times; %s", told.Load(), diff)
		}
	})
}

func TestListBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw := `{"x-vendor":[1e400],"name":"get","inputSchema":{"type":"object","oneOf":[{}],"description":"a<b"},"annotations":{"readOnlyHint":true,"x":1}}`
		f := newFake(t, "a")
		f.tools = append(f.tools, parse(t, "a", raw))
		v, _ := start(t, aggregate.Options{}, member(f))
		want := strings.Replace(raw, `"get"`, `"a_get"`, 1)
		for modern, list := range map[bool]string{
			false: `{"tools":[` + want + `]}`,
			true:  `{"tools":[` + want + `],"resultType":"complete","ttlMs":60000,"cacheScope":"private"}`,
		} {
			got, err := v.ListTools(t.Context(), &aggregate.Request{Modern: modern})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(list, string(got)); diff != "" {
				t.Errorf("modern %v: %s", modern, diff)
			}
		}
		var rpc *upstream.RPCError
		if _, err := v.ListTools(t.Context(), &aggregate.Request{Params: []byte(`{"cursor":"x"}`)}); !errors.As(err, &rpc) || rpc.Code != -32602 {
			t.Errorf("a foreign cursor: %v, want -32602", err)
		}
	})
}

func TestEachUpstreamAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agg, err := aggregate.New([]aggregate.Member{member(newFake(t, "a", "x")), member(newFake(t, "b", "x"))}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		run(t, agg)
		v, ok := agg.View("b")
		if !ok {
			t.Fatal("no view of b")
		}
		if diff := cmp.Diff([]string{"x", "bulkhead_batch", "bulkhead_batch_read", "bulkhead_read_more", "bulkhead_sources"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		if got := call(t, v, "x", `{}`).text(); got != "b:x:{}" {
			t.Errorf("answered %q", got)
		}
		if _, ok := agg.View("c"); ok {
			t.Error("there is a view of an upstream that does not exist")
		}
	})
}

func TestALatecomerTakesNobodysName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late, early := newFake(t, "a", "search"), newFake(t, "b", "search")
		late.hang = true
		flat := func(f *fake) aggregate.Member {
			m := member(f)
			m.Prefix = ""
			return m
		}
		v, _ := start(t, aggregate.Options{}, flat(late), flat(early))
		if diff := cmp.Diff([]string{"search"}, names(t, v)); diff != "" {
			t.Fatal(diff)
		}
		late.touch()
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"search_a", "search"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		if got := call(t, v, "search", `{}`).text(); got != "b:search:{}" {
			t.Errorf("a name that was listed came to mean another source: %s", got)
		}
	})
}

func TestToolFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := member(newFake(t, "a", "get", "drop"))
		m.Keep = func(tool string) bool { return tool != "drop" }
		v, _ := start(t, aggregate.Options{}, m)
		if diff := cmp.Diff([]string{"a_get"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		_, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Params: []byte(`{"name":"a_drop"}`)})
		if _, ok := errors.AsType[*upstream.RPCError](err); !ok {
			t.Errorf("a tool that is filtered out answered: %v", err)
		}
	})
}

func TestManyToolsOfManyUpstreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var members []aggregate.Member
		for i := range 20 {
			f := newFake(t, upstream.ID(fmt.Sprintf("u%02d", i)))
			var tools []string
			for j := range 500 {
				tools = append(tools, fmt.Sprintf("t%03d", j))
			}
			f.set(t, tools...)
			members = append(members, member(f))
		}
		v, _ := start(t, aggregate.Options{}, members...)
		if got := names(t, v); len(got) != 10_000 || got[0] != "u00_t000" || got[9_999] != "u19_t499" {
			t.Errorf("%d tools from %s to %s", len(got), got[0], got[len(got)-1])
		}
	})
}

func TestOneAloneWaitsForNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging := newFake(t, "slow")
		hanging.hang = true
		a, err := aggregate.New([]aggregate.Member{member(newFake(t, "crm", "get")), member(hanging)}, aggregate.Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		run(t, a)
		lone, _ := a.View("crm")
		began := time.Now()
		if diff := cmp.Diff([]string{"get"}, names(t, lone)); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(began); took >= time.Second {
			t.Errorf("it waited %s for another upstream", took)
		}
	})
}

func TestAnUnchangedListIsNotServedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged lockedText
		f, other := newFake(t, "a", "x", "y"), newFake(t, "b", "z")
		v, stop := start(t, aggregate.Options{Log: slog.New(slog.NewTextHandler(&logged, nil))}, member(f), member(other))
		list := func() []byte {
			raw, err := v.ListTools(t.Context(), &aggregate.Request{Principal: upstream.Local()})
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		first := list()
		time.Sleep(time.Second)
		f.set(t, "y", "x")
		f.touch()
		time.Sleep(time.Second)
		if again := list(); &again[0] != &first[0] || f.listed() != 2 {
			t.Errorf("listed %d times; the same tools were serialised again", f.listed())
		}
		f.set(t)
		f.touch()
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"b_z"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		f.set(t, "x")
		f.touch()
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"a_x", "b_z"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		stop()
		if n := strings.Count(logged.String(), "tools listed"); n != 4 {
			t.Errorf("%d lines in the log, want one for each upstream and change:\n%s", n, logged.String())
		}
	})
}

// What is asked through the view of one source reaches no other, and is called what
// that view calls it.
func TestOwnToolsOfOneSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agg, err := aggregate.New([]aggregate.Member{member(newFake(t, "a", "x")), member(newFake(t, "b", "x"))}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		all, _ := run(t, agg)
		names(t, all)
		v, _ := agg.View("b")
		const plan = `{"calls":[{"id":"c","tool":%q,"arguments":{"n":1}}]}`
		for _, tool := range []string{"a_x", "b_x"} {
			if a := call(t, v, "bulkhead_batch", fmt.Sprintf(plan, tool)); !a.IsError || !strings.Contains(a.text(), "unknown tool") {
				t.Errorf("%s: %s", tool, a.text())
			}
		}
		if a := call(t, v, "bulkhead_batch", fmt.Sprintf(plan, "x")); a.IsError || !strings.Contains(a.text(), `b:x:`) {
			t.Error(a.text())
		}
		if a := call(t, all, "bulkhead_batch", fmt.Sprintf(plan, "x")); !a.IsError {
			t.Error(a.text())
		}
		if a := call(t, v, "bulkhead_sources", `{}`); !strings.Contains(a.text(), `"name":"b"`) || strings.Contains(a.text(), `"name":"a"`) {
			t.Error(a.text())
		}
		if a := call(t, v, "bulkhead_sources", `{"source":"a"}`); !a.IsError || !strings.HasPrefix(a.text(), "not_found: ") {
			t.Error(a.text())
		}
	})
}
