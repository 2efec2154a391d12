package aggregate_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// What was asked before something may have changed is never answered with again.
func TestWritesDropWhatIsKept(t *testing.T) {
	sent := &upstream.Error{Upstream: "crm", Tool: "put", Kind: upstream.Timeout, Sent: true}
	unsent := &upstream.Error{Upstream: "crm", Tool: "put", Kind: upstream.Unavailable}
	for name, tt := range map[string]struct {
		do   func(*testing.T, *aggregate.View, *counted, *aggregate.Aggregate)
		want string
	}{
		"a write":              {func(t *testing.T, v *aggregate.View, _ *counted, _ *aggregate.Aggregate) { call(t, v, "crm_put", `{}`) }, "3"},
		"one that says naught": {func(t *testing.T, v *aggregate.View, _ *counted, _ *aggregate.Aggregate) { call(t, v, "crm_act", `{}`) }, "3"},
		"one that is lost": {func(t *testing.T, v *aggregate.View, s *counted, _ *aggregate.Aggregate) {
			s.set(0, sent)
			call(t, v, "crm_put", `{}`)
		}, "3"},
		"one that is not sent": {func(t *testing.T, v *aggregate.View, s *counted, _ *aggregate.Aggregate) {
			s.set(0, unsent)
			call(t, v, "crm_put", `{}`)
		}, "1; fresh 0"},
		"one that panics": {func(t *testing.T, v *aggregate.View, s *counted, _ *aggregate.Aggregate) {
			s.fake.mu.Lock()
			s.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
				if c.Name == "put" {
					_, _ = s.answer(ctx, c)
					panic("x")
				}
				return s.answer(ctx, c)
			}
			s.fake.mu.Unlock()
			call(t, v, "crm_put", `{}`)
		}, "3"},
		"another read": {func(t *testing.T, v *aggregate.View, _ *counted, _ *aggregate.Aggregate) {
			call(t, v, "crm_get", `{"x":1}`)
		}, "1; fresh 0"},
		"a revocation":   {func(_ *testing.T, _ *aggregate.View, _ *counted, a *aggregate.Aggregate) { a.Forget("crm") }, "2"},
		"another's":      {func(_ *testing.T, _ *aggregate.View, _ *counted, a *aggregate.Aggregate) { a.Forget("erp") }, "1; fresh 0"},
		"a reconnection": {func(_ *testing.T, _ *aggregate.View, s *counted, _ *aggregate.Aggregate) { s.touch() }, "2"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, s, a := remembering(t, aggregate.Cache{TTL: time.Minute})
				expect(t, v, "crm_get", `{}`, "1")
				tt.do(t, v, s, a)
				s.set(0, nil)
				expect(t, v, "crm_get", `{}`, tt.want)
			})
		})
	}
}

// A write that was lost may have been carried out, even if the last that is heard
// of it is that it is too much.
func TestAWriteThatWasRetriedMayHaveBeenSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		puts := 0
		s := &counted{}
		s.fake = annotated(t, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			if c.Name != "put" {
				return s.answer(ctx, c)
			}
			if puts++; puts == 1 {
				return nil, lost(c, upstream.Unavailable, true)
			}
			return nil, lost(c, upstream.RateLimited, false)
		})
		m := limited(s.fake, aggregate.Limits{TrustAnnotations: true, Attempts: 2})
		m.Override, m.Cache.TTL = map[string]aggregate.Hints{"put": {Idempotent: new(true)}}, time.Hour
		v, _ := start(t, aggregate.Options{}, m)
		names(t, v)
		synctest.Wait()
		expect(t, v, "crm_get", `{}`, "1")
		if got := call(t, v, "crm_put", `{}`).text(); !strings.HasPrefix(got, "rate_limited: ") || puts != 2 {
			t.Errorf("%s after %d attempts", got, puts)
		}
		time.Sleep(time.Minute)
		expect(t, v, "crm_get", `{}`, "2")
	})
}

// What the source tells of its own accord drops it too.
func TestNoticesDropWhatIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRich(t, "a")
		m := asMember(r)
		m.Cache.TTL = time.Minute
		v, _ := start(t, aggregate.Options{}, m)
		synctest.Wait()
		asked := func() int {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.calls)
		}
		for i, tell := range []func(){
			func() { r.events().Note(upstream.NoteUpdated, []byte(`{"uri":"a:2"}`)) },
			func() { r.events().Changed(upstream.Prompts) },
			func() { r.events().Note(upstream.NoteTask, []byte(`{"taskId":"1"}`)) },
		} {
			ask(t, v, false, "resources/read", `{"uri":"a:1"}`)
			ask(t, v, false, "resources/read", `{"uri":"a:1"}`)
			if asked() != i+1 {
				t.Fatalf("%d: asked %d times", i, asked())
			}
			tell()
		}
		if ask(t, v, false, "resources/read", `{"uri":"a:1"}`); asked() != 4 {
			t.Errorf("asked %d times", asked())
		}
		r.events().Note(upstream.NoteElicited, []byte(`{"elicitationId":"1"}`))
		if ask(t, v, false, "resources/read", `{"uri":"a:1"}`); asked() != 4 {
			t.Error("dropped for no reason")
		}
	})
}

// A read that was begun before a write ended may have seen the time before: its
// answer is not kept, and nobody who comes after the write shares it.
func TestAReadDuringAWriteIsNobodysLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, s, _ := remembering(t, aggregate.Cache{TTL: time.Minute})
		s.set(10*time.Second, nil)
		var w sync.WaitGroup
		w.Go(func() { expect(t, v, "crm_get", `{}`, "1") })
		synctest.Wait()
		s.set(time.Second, nil)
		call(t, v, "crm_put", `{}`)
		began := time.Now()
		expect(t, v, "crm_get", `{}`, "3")
		if took := time.Since(began); took != time.Second {
			t.Errorf("it waited %s for a read of before the write", took)
		}
		w.Wait()
		expect(t, v, "crm_get", `{}`, "3; fresh 8000")
	})
}

// A source that is taken out or set up differently leaves nothing behind, and its
// answers do not come back when the old one does.
func TestAReplacedSourceStartsWithNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, s, a := remembering(t, aggregate.Cache{TTL: time.Hour})
		expect(t, v, "crm_get", `{}`, "1")
		s.set(10*time.Second, nil)
		var w sync.WaitGroup
		w.Go(func() { call(t, v, "crm_get", `{"late":1}`) })
		synctest.Wait()
		s.set(0, nil)
		other := &counted{}
		other.fake = annotated(t, other.answer)
		m := member(other.fake)
		m.Limits.TrustAnnotations, m.Cache.TTL = true, time.Hour
		if err := a.Swap([]aggregate.Member{m}); err != nil {
			t.Fatal(err)
		}
		expect(t, v, "crm_get", `{}`, "1")
		if n := other.arrivals(); n != 1 {
			t.Errorf("the new one was asked %d times", n)
		}
		w.Wait()
		expect(t, v, "crm_get", `{"late":1}`, "2")
		if n := other.arrivals(); n != 2 {
			t.Error("the old one's answer is given for the new one's")
		}
	})
}

// A write that a change of the settings has overtaken drops what the member that
// came in its place has read meanwhile.
func TestAWriteThatASwapOvertakesDropsWhatIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &counted{}
		settings := func() aggregate.Member {
			m := member(annotated(t, s.answer))
			m.Limits.TrustAnnotations, m.Cache.TTL = true, time.Hour
			return m
		}
		a, err := aggregate.New([]aggregate.Member{settings()}, aggregate.Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		names(t, v)
		synctest.Wait()
		s.set(10*time.Second, nil)
		var w sync.WaitGroup
		w.Go(func() { expect(t, v, "crm_put", `{}`, "1") })
		synctest.Wait()
		s.set(0, nil)
		if err := a.Swap([]aggregate.Member{settings()}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		expect(t, v, "crm_get", `{}`, "2") // before the write is carried out
		w.Wait()
		expect(t, v, "crm_get", `{}`, "3")
	})
}
