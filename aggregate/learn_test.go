package aggregate_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// calm answers at once.
func calm(context.Context, *upstream.Call) (*upstream.Result, error) { return ok() }

// works is an aggregate of these members at work, with a view of all.
func works(t *testing.T, o aggregate.Options, members ...aggregate.Member) (*aggregate.Aggregate, *aggregate.View) {
	t.Helper()
	a, err := aggregate.New(members, o)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	names(t, v)
	return a, v
}

// Sessions that ask for the same get the same, as Jain's index says.
func TestSessionsShareEqually(t *testing.T) {
	for _, places := range []int{1, 4, 32} {
		synctest.Test(t, func(t *testing.T) {
			const sessions, each, rate = 20, 30, 10
			var mu sync.Mutex
			served := map[string]float64{}
			f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
				mu.Lock()
				defer mu.Unlock()
				served[c.Session]++
				return ok()
			})
			v, _ := start(t, aggregate.Options{Deadline: 10 * time.Minute}, limited(f, aggregate.Limits{Concurrency: places, Queue: 2000, Rate: rate, Burst: 1}))
			names(t, v)
			w := newCrowd()
			for i := range sessions * each { // one session after the other
				w.call(t.Context(), t, v, fmt.Sprint(i/each), "crm_get", `{}`)
				if i%each == 0 {
					synctest.Wait()
				}
			}
			time.Sleep(sessions * each / 2 / rate * time.Second)
			mu.Lock()
			sum, squares := 0.0, 0.0
			for _, n := range served {
				sum, squares = sum+n, squares+n*n
			}
			mu.Unlock()
			if jain := sum * sum / (sessions * squares); jain < 0.95 {
				t.Errorf("%d places: Jain's index is %.3f: %v", places, jain, served)
			}
			w.wg.Wait()
		})
	}
}

// Beside a session that has queued 1,000 calls, twenty others with one call each
// wait no longer than twice the number of sessions over the rate.
func TestManyBesideAHog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const others, rate = 20, 10
		v, _ := start(t, aggregate.Options{Deadline: 10 * time.Minute}, limited(annotated(t, calm), aggregate.Limits{Concurrency: 4, Queue: 2000, Rate: rate, Burst: 1}))
		names(t, v)
		hog := newCrowd()
		for range 1000 {
			hog.call(t.Context(), t, v, "hog", "crm_get", `{}`)
		}
		time.Sleep(3 * time.Second)
		for range 3 {
			light := newCrowd()
			for i := range others {
				light.call(t.Context(), t, v, fmt.Sprint(i), "crm_get", `{}`)
			}
			light.wg.Wait()
			if took, most := light.last["ok"], 2*(others+1)*time.Second/rate; light.text["ok"] != others || took > most {
				t.Errorf("%v after %s, more than %s", light.text, took, most)
			}
			time.Sleep(5 * time.Second)
		}
		hog.wg.Wait()
	})
}

// A tool that may be asked twice is, when it takes long: the answer comes from the
// second attempt, the log says so, and no other layer notices.
func TestHedgedTools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		stuck, calls := 0, 0
		f := annotated(t, func(ctx context.Context, _ *upstream.Call) (*upstream.Result, error) {
			mu.Lock()
			calls++
			hangs := stuck > 0
			stuck--
			mu.Unlock()
			if hangs {
				<-ctx.Done()
				return nil, &upstream.Error{Kind: upstream.Cancelled, Sent: true, Err: ctx.Err()}
			}
			time.Sleep(100 * time.Millisecond)
			return ok()
		})
		m := limited(f, aggregate.Limits{Concurrency: 4, Queue: 8, Rate: 100, Burst: 50, Attempts: 3, Failures: 1, CoolDown: time.Minute, Hedge: map[string]bool{"get": true}})
		var log lockedText
		a, v := works(t, aggregate.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, m)
		for range 60 {
			call(t, v, "crm_get", `{}`)
		}
		log.Reset()
		for _, c := range []struct {
			tool  string
			calls int
			took  time.Duration
			says  string
		}{
			{"crm_get", 2, 200 * time.Millisecond, "attempts=2 hedged=true\n"},
			{"crm_act", 1, 50 * time.Second, "attempts=1\n"}, // not one of them
		} {
			log.Reset()
			mu.Lock()
			stuck, calls = 1, 0
			mu.Unlock()
			began := time.Now()
			call(t, v, c.tool, `{}`)
			if took := time.Since(began).Round(time.Millisecond); took != c.took || calls != c.calls || !strings.HasSuffix(log.String(), c.says) {
				t.Errorf("%s: %d calls, %s, %s", c.tool, calls, took, log.String())
			}
			if l := a.Status().Sources[0].Load; c.tool == "crm_get" && (l.Circuit.State != "closed" || len(l.Tools) != 0 || l.Running != 0 || l.RetryBudget != 1) {
				t.Errorf("%+v", l)
			}
		}
	})
}

// A source that says that it is too much is asked half as much at once, which
// shows, and grows back.
func TestConcurrencyLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := true
		f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			if busy {
				return nil, &upstream.Error{Upstream: c.Upstream, Kind: upstream.RateLimited, RetryAfter: 30 * time.Second}
			}
			return ok()
		})
		a, v := works(t, aggregate.Options{}, limited(f, aggregate.Limits{Concurrency: 8, Queue: 8}))
		now := func() int { return a.Status().Sources[0].Load.ConcurrencyNow }
		if n := now(); n != 0 {
			t.Errorf("%d before", n)
		}
		call(t, v, "crm_get", `{}`)
		if n := now(); n != 4 {
			t.Errorf("%d after it, want 4", n)
		}
		busy = false
		time.Sleep(30 * time.Second)
		last := 4
		for range 40 {
			call(t, v, "crm_get", `{}`)
			if n := now(); n != 0 && n < last {
				t.Errorf("%d after %d", n, last)
			} else if n != 0 {
				last = n
			}
		}
		if n := now(); n != 0 || last < 7 {
			t.Errorf("%d at the end, %d before", n, last)
		}
	})
}

// Members with one credential are counted together where the vendor does, and one
// that comes later or is changed counts on.
func TestQuotasOfACredential(t *testing.T) {
	for per, want := range map[aggregate.Per]string{aggregate.PerCredential: "rate_limited", aggregate.PerUpstream: "ok"} {
		synctest.Test(t, func(t *testing.T) {
			l := aggregate.Limits{Rate: 0.001, Burst: 2, Per: per}
			sharing := func(id upstream.ID, quota string, l aggregate.Limits) aggregate.Member {
				f := newFake(t, id, "get")
				f.call = calm
				m := limited(f, l)
				m.Quota = quota
				return m
			}
			crm, erp := sharing("crm", "same", l), sharing("erp", "same", l)
			other, alone := sharing("wiki", "another", l), sharing("mail", "", l)
			a, v := works(t, aggregate.Options{Plain: true}, crm, erp, other, alone)
			call(t, v, "crm_get", `{}`)
			call(t, v, "erp_get", `{}`)
			if got := call(t, v, "crm_get", `{}`).text(); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s", per, got)
			}
			for _, tool := range []string{"wiki_get", "mail_get"} {
				if got := call(t, v, tool, `{}`).text(); got != "ok" {
					t.Errorf("%s, %s: %s", per, tool, got)
				}
			}
			if q := a.Status().Sources[0].Load.Quota; q.Per != per || per == aggregate.PerCredential && q.Left >= 1 {
				t.Errorf("%s: %+v", per, q)
			}
			l.Attempts = 3
			if err := a.Swap([]aggregate.Member{sharing("late", "same", l), sharing("crm", "same", l), erp}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			for tool, want := range map[string]string{"late_get": want, "erp_get": want} {
				if got := call(t, v, tool, `{}`).text(); !strings.HasPrefix(got, want) {
					t.Errorf("%s, %s: %s", per, tool, got)
				}
			}
		})
	}
}

// A source says how it stands with each class, and tools of none do not suffer.
func TestClassesShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
			if c.Name == "put" {
				return nil, &upstream.Error{Upstream: c.Upstream, Kind: upstream.RateLimited, RetryAfter: time.Hour}
			}
			return ok()
		})
		a, v := works(t, aggregate.Options{}, limited(f, aggregate.Limits{Rate: 1, Burst: 10, Classes: []aggregate.Class{
			{Name: "b", Tools: []string{"[gp]*"}, Rate: 1, Burst: 5}, {Name: "a", Tools: []string{"p?t"}, Rate: 0.5, Burst: 3},
		}}))
		call(t, v, "crm_get", `{}`)
		call(t, v, "crm_put", `{}`)
		l := a.Status().Sources[0].Load
		if l.Quota.Left != 8 || l.Quota.FrozenMS != 0 || l.Classes["b"] != (aggregate.QuotaStatus{Left: 4, Burst: 5, PerSecond: 1, Per: "upstream"}) {
			t.Errorf("%+v, %+v", l.Quota, l.Classes)
		}
		if c := l.Classes["a"]; len(l.Classes) != 2 || c.FrozenMS != 900_000 || c.Burst != 3 { // the first by name
			t.Errorf("%+v", l.Classes)
		}
		if code, _, after := factsOf(t, call(t, v, "crm_put", `{}`)); code != "rate_limited" || after < 14*time.Minute {
			t.Errorf("%s, %s", code, after)
		}
		if got := call(t, v, "crm_get", `{}`).text(); got != "ok" {
			t.Error(got)
		}
	})
}

// What a good answer says is left is kept to without any rate of ours.
func TestQuotasAreLearnedFromGoodAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := annotated(t, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			res, err := ok()
			res.Quota = &upstream.Quota{Remaining: 0, Reset: 2 * time.Minute}
			return res, err
		})
		a, v := works(t, aggregate.Options{}, limited(f, aggregate.Limits{Concurrency: 8}))
		call(t, v, "crm_get", `{}`)
		if code, _, after := factsOf(t, call(t, v, "crm_get", `{}`)); code != "rate_limited" || after < 119*time.Second {
			t.Errorf("%s, %s", code, after)
		}
		if l := a.Status().Sources[0].Load; l.Quota == nil || l.Quota.FrozenMS != 120_000 || l.ConcurrencyNow != 0 {
			t.Errorf("%+v", l)
		}
		time.Sleep(2 * time.Minute)
		if got := call(t, v, "crm_get", `{}`).text(); got != "ok" {
			t.Error(got)
		}
	})
}
