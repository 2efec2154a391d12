package aggregate

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/bulkhead-mcp/bulkhead/cache"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// maxRenewals is how many answers of one member are renewed at a time. What finds
// no place is answered as it is, and tried again by whoever asks next.
const maxRenewals = 64

// renewals are the calls that renew answers behind those that got the old ones.
// They live as long as their member.
type renewals struct {
	mu    sync.Mutex
	life  context.Context // of the member; nil while it is not at work
	under map[cache.Key]struct{}
	wg    sync.WaitGroup
}

// run lets answers be renewed until ctx ends, and waits for those under way.
func (r *renewals) run(ctx context.Context) {
	r.mu.Lock()
	r.life = ctx
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	r.life = nil
	r.mu.Unlock()
	r.wg.Wait()
}

// begin returns the context of a renewal, and what to call at its end; false if
// there is to be none now.
func (r *renewals) begin(key cache.Key) (_ context.Context, end func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, busy := r.under[key]; busy || r.life == nil || len(r.under) >= maxRenewals {
		return nil, nil, false
	}
	if r.under == nil {
		r.under = make(map[cache.Key]struct{})
	}
	r.under[key] = struct{}{}
	r.wg.Add(1)
	return r.life, func() {
		r.mu.Lock()
		delete(r.under, key)
		r.mu.Unlock()
		r.wg.Done()
	}, true
}

// renew has a read like c made anew behind it, unless that is under way. If it
// fails for a reason that may pass, the old answer says so from then on; if it
// does otherwise, or there is another answer that may not be kept, the old one is
// dropped: whoever asks next is to hear it.
func (k *memory) renew(c *upstream.Call, key cache.Key, old *memo, read upstream.Handler) {
	ctx, end, ok := k.begin(key)
	if !ok {
		return
	}
	a := k.m.agg
	again := *c
	again.ID, again.Timing = a.calls.next(), &upstream.Timing{Memory: byRenewal}
	again.Back = upstream.Back{Capabilities: c.Back.Capabilities}
	var asked atomic.Bool
	if c.Back.Ask != nil { // the question is that of somebody who can be asked
		again.Back.Ask = func(context.Context, upstream.Question) (json.RawMessage, error) {
			asked.Store(true)
			return nil, &upstream.RPCError{Code: upstream.CodeInternal, Message: "nobody waits for this call"}
		}
	}
	go func() {
		defer end()
		_, err := upstream.Chain(recovered(a.log), observed(a, k.m), deadline(a.opt.Deadline))(read)(ctx, &again)
		if err != nil && !asked.Load() {
			e := upstream.AsError(c.Upstream, c.Name, err)
			if e.Kind == upstream.Cancelled { // the member is going
				return
			}
			if passing(e) {
				old.failed.Store(unquoted(e))
				return
			}
		}
		if f, ok := k.shelf.Get(key); ok && f.Value == old {
			k.shelf.Drop(key)
		}
	}()
}

// passing reports whether a failure says nothing about the answer, only that it
// could not be had.
func passing(e *upstream.Error) bool {
	switch e.Kind {
	case upstream.Unavailable, upstream.Timeout, upstream.RateLimited, upstream.Overloaded, upstream.UpstreamError:
		return true
	}
	return false
}
