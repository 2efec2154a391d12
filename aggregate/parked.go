package aggregate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// How many calls that ask may wait for their clients.
const (
	maxParked    = 1000
	maxParkedPer = 32 // of one principal
)

// parked holds the calls that wait for their clients to come back.
type parked struct {
	mu    sync.Mutex
	calls map[stateID]*parkedCall
	all   int                        // calls that have asked and are not over
	by    map[upstream.Principal]int // the same by principal
}

type parkedCall struct {
	*dialogue
	timer *time.Timer
}

// enter counts one more call that asks, or says why it may not.
func (p *parked) enter(who upstream.Principal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= maxParked {
		return fmt.Errorf("%d calls wait for answers already; try again later", maxParked)
	}
	if p.by[who] >= maxParkedPer {
		return fmt.Errorf("%d calls of this user wait for answers already; try again later", maxParkedPer)
	}
	if p.by == nil {
		p.by, p.calls = make(map[upstream.Principal]int), make(map[stateID]*parkedCall)
	}
	p.all++
	p.by[who]++
	return nil
}

func (p *parked) leave(who upstream.Principal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.by[who]--; p.by[who] == 0 {
		delete(p.by, who)
	}
}

// put has a call that has entered wait for at most limit.
func (p *parked) put(id stateID, d *dialogue, limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.at = id
	p.calls[id] = &parkedCall{d, time.AfterFunc(limit, func() {
		if p.remove(id, d.call.Principal) != nil {
			d.abandon(errNobodyAnswered)
		}
	})}
}

// remove returns the call that waits under id for who, if it does; it waits no
// longer.
func (p *parked) remove(id stateID, who upstream.Principal) *dialogue {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.calls[id]
	if c == nil || c.call.Principal != who {
		return nil
	}
	c.timer.Stop()
	delete(p.calls, id)
	return c.dialogue
}

// where returns the id under which d waits, or did last.
func (p *parked) where(d *dialogue) stateID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return d.at
}

// outlive has the call end, and be waited for, with Run instead of with the
// request that began it. The function that it returns must be called when the
// call is over; nil means that Run does not run.
func (d *dialogue) outlive() (release func()) {
	a := d.agg
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running == nil || a.running.Err() != nil {
		return nil
	}
	a.working.Add(1)
	stop := context.AfterFunc(a.running, func() {
		p := &a.asked.parked
		if p.remove(p.where(d), d.call.Principal) != nil {
			d.abandon(errStopping)
			return
		}
		d.end(errStopping)
	})
	return func() {
		stop()
		a.working.Done()
	}
}
