package gate

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Hedge asks a second time what is not answered for long, and takes whichever
// answer comes first (Dean and Barroso, The Tail at Scale, 2013). It is for
// calls of which the operator says that asking twice does no harm.
type Hedge struct {
	may func(*upstream.Call) bool

	mu     sync.Mutex
	took   map[string]*latencies // by tool
	budget float64               // hedges that may be made now
}

const (
	hedgeShare  = 0.05 // of all calls
	hedgeBurst  = 2    // hedges saved up at most
	samples     = 128  // of one tool, the latest
	enough      = 20   // samples before p95 means anything
	hedgedTools = 10_000
)

// NewHedge returns a layer; may says which calls it may make twice.
func NewHedge(may func(*upstream.Call) bool) *Hedge {
	return &Hedge{may: may, took: map[string]*latencies{}}
}

// outcome is what one of the two attempts has led to.
type outcome struct {
	res    *upstream.Result
	err    error
	timing upstream.Timing
	panic  any // what the attempt panicked with; nil if it did not
}

// Layer is the middleware.
func (h *Hedge) Layer(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		if !h.may(c) || c.Back.Ask != nil { // nobody is asked the same thing twice
			return next(ctx, c)
		}
		after := h.after(c.Name)
		if after == 0 {
			return h.measured(ctx, c, next)
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends whichever is left
		out := make(chan outcome, 2)
		attempt := func() {
			mine := *c
			mine.Timing = &upstream.Timing{} // two write at once
			var o outcome
			defer func() {
				o.panic, o.timing = recover(), *mine.Timing
				out <- o
			}()
			o.res, o.err = h.measured(ctx, &mine, next)
		}
		go attempt()
		running := 1
		timer := time.NewTimer(after)
		defer timer.Stop()
		for {
			select {
			case o := <-out:
				if o.panic != nil {
					panic(o.panic) // on the goroutine of the call, whose layers expect it
				}
				running--
				if o.err == nil || running == 0 {
					c.Timing.Queued += o.timing.Queued
					c.Timing.Upstream += o.timing.Upstream
					c.Timing.Attempts += o.timing.Attempts
					return o.res, o.err
				}
			case <-timer.C:
				if h.spend() {
					running++
					go attempt()
				}
			}
		}
	}
}

// measured carries a call out and remembers how long a good one took.
func (h *Hedge) measured(ctx context.Context, c *upstream.Call, next upstream.Handler) (*upstream.Result, error) {
	began := time.Now()
	res, err := next(ctx, c)
	if err == nil {
		h.learn(c.Name, time.Since(began))
	}
	return res, err
}

// after returns when a call of the tool is later than 95 of 100, 0 if that is
// not known yet. Each call that asks adds to the budget.
func (h *Hedge) after(tool string) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.budget = min(h.budget+hedgeShare, hedgeBurst)
	if l := h.took[tool]; l != nil {
		return l.p95()
	}
	return 0
}

func (h *Hedge) spend() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.budget < 1 {
		return false
	}
	h.budget--
	return true
}

func (h *Hedge) learn(tool string, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.took[tool]
	if l == nil {
		if len(h.took) >= hedgedTools {
			clear(h.took)
		}
		l = &latencies{}
		h.took[tool] = l
	}
	l.add(d)
}

// latencies are the latest of one tool.
type latencies struct {
	ring  [samples]time.Duration
	n     int // ever added
	known time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.ring[l.n%samples] = d
	l.n++
	if l.n >= enough && l.n%(enough/2) == 0 {
		sorted := slices.Sorted(slices.Values(l.ring[:min(l.n, samples)]))
		l.known = sorted[len(sorted)*95/100] + 1 // later than that
	}
}

func (l *latencies) p95() time.Duration { return l.known }
