package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// factsOf returns what a failure says to machines.
func factsOf(t *testing.T, a answer) (code, source string, retryAfter time.Duration) {
	t.Helper()
	var facts struct {
		Code, Source string
		RetryAfterMs int64
	}
	if err := json.Unmarshal(a.Meta[aggregate.MetaError], &facts); err != nil {
		t.Fatal(err)
	}
	return facts.Code, facts.Source, time.Duration(facts.RetryAfterMs) * time.Millisecond
}

// A call that could not be made before its deadline is refused at once, with how
// long it would have waited.
func TestACallThatWouldBeTooLateIsRefusedAtOnce(t *testing.T) {
	for _, options := range []aggregate.Options{{}, {Deadline: 30 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			f := annotated(t, func(context.Context, *upstream.Call) (*upstream.Result, error) { return ok() })
			v, _ := start(t, options, limited(f, aggregate.Limits{Concurrency: 32, Rate: 1.0 / 60, Burst: 1, Attempts: 3}))
			names(t, v)
			call(t, v, "crm_get", `{}`)
			began := time.Now()
			got := call(t, v, "crm_get", `{}`)
			if took := time.Since(began); took != 0 {
				t.Errorf("refused after %s", took)
			}
			code, source, after := factsOf(t, got)
			if code != "rate_limited" || source != "crm" || after < 59*time.Second || after > time.Minute ||
				!strings.HasPrefix(got.text(), "rate_limited: crm: its quota allows the call in ") || !strings.Contains(got.text(), "; retry in 60 s; other sources") {
				t.Error(got.text())
			}
		})
	}
}

// A call that can be made in time waits for its turn.
func TestACallWaitsForItsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := annotated(t, func(context.Context, *upstream.Call) (*upstream.Result, error) { return ok() })
		v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{Rate: 1, Burst: 4, Costs: map[string]float64{"put": 4}}))
		names(t, v)
		w := newCrowd()
		call(t, v, "crm_put", `{}`) // all tokens
		call(t, v, "crm_get", `{}`)
		if took := time.Since(w.from); took < time.Second || took > time.Second+time.Millisecond {
			t.Errorf("a call of one token took %s", took)
		}
		call(t, v, "crm_put", `{}`)
		if took := time.Since(w.from); took < 5*time.Second || took > 5*time.Second+2*time.Millisecond {
			t.Errorf("a call of four tokens took %s", took)
		}
	})
}

func TestQuotasOfUsers(t *testing.T) {
	for per, want := range map[aggregate.Per]string{aggregate.PerUser: "ok", "": "rate_limited", aggregate.PerUpstream: "rate_limited", aggregate.PerCredential: "rate_limited"} {
		synctest.Test(t, func(t *testing.T) {
			f := annotated(t, func(context.Context, *upstream.Call) (*upstream.Result, error) { return ok() })
			v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{Rate: 0.001, Burst: 1, Per: per}))
			names(t, v)
			call(t, v, "crm_get", `{}`)
			if got := call(t, v, "crm_get", `{}`).text(); !strings.HasPrefix(got, "rate_limited") {
				t.Errorf("the same user: %s", got)
			}
			other := &aggregate.Request{Principal: upstream.NewPrincipal("idp", "ann")}
			if got := callAs(t, v, other, "crm_get", `{}`).text(); !strings.HasPrefix(got, want) {
				t.Errorf("per %q, another one: %s", per, got)
			}
		})
	}
}

// A source that says that it is too much is left alone for as long as it says,
// within reason; its circuit stays closed, and other sources do not notice.
func TestATooBusySourceIsLeftAlone(t *testing.T) {
	for said, frozen := range map[time.Duration]time.Duration{0: time.Second, 30 * time.Second: 30 * time.Second, 1 << 62: 15 * time.Minute, -time.Second: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			busy := time.Now().Add(frozen)
			f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
				if time.Now().Before(busy) {
					return nil, &upstream.Error{Upstream: c.Upstream, Tool: c.Name, Kind: upstream.RateLimited, RetryAfter: said}
				}
				return ok()
			})
			other := newFake(t, "erp", "get")
			l := aggregate.Limits{Concurrency: 8, Queue: 100, Failures: 1, CoolDown: time.Minute}
			v, _ := start(t, aggregate.Options{}, limited(f, l), limited(other, l))
			names(t, v)
			began := time.Now()
			if got := call(t, v, "crm_get", `{}`).text(); !strings.HasPrefix(got, "rate_limited") {
				t.Fatal(got)
			}
			if got := call(t, v, "erp_get", `{}`).text(); !strings.HasPrefix(got, "erp:get") || time.Since(began) != 0 {
				t.Errorf("another source: %s after %s", got, time.Since(began))
			}
			got := call(t, v, "crm_get", `{}`)
			if frozen > 50*time.Second {
				if code, _, after := factsOf(t, got); code != "rate_limited" || after < frozen || after > frozen+time.Second || time.Since(began) != 0 {
					t.Errorf("said %s: %s after %s", said, got.text(), time.Since(began))
				}
				time.Sleep(frozen)
				got = call(t, v, "crm_get", `{}`)
			}
			if took := time.Since(began); got.text() != "ok" || took < frozen || took > frozen+time.Second {
				t.Errorf("said %s: %s after %s", said, got.text(), took)
			}
		})
	}
}

// That a call waits for its quota until it has no time left says nothing about
// the source, and it says that it was not sent.
func TestWaitingTripsNoCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			if !first {
				return ok()
			}
			first = false
			time.Sleep(10 * time.Second)
			return nil, &upstream.Error{Upstream: c.Upstream, Tool: c.Name, Kind: upstream.RateLimited, RetryAfter: 100 * time.Second}
		})
		v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{
			Concurrency: 8, Queue: 100, Rate: 1.0 / 20, Burst: 1, Failures: 1, CoolDown: time.Hour,
		}))
		names(t, v)
		w := newCrowd()
		w.call(t.Context(), t, v, "s", "crm_act", `{}`)
		synctest.Wait()
		if got := call(t, v, "crm_put", `{}`).text(); got != "timeout: crm: its turn did not come within 50s, the time a call may take; it asked to be left alone; nothing was sent; retry in 60 s; other sources are unaffected." {
			t.Error(got)
		}
		w.wg.Wait()
		time.Sleep(5 * time.Minute)
		if got := call(t, v, "crm_put", `{}`).text(); got != "ok" {
			t.Error(got)
		}
	})
}

func TestAQueueThatIsTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := annotated(t, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) { return untilDone(ctx, c) })
		v, _ := start(t, aggregate.Options{}, limited(f, aggregate.Limits{Concurrency: 1, Queue: 1}))
		names(t, v)
		w := newCrowd()
		for range 2 {
			w.call(t.Context(), t, v, "s", "crm_get", `{}`)
			synctest.Wait()
		}
		if got := call(t, v, "crm_get", `{}`).text(); got != "overloaded: crm: 1 calls are under way and 1 are waiting, which is the limit; nothing was sent; retry later; other sources are unaffected." {
			t.Error(got)
		}
		w.wg.Wait()
	})
}

// The state of a source says what its limits leave, but nobody else's name.
func TestLoadOfASource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := annotated(t, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			switch c.Name {
			case "act":
				return nil, lost(c, upstream.Timeout, true)
			case "put":
				time.Sleep(10 * time.Second)
			}
			return ok()
		})
		a, err := aggregate.New([]aggregate.Member{limited(f, aggregate.Limits{
			Concurrency: 2, Queue: 8, Rate: 1, Burst: 10, Per: aggregate.PerUser, Attempts: 2, Failures: 2, CoolDown: time.Minute,
		})}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		names(t, v)
		for range 3 {
			call(t, v, "crm_act", `{}`)
		}
		w := newCrowd()
		for range 3 {
			w.call(t.Context(), t, v, "s", "crm_put", `{}`)
		}
		synctest.Wait()
		raw, err := json.Marshal(a.Status().Sources[0].Load)
		if err != nil {
			t.Fatal(err)
		}
		opened := time.Now().UTC().Format(time.RFC3339)
		var load aggregate.LoadStatus
		if err := json.Unmarshal(raw, &load); err != nil {
			t.Fatal(err)
		}
		act := load.Tools["act"]
		if load.Running != 1 || load.WritesWaiting != 2 || load.Concurrency != 2 || load.Queue != 8 || load.Circuit.State != "closed" ||
			load.Quota == nil || load.Quota.Left != 7 || load.Quota.Burst != 10 || load.Quota.PerSecond != 1 || load.RetryBudget != 1 ||
			act.State != "open" || act.Failure != "timeout" || act.RetryInMS < 54_000 || act.RetryInMS > 60_000 || act.Since != opened {
			t.Errorf("%s", raw)
		}
		if strings.Contains(string(raw), "local") {
			t.Errorf("a user is named: %s", raw)
		}
		if load.Quota.Per != "user" {
			t.Errorf("%s", raw)
		}
		if got := call(t, v, "bulkhead_sources", `{}`); !strings.Contains(string(got.Structured), fmt.Sprintf(`"load":%s`, raw)) {
			t.Errorf("%s, want %s", got.Structured, raw)
		}
		w.wg.Wait()
	})
}

// A change of other settings gives nobody a new quota.
func TestQuotasOutliveAReload(t *testing.T) {
	for rate, want := range map[float64]string{0.001: "rate_limited", 0.002: "ok"} {
		synctest.Test(t, func(t *testing.T) {
			old, changed := annotated(t, nil), annotated(t, nil)
			for _, f := range []*fake{old, changed} {
				f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) { return ok() }
			}
			a, err := aggregate.New([]aggregate.Member{limited(old, aggregate.Limits{Rate: 0.001, Burst: 1, Costs: map[string]float64{"put": 1}})}, aggregate.Options{Plain: true})
			if err != nil {
				t.Fatal(err)
			}
			v, _ := run(t, a)
			names(t, v)
			call(t, v, "crm_get", `{}`)
			m := limited(changed, aggregate.Limits{Rate: rate, Burst: 1, Attempts: 3, Costs: map[string]float64{"put": 1}})
			if err := a.Swap([]aggregate.Member{m}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := call(t, v, "crm_get", `{}`).text(); !strings.HasPrefix(got, want) {
				t.Errorf("a rate of %g: %s", rate, got)
			}
		})
	}
}
