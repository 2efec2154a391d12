package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Writes run in the order in which they came, with reads beside them.
func TestWritesRunInOrder(t *testing.T) {
	for name, c := range map[string]struct {
		limits aggregate.Limits
		tool   string
		serial bool
	}{
		"writes":                {aggregate.Limits{}, "crm_put", true},
		"writes, parallel":      {aggregate.Limits{Writes: aggregate.Parallel}, "crm_put", false},
		"unannotated":           {aggregate.Limits{}, "crm_act", false},
		"unannotated, serial":   {aggregate.Limits{Unannotated: aggregate.Serial}, "crm_act", true},
		"unannotated, apart":    {aggregate.Limits{Unannotated: aggregate.Serial, Writes: aggregate.Parallel}, "crm_act", true},
		"writes beside serials": {aggregate.Limits{Unannotated: aggregate.Serial, Writes: aggregate.Parallel}, "crm_put", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var o oracle
				f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
					if c.Name != "get" {
						defer o.enter(c)()
					}
					time.Sleep(time.Second)
					return ok()
				})
				v, _ := start(t, aggregate.Options{}, limited(f, c.limits))
				names(t, v)
				w, read := newCrowd(), newCrowd()
				for i := range 10 {
					w.call(t.Context(), t, v, fmt.Sprint(i), c.tool, fmt.Sprintf(`{"n":%d}`, i))
					synctest.Wait() // so that there is an order in which they came
				}
				for range 10 {
					read.call(t.Context(), t, v, "r", "crm_get", `{}`)
				}
				read.wg.Wait()
				if took := time.Since(read.from); took != time.Second {
					t.Errorf("reads took %s", took)
				}
				w.wg.Wait()
				if (o.most == 1) != c.serial {
					t.Errorf("%d at once", o.most)
				}
				if c.serial && (!slices.IsSorted(o.said) || len(o.said) != 10) {
					t.Errorf("in the order %q", o.said)
				}
			})
		})
	}
}

// A write that is made again keeps its place in the line.
func TestARepeatedWriteKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done []string
		f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			if string(c.Arguments) == `{"n":0}` && c.Timing.Attempts == 0 {
				return nil, lost(c, upstream.Unavailable, false)
			}
			done = append(done, string(c.Arguments))
			return ok()
		})
		v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{Attempts: 2}))
		names(t, v)
		w := newCrowd()
		for i := range 3 {
			w.call(t.Context(), t, v, "s", "crm_put", fmt.Sprintf(`{"n":%d}`, i))
			synctest.Wait()
		}
		w.wg.Wait()
		if got := strings.Join(done, " "); got != `{"n":0} {"n":1} {"n":2}` {
			t.Error(got)
		}
	})
}

func TestLinesByArgument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o oracle
		f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			defer o.enter(c)()
			time.Sleep(time.Second)
			return ok()
		})
		v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{SerializeBy: "id"}))
		names(t, v)
		for _, c := range []struct {
			arguments []string
			want      time.Duration
		}{
			{[]string{`{"id":"a"}`, `{"id":"b"}`, `{"id":3}`, `{}`}, time.Second},
			{[]string{`{"id":"a"}`, `{"id":"\u0061"}`}, 2 * time.Second},
			{[]string{`{}`, `{"di":"a"}`, `{"n":1}`}, 3 * time.Second},
		} {
			w := newCrowd()
			for _, a := range c.arguments {
				w.call(t.Context(), t, v, "s", "crm_put", a)
			}
			w.wg.Wait()
			if took := time.Since(w.from); took != c.want || w.text["ok"] != len(c.arguments) {
				t.Errorf("%q took %s, want %s: %v", c.arguments, took, c.want, w.text)
			}
		}
	})
}

// A waiter that gives up frees its place at once, wherever it waits, and what
// waits behind it still waits for those before.
func TestACancelledWaiterFreesItsPlace(t *testing.T) {
	for name, l := range map[string]aggregate.Limits{
		"in the bulkhead": {Concurrency: 1, Queue: 1, Writes: aggregate.Parallel},
		"in the line":     {Concurrency: 8, Queue: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var o oracle
				f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
					defer o.enter(c)()
					time.Sleep(10 * time.Second)
					return ok()
				})
				v, _ := start(t, aggregate.Options{}, limited(f, l))
				names(t, v)
				w := newCrowd()
				w.call(t.Context(), t, v, "a", "crm_put", `{}`)
				synctest.Wait()
				ctx, cancel := context.WithCancel(t.Context())
				w.call(ctx, t, v, "b", "crm_put", `{}`)
				synctest.Wait()
				w.call(t.Context(), t, v, "c", "crm_put", `{}`) // the queue is full
				synctest.Wait()
				cancel()
				synctest.Wait()
				if w.text["overloaded"] != 1 || w.text["cancelled"] != 1 || time.Since(w.from) != 0 {
					t.Fatal(w.text, time.Since(w.from))
				}
				w.call(t.Context(), t, v, "d", "crm_put", `{}`)
				w.wg.Wait()
				if w.text["ok"] != 2 || o.most != 1 || o.arrivals() != 2 {
					t.Error(w.text, o.most, o.arrivals())
				}
			})
		})
	}
}

// The ledger of the upstream knows what it has carried out. Whatever goes wrong
// and wherever, a call that is not known to be harmless is carried out once at
// most, and one that may have been is not said to have failed.
func TestNoWriteIsCarriedOutTwice(t *testing.T) {
	type fault struct {
		executed bool
		kind     upstream.Kind
		sent     bool
	}
	faults := map[string]fault{
		"before it is sent":     {false, upstream.Unavailable, false},
		"while it is sent":      {false, upstream.Unavailable, true},
		"after it is sent":      {true, upstream.Unavailable, true},
		"the answer is lost":    {true, upstream.Timeout, true},
		"the answer is garbage": {true, upstream.UpstreamError, true},
		"it asks to wait":       {false, upstream.RateLimited, false},
		"it asks to wait, late": {true, upstream.RateLimited, true},
	}
	for name, fault := range faults {
		for _, tool := range []string{"crm_put", "crm_act", "crm_get"} {
			t.Run(name+" "+tool, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ledger, tries := map[string]int{}, 0
					f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
						tries++
						key := string(c.Arguments)
						if tries == 1 {
							if fault.executed {
								ledger[key]++
							}
							return nil, lost(c, fault.kind, fault.sent)
						}
						ledger[key]++
						return ok()
					})
					v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{Attempts: 3})) // annotations are not trusted
					names(t, v)
					got := call(t, v, tool, `{"id":1}`).text()
					if n := ledger[`{"id":1}`]; n > 1 {
						t.Errorf("carried out %d times", n)
					}
					again := !fault.sent // it is known not to have been carried out
					switch {
					case again != (tries == 2) || again != (got == "ok"):
						t.Errorf("%d tries: %s", tries, got)
					case !again && tool == "crm_put" && !strings.HasPrefix(got, "write_outcome_unknown: crm: "):
						t.Error(got)
					}
				})
			})
		}
	}
}

// What may be repeated says the operator, not the upstream, unless it is trusted.
func TestWhoMayBeRepeated(t *testing.T) {
	yes := true
	for name, c := range map[string]struct {
		tool     string
		limits   aggregate.Limits
		override aggregate.Hints
		want     int // tries
	}{
		"a read, on its own word":        {"get", aggregate.Limits{Attempts: 3}, aggregate.Hints{}, 1},
		"a read that is trusted":         {"get", aggregate.Limits{Attempts: 3, TrustAnnotations: true}, aggregate.Hints{}, 3},
		"a read on the operator's word":  {"act", aggregate.Limits{Attempts: 3}, aggregate.Hints{ReadOnly: &yes}, 3},
		"idempotent, the operator says":  {"put", aggregate.Limits{Attempts: 3}, aggregate.Hints{Idempotent: &yes}, 3},
		"a write of a trusted source":    {"put", aggregate.Limits{Attempts: 3, TrustAnnotations: true}, aggregate.Hints{}, 1},
		"nothing said, a trusted source": {"act", aggregate.Limits{Attempts: 3, TrustAnnotations: true}, aggregate.Hints{}, 1},
		"a read, but one attempt":        {"get", aggregate.Limits{Attempts: 1, TrustAnnotations: true}, aggregate.Hints{}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
					if tries++; tries > 1 { // the first may have been carried out
						return nil, lost(c, upstream.Unavailable, false)
					}
					return nil, lost(c, upstream.Timeout, true)
				})
				m := limited(f, c.limits)
				m.Override = map[string]aggregate.Hints{c.tool: c.override}
				v, _ := start(t, aggregate.Options{}, m)
				names(t, v)
				got := call(t, v, "crm_"+c.tool, `{}`).text()
				if tries != c.want {
					t.Errorf("%d tries", tries)
				}
				if c.tool == "put" && !strings.HasPrefix(got, "write_outcome_unknown") {
					t.Errorf("a write of which the first attempt was lost: %s", got)
				}
			})
		})
	}
}

// Where nothing may be changed, what does not say that it only reads is refused
// before it waits for anything.
func TestDeniedWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o oracle
		f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			defer o.enter(c)()
			time.Sleep(40 * time.Second)
			return ok()
		})
		v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{Writes: aggregate.Deny, Concurrency: 1, Queue: 1}))
		names(t, v)
		w := newCrowd()
		w.call(t.Context(), t, v, "s", "crm_get", `{}`)
		synctest.Wait()
		for _, tool := range []string{"crm_put", "crm_act"} {
			if got := call(t, v, tool, `{}`).text(); !strings.HasPrefix(got, "denied: crm: nothing may be changed there") {
				t.Error(got)
			}
		}
		if w.wg.Wait(); o.arrivals() != 1 || w.text["ok"] != 1 {
			t.Error(o.said, w.text)
		}
	})
}

// The deadline that layers and adapters see is the one that ends the call.
func TestDeadlinesCanBeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []time.Duration
		look := func(ctx context.Context) {
			left := time.Duration(-1)
			if at, set := ctx.Deadline(); set {
				left = time.Until(at)
			}
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, left)
		}
		v := serve(t, aggregate.Options{}, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			look(ctx)
			time.Sleep(20 * time.Second)
			look(ctx)
			c.Back.Progress([]byte(`{"progress":1}`))
			look(ctx)
			_, err := c.Back.Ask(ctx, upstream.Question{Method: upstream.AskRoots})
			if err != nil {
				return nil, err
			}
			look(ctx)
			return ok()
		})
		r := &aggregate.Request{Principal: upstream.Local(), Back: upstream.Back{
			Progress:     func(json.RawMessage) {},
			Capabilities: []byte(`{"roots":{}}`),
			Ask: func(ctx context.Context, _ upstream.Question) (json.RawMessage, error) {
				look(ctx) // AskTimeout's
				time.Sleep(2 * time.Minute)
				return []byte(`{"roots":[]}`), nil
			},
		}}
		if got := callAs(t, v, r, "crm_get", `{}`).text(); got != "ok" {
			t.Error(got)
		}
		want := []time.Duration{50 * time.Second, 30 * time.Second, 50 * time.Second, 5 * time.Minute, 50 * time.Second}
		if !slices.Equal(seen, want) {
			t.Errorf("%v, want %v", seen, want)
		}
	})
}
