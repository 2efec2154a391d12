package gate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// quota is one key's bucket and who waits for its tokens.
type quota struct {
	bucket Bucket

	mu      sync.Mutex // taken before that of a class, never after
	waiting fair[*claim]
	timer   *time.Timer // looks again; nil if nobody waits
	pledged float64     // tokens that are promised and not taken yet
}

// claim is what a call wants of a quota.
type claim struct {
	cost float64
	// pledge takes nothing yet: the tokens are only promised.
	pledge bool
	// with is a quota that has promised as many tokens, to be taken at the same
	// moment; nil if there is none.
	with    *quota
	settled bool       // those of with are taken
	done    chan error // capacity 1; nil until the call waits
}

// errAgain says that a promise could not be kept: the quota was frozen meanwhile.
var errAgain = errors.New("the promised tokens are gone")

// wait waits for tokens. If it fails, what with has promised is given back.
func (q *quota) wait(ctx context.Context, c *upstream.Call, w claim) error {
	q.mu.Lock()
	var least time.Duration // until the call could be served
	if q.waiting.size == 0 {
		var err error
		if least, err = q.grab(ctx, &w); err != nil || least == 0 {
			q.mu.Unlock()
			w.drop(err)
			return stateless(c, err)
		}
	}
	if c.Spare() {
		q.mu.Unlock()
		err := noneSpare(c)
		w.drop(err)
		return err
	}
	own := w // on the heap only if it waits
	own.done = make(chan error, 1)
	return q.queue(ctx, c, &own, least)
}

// queue waits in turns with others. least is how long it takes if nobody else
// waits or was promised anything, 0 if that is not known. q.mu is held, and released.
func (q *quota) queue(ctx context.Context, c *upstream.Call, w *claim, least time.Duration) error {
	t := q.waiting.push(flowOf(c), w, w.cost)
	if s := q.bucket.State(); least == 0 || q.waiting.size > 1 || q.pledged > 0 {
		least = time.Duration((q.waiting.ahead(t) + w.cost + q.pledged - s.Tokens) / s.Rate * float64(time.Second))
		if frozen := time.Until(s.Frozen); frozen > 0 {
			least += frozen
		}
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < least {
		q.waiting.remove(t)
		q.mu.Unlock()
		err := refused(c, upstream.RateLimited, fmt.Sprintf("its quota allows the call in %s, which is later than the call's deadline", least.Round(time.Millisecond)), least)
		w.drop(err)
		return err
	}
	q.serve(ctx)
	q.mu.Unlock()

	began := time.Now()
	defer func() { c.Timing.Queued += time.Since(began) }()
	select {
	case err := <-w.done:
		w.drop(err)
		return stateless(c, err)
	case <-ctx.Done():
	}
	q.leave(ctx, t)
	w.drop(ctx.Err())
	return unsent(ctx, c)
}

// leave takes out a call that has given up.
func (q *quota) leave(ctx context.Context, t *ticket[*claim]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.waiting.remove(t) && t.value.pledge && <-t.value.done == nil {
		q.unpledge(t.value.cost)
	}
	// Tokens that were taken at the same moment are lost: giving them back could
	// let more through than a window allows.
	q.serve(ctx)
}

// grab takes or promises the tokens of a claim and returns 0, or how long it will
// be until there are as many. q.mu is held.
func (q *quota) grab(ctx context.Context, w *claim) (time.Duration, error) {
	switch {
	case w.pledge:
		return q.promise(w.cost), nil
	case w.with == nil:
		return q.bucket.Take(ctx, w.cost)
	}
	if wait := q.bucket.Wait(w.cost); wait > 0 {
		return wait, nil
	}
	if !w.settled {
		if err := w.with.settle(ctx, w.cost); err != nil {
			return 0, err
		}
		w.settled = true
	}
	return q.bucket.Take(ctx, w.cost)
}

// promise sets tokens aside. q.mu is held.
func (q *quota) promise(cost float64) time.Duration {
	wait := q.bucket.Wait(cost)
	if wait == 0 && q.pledged > 0 {
		if q.pledged+cost > q.bucket.State().Burst {
			return time.Minute // until a promise is used or given back, which looks again
		}
		wait = q.bucket.Wait(q.pledged + cost)
	}
	if wait == 0 {
		q.pledged += cost
	}
	return wait
}

// settle takes tokens that were promised.
func (q *quota) settle(ctx context.Context, cost float64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	wait, err := q.bucket.Take(ctx, cost)
	switch {
	case err != nil:
		return err
	case wait > 0:
		return errAgain
	}
	q.unpledge(cost)
	return nil
}

// unpledge ends a promise, and looks again who may be served. q.mu is held.
func (q *quota) unpledge(cost float64) {
	if q.pledged -= cost; q.pledged < roundError {
		q.pledged = 0
	}
	if q.timer != nil {
		q.timer.Reset(0)
	}
}

// drop gives back what was promised to a claim that has failed.
func (w *claim) drop(err error) {
	if err == nil || w.with == nil || w.settled {
		return
	}
	q := w.with
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unpledge(w.cost)
}

// serve hands tokens to those whose turn it is, and sees to it that it happens
// again when there are more. q.mu is held.
func (q *quota) serve(ctx context.Context) {
	for {
		t := q.waiting.next()
		if t == nil {
			if q.timer != nil {
				q.timer.Stop()
				q.timer = nil
			}
			return
		}
		again, err := q.grab(ctx, t.value)
		if again > 0 && err == nil {
			q.later(context.WithoutCancel(ctx), again)
			return
		}
		if errors.Is(err, errAgain) {
			q.waiting.remove(t) // it has spent nothing
		} else {
			q.waiting.take(t)
		}
		t.value.done <- err
	}
}

func (q *quota) later(ctx context.Context, d time.Duration) {
	if q.timer != nil {
		q.timer.Stop()
	}
	q.timer = time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.serve(ctx)
	})
}

// stateless is the failure of a call whose quota cannot be looked up; nil if
// err is.
func stateless(c *upstream.Call, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errAgain):
		return err // to be seen to by whoever holds the promise
	}
	e := refused(c, upstream.Unavailable, "the state of its quota cannot be read", 0)
	e.Err = fmt.Errorf("%w: %w", errHere, err)
	return e
}
