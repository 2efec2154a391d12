package cache

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Flights lets equal questions that are asked at the same time share one answer.
// K is a question, W whoever waits for the answer, V the answer. The zero value
// is ready for use; it is safe for concurrent use.
type Flights[K comparable, W, V any] struct {
	mu   sync.Mutex // of the flights too
	live map[K]*Flight[K, W, V]
}

// Flight is one question under way. It belongs to nobody who waits for it: it
// ends early only when all have left.
type Flight[K comparable, W, V any] struct {
	all    *Flights[K, W, V]
	key    K
	cancel context.CancelCauseFunc
	done   chan struct{}
	split  chan struct{} // closed when all but one are let go
	seats  []*seat[W]    // who waits, longest first; guarded by all.mu
	alone  *seat[W]      // who is kept; set before split is closed
	value  V             // set, like panic, before done is closed
	panic  any           // what the work panicked with; nil if it did not
}

type seat[W any] struct {
	ctx context.Context // what bounds the wait
	who W
}

// Part is what one of those who asked has had in the answer.
type Part uint8

// The parts.
const (
	Led    Part = iota // it was first: the work was begun for it
	Shared             // it has waited for what another began
	LetGo              // there is no answer for it: it is to ask for itself
)

var errGone = errors.New("cache: the shared work ended without an answer")

// Do returns what work returns. If the same question is under way already, it
// waits for that answer instead. work runs on a context of its own, which has the
// values of the first asker's and the latest deadline of all who wait; it ends
// when the last one has left. Whoever leaves because ctx ends gets its cause; the
// last one waits for work to end, and gets what that returns. A panic of work is
// everybody's.
func (f *Flights[K, W, V]) Do(ctx context.Context, k K, who W, work func(context.Context, *Flight[K, W, V]) V) (V, Part, error) {
	mine := &seat[W]{ctx, who}
	f.mu.Lock()
	l, part := f.live[k], Shared
	if l == nil {
		l, part = &Flight[K, W, V]{all: f, key: k, done: make(chan struct{}), split: make(chan struct{})}, Led
		if f.live == nil {
			f.live = make(map[K]*Flight[K, W, V])
		}
		f.live[k] = l
	}
	l.seats = append(l.seats, mine)
	if part == Led {
		inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx)) //nolint:gosec // G118: run calls it, or the last to leave
		l.cancel = cancel
		go l.run(&longest[K, W, V]{inner, l}, work) //nolint:contextcheck // it is of ctx, without its end
	}
	f.mu.Unlock()
	return l.wait(mine, part)
}

// wait returns the answer, or that there is none for this one.
func (l *Flight[K, W, V]) wait(mine *seat[W], part Part) (none V, _ Part, _ error) {
	split := l.split
	for {
		select {
		case <-l.done:
			if l.leave(mine) == gone {
				return none, LetGo, nil
			}
			return l.answer(), part, nil
		case <-split:
			if l.alone != mine {
				return none, LetGo, nil
			}
			split = nil
		case <-mine.ctx.Done():
			if l.leave(mine) != last {
				return none, part, context.Cause(mine.ctx)
			}
			<-l.done
			return l.answer(), part, nil
		}
	}
}

func (l *Flight[K, W, V]) answer() V {
	if l.panic != nil {
		panic(l.panic)
	}
	return l.value
}

// left is the outcome of [Flight.leave].
type left uint8

const (
	oneOf left = iota // others are waiting
	last              // nobody is
	gone              // it had been let go
)

// leave takes one who waited off. When nobody is left the work is cancelled, and
// who asks from now on starts anew.
func (l *Flight[K, W, V]) leave(mine *seat[W]) left {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	i := slices.Index(l.seats, mine)
	if i < 0 {
		return gone
	}
	l.seats = slices.Delete(l.seats, i, i+1)
	if len(l.seats) > 0 {
		return oneOf
	}
	l.land()
	l.cancel(context.Cause(mine.ctx))
	return last
}

// land has nobody else join. all.mu is held.
func (l *Flight[K, W, V]) land() {
	if l.all.live[l.key] == l {
		delete(l.all.live, l.key)
	}
}

func (l *Flight[K, W, V]) run(ctx context.Context, work func(context.Context, *Flight[K, W, V]) V) {
	l.panic = errGone
	defer func() {
		if p := recover(); p != nil {
			l.panic = p
		}
		l.all.mu.Lock()
		l.land()
		l.all.mu.Unlock()
		l.cancel(nil)
		close(l.done)
	}()
	l.value = work(ctx, l)
	l.panic = nil
}

// Each calls tell with everybody who waits, of whom none leaves meanwhile: tell
// must return at once, and not call back.
func (l *Flight[K, W, V]) Each(tell func(W)) {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	for _, s := range l.seats {
		tell(s.who)
	}
}

// Alone lets everybody go but the one who has waited longest of those that fit,
// and returns that one. It is the same one each time; false if it has left or
// there is none that fits, and then nobody is let go. Nobody joins afterwards.
func (l *Flight[K, W, V]) Alone(fits func(W) bool) (who W, ok bool) {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	if l.alone != nil {
		return l.alone.who, slices.Contains(l.seats, l.alone)
	}
	i := slices.IndexFunc(l.seats, func(s *seat[W]) bool { return fits(s.who) })
	if i < 0 {
		return who, false
	}
	l.land()
	l.alone = l.seats[i]
	l.seats = []*seat[W]{l.alone}
	close(l.split)
	return l.alone.who, true
}

// longest is the context of a flight. Its deadline is the latest of all who
// wait, which moves as they come and go; it has no timer, because each leaves at
// its own.
type longest[K comparable, W, V any] struct {
	context.Context
	flight *Flight[K, W, V]
}

// Deadline implements context.Context. There is none if one who waits has none,
// or nobody is left.
func (c *longest[K, W, V]) Deadline() (latest time.Time, ok bool) {
	c.flight.all.mu.Lock()
	defer c.flight.all.mu.Unlock()
	for _, s := range c.flight.seats {
		at, bounded := s.ctx.Deadline()
		if !bounded {
			return time.Time{}, false
		}
		if at.After(latest) {
			latest, ok = at, true
		}
	}
	return latest, ok
}
