package aggregate_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// The nightly run has 100000.
var schedules = flag.Int("schedules", 2000, "schedules of TestNeverOverQuotaWhateverHappens")

// vendor is an upstream that counts what arrives, and remembers what it has said
// of its quotas. It knows nothing of how calls are held back.
type vendor struct {
	mu     sync.Mutex
	r      *rand.Rand
	cost   map[string]float64
	seen   []visit
	orders []order
	hedged int
}

// visit is one call that arrived.
type visit struct {
	at    time.Time
	cost  float64
	class bool
}

// order says how much may arrive at a quota within a time, both ends not included.
type order struct {
	from, to time.Time
	most     float64
	class    bool
}

func (v *vendor) handle(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	v.mu.Lock()
	class := c.Name == "get"
	v.seen = append(v.seen, visit{time.Now(), v.cost[c.Name], class})
	if c.Hedged != nil && c.Hedged.Spare {
		v.hedged++
	}
	takes := time.Duration(v.r.IntN(200)) * time.Millisecond
	if v.r.IntN(25) == 0 {
		takes = time.Duration(v.r.IntN(5000)) * time.Millisecond
	}
	fate, wait := v.r.IntN(40), time.Duration(v.r.IntN(4000))*time.Millisecond
	left := float64(v.r.IntN(8))
	v.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, &upstream.Error{Upstream: c.Upstream, Kind: upstream.Cancelled, Sent: true, Err: ctx.Err()}
	}
	switch fate {
	case 0:
		return nil, lost(c, upstream.Unavailable, true)
	case 1:
		return nil, lost(c, upstream.Unavailable, false)
	case 2: // too much, perhaps without a word of how long
		v.tell(class, 0, max(wait-time.Second, 0))
		return nil, &upstream.Error{Upstream: c.Upstream, Kind: upstream.RateLimited, RetryAfter: max(wait-time.Second, 0)}
	case 3, 4:
		v.tell(class, left, wait)
		res, err := ok()
		res.Quota = &upstream.Quota{Remaining: left, Reset: wait}
		return res, err
	}
	return ok()
}

func (v *vendor) tell(class bool, left float64, wait time.Duration) {
	if left == 0 && wait == 0 {
		wait = time.Second
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.orders = append(v.orders, order{time.Now(), time.Now().Add(wait), left, class})
}

// worst returns how much more arrived in some window than burst + rate·window.
func (v *vendor) worst(class bool, rate, burst float64) float64 {
	worst := 0.0
	for i, first := range v.seen {
		sum := 0.0
		for _, s := range v.seen[i:] {
			if s.class || !class {
				sum += s.cost
			}
			worst = max(worst, sum-burst-rate*s.at.Sub(first.at).Seconds())
		}
	}
	return worst
}

// disobeyed returns how much more arrived than an order allowed.
func (v *vendor) disobeyed() float64 {
	worst := 0.0
	for _, o := range v.orders {
		sum := 0.0
		for _, s := range v.seen {
			if s.at.After(o.from) && s.at.Before(o.to) && (s.class || !o.class) {
				sum += s.cost
			}
		}
		worst = max(worst, sum-o.most)
	}
	return worst
}

// Whatever callers, costs, classes, failures, refusals, retries, second attempts
// and cancels come together: no window of time sees more than the quota and the
// class allow, what the vendor says is kept to at once, and at the end nothing is
// held.
func TestNeverOverQuotaWhateverHappens(t *testing.T) {
	hedged, orders, calls, all := 0, 0, 0, *schedules
	if testing.Short() {
		all = min(all, 200)
	}
	for seed := range all {
		synctest.Test(t, func(t *testing.T) {
			v := anySchedule(t, uint64(seed))
			hedged, orders, calls = hedged+v.hedged, orders+len(v.orders), calls+len(v.seen)
		})
		if t.Failed() {
			return
		}
	}
	if all >= 2000 && (hedged < 5 || orders < 1000) {
		t.Errorf("%d second attempts, %d orders: that tests nothing", hedged, orders)
	}
	t.Logf("%d calls arrived, %d of them second attempts, %d orders", calls, hedged, orders)
}

func anySchedule(t *testing.T, seed uint64) *vendor {
	r := rand.New(rand.NewPCG(seed, 7))                                                                                          //nolint:gosec // a schedule, no secret
	v := &vendor{r: rand.New(rand.NewPCG(seed, 8)), cost: map[string]float64{"get": 1, "put": float64(1 + r.IntN(3)), "act": 1}} //nolint:gosec // the same
	yes := true
	class := aggregate.Class{Name: "reads", Tools: []string{"g*"}, Rate: 0.5 + r.Float64()*30, Burst: float64(1 + r.IntN(6))}
	l := aggregate.Limits{
		Concurrency: r.IntN(33), Queue: 300, Attempts: 1 + r.IntN(3), Failures: 5 + r.IntN(20), CoolDown: time.Second,
		Rate: 0.5 + r.Float64()*50, Burst: float64(3 + r.IntN(10)), Costs: map[string]float64{"put": v.cost["put"]},
		Hedge: map[string]bool{"get": true}, Writes: aggregate.Parallel,
	}
	if r.IntN(3) == 0 { // room for second attempts
		l.Burst, class.Burst = l.Burst+60, class.Burst+60
	}
	if r.IntN(4) > 0 {
		l.Classes = []aggregate.Class{class}
	} else {
		class.Rate, class.Burst = l.Rate, l.Burst
	}
	m := limited(annotated(t, v.handle), l)
	m.Override = map[string]aggregate.Hints{"get": {ReadOnly: &yes}}
	a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{Plain: true, Deadline: time.Duration(5+r.IntN(60)) * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	view, stop := run(t, a)
	names(t, view)
	var wg sync.WaitGroup
	for i := range 1 << r.IntN(9) { // 1 to 256 callers
		tool := []string{"crm_get", "crm_get", "crm_put", "crm_act"}[r.IntN(4)]
		begin, patience := time.Duration(r.IntN(5000))*time.Millisecond, time.Hour
		if i%7 == 0 {
			begin = 2 * time.Second // many at the same instant
		}
		if r.IntN(4) == 0 {
			patience = time.Duration(r.IntN(3000)) * time.Millisecond
		}
		request := &aggregate.Request{Principal: upstream.Local(), Session: fmt.Sprint(r.IntN(6)), Params: fmt.Appendf(nil, `{"name":%q,"arguments":{"n":%d}}`, tool, i-i%7%2)}
		wg.Go(func() {
			time.Sleep(begin)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, _ = view.CallTool(ctx, request)
		})
	}
	wg.Wait()
	if len(l.Classes) == 0 { // everything is of one quota
		for i := range v.orders {
			v.orders[i].class = false
		}
	}
	if over := v.worst(false, l.Rate, l.Burst); over > 1e-3 {
		t.Errorf("seed %d: %.4f over the quota", seed, over)
	}
	if over := v.worst(true, class.Rate, class.Burst); over > 1e-3 {
		t.Errorf("seed %d: %.4f over the quota of the class", seed, over)
	}
	if over := v.disobeyed(); over > 0 {
		t.Errorf("seed %d: %g calls more than it said", seed, over)
	}
	if s := a.Status().Sources[0]; s.InFlight != 0 || s.Load.Running != 0 || s.Load.Waiting != 0 {
		t.Errorf("seed %d: %+v", seed, s.Load)
	}
	stop()
	return v
}
