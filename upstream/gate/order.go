package gate

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Order runs calls of the same key one after another, in the order in which they
// came. Calls without a key run beside them. No more than a bounded number waits;
// of a plan, whose calls are one caller, only the first counts, and one of them at a
// time stands in a line, so that calls of others come in between.
type Order struct {
	key   func(*upstream.Call) (string, bool)
	queue int

	mu      sync.Mutex
	lines   map[string]*list.List // of *standing: who waits behind the one that runs; none where nobody runs
	waiting int
	counted int                    // of these, towards queue
	plans   map[*upstream.Plan]int // calls of each that wait or run
	behind  map[ownLine]*list.List // of *standing: who waits behind the one of its plan that stands in a line
}

// ownLine is a line as one plan sees it.
type ownLine struct {
	plan *upstream.Plan
	key  string
}

// standing is who waits for a line.
type standing struct {
	ownLine
	turn    chan struct{}
	counted bool
	in      *list.List // the line, or those behind one of its plan
	place   *list.Element
}

// NewOrder returns a layer in whose lines queue calls may wait, any number if that
// is negative.
// key says which line a call stands in, if any.
func NewOrder(queue int, key func(*upstream.Call) (string, bool)) *Order {
	return &Order{key: key, queue: queue, lines: map[string]*list.List{}}
}

// Layer is the middleware.
func (o *Order) Layer(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		key, ordered := o.key(c)
		if !ordered {
			return next(ctx, c)
		}
		s, err := o.line(c, key)
		if err != nil {
			return nil, err
		}
		if s != nil {
			if err := o.wait(ctx, c, s); err != nil {
				return nil, err
			}
		}
		defer o.done(key, c.Plan)
		return next(ctx, c)
	}
}

// line puts a call at the end of its line and returns what it waits with; nil if
// nobody is before it.
func (o *Order) line(c *upstream.Call, key string) (*standing, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l, others := o.lines[key], o.plans[c.Plan]
	if l == nil {
		o.lines[key] = list.New()
		o.count(c.Plan, 1)
		return nil, nil
	}
	if o.queue >= 0 && o.counted >= o.queue && others == 0 {
		return nil, refused(c, upstream.Overloaded, fmt.Sprintf("%d calls that run one after another are waiting, which is the limit", o.counted), 0)
	}
	s := &standing{ownLine: ownLine{c.Plan, key}, turn: make(chan struct{}), counted: others == 0}
	if own := o.behind[s.ownLine]; own != nil {
		s.in, s.place = own, own.PushBack(s)
	} else {
		o.stand(s)
	}
	o.waits(s, 1)
	o.count(c.Plan, 1)
	return s, nil
}

// stand puts who waits at the end of the line. o.mu is held.
func (o *Order) stand(s *standing) {
	s.in = o.lines[s.key]
	s.place = s.in.PushBack(s)
	if s.plan != nil && o.behind[s.ownLine] == nil {
		if o.behind == nil {
			o.behind = make(map[ownLine]*list.List)
		}
		o.behind[s.ownLine] = list.New()
	}
}

// leave takes out who waits; if it stands in the line, the next of its plan does
// from now on. o.mu is held.
func (o *Order) leave(s *standing) {
	s.in.Remove(s.place)
	o.waits(s, -1)
	own := o.behind[s.ownLine]
	if s.plan == nil || s.in == own {
		return
	}
	if e := own.Front(); e != nil {
		o.stand(own.Remove(e).(*standing))
	} else {
		delete(o.behind, s.ownLine)
	}
}

// count notes that so many more calls of a plan are here. o.mu is held.
func (o *Order) count(p *upstream.Plan, more int) {
	if p == nil {
		return
	}
	if o.plans == nil {
		o.plans = make(map[*upstream.Plan]int)
	}
	if o.plans[p] += more; o.plans[p] == 0 {
		delete(o.plans, p)
	}
}

// waits notes that so many more wait. o.mu is held.
func (o *Order) waits(s *standing, more int) {
	if o.waiting += more; s.counted {
		o.counted += more
	}
}

// wait waits for the turn of who waits, which leaves if ctx ends.
func (o *Order) wait(ctx context.Context, c *upstream.Call, s *standing) error {
	began := time.Now()
	defer func() { c.Timing.Queued += time.Since(began) }()
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count(c.Plan, -1)
	select {
	case <-s.turn: // it came at the same moment, and is the next one's
		o.pass(s.key)
	default:
		o.leave(s)
	}
	return unsent(ctx, c)
}

func (o *Order) done(key string, p *upstream.Plan) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count(p, -1)
	o.pass(key)
}

// pass has the next one of a line run. o.mu is held.
func (o *Order) pass(key string) {
	l := o.lines[key]
	first := l.Front()
	if first == nil {
		delete(o.lines, key)
		return
	}
	s := first.Value.(*standing)
	o.leave(s)
	close(s.turn)
}

// Waiting returns how many calls wait for their turn.
func (o *Order) Waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting
}
