package cli

import (
	"context"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/connect"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// userbase knows which upstreams users sign in to for themselves, and what has to
// hear of it when they do. The zero value is ready for use.
type userbase struct {
	mu    sync.Mutex
	all   map[string]*accounts // by upstream
	pages *connect.Site        // nil if there are none
	agg   *aggregate.Aggregate // nil before it runs
}

func (b *userbase) add(name string, a *accounts) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = make(map[string]*accounts)
	}
	b.all[name] = a
}

// remove takes out an upstream, unless another one has its name by now.
func (b *userbase) remove(name string, a *accounts) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all[name] == a {
		delete(b.all, name)
	}
}

func (b *userbase) find(name string) (connect.Source, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.all[name]; a != nil {
		return a, true
	}
	return nil, false
}

// serve says where users sign in, and whose memory forgets what they do not see
// any more.
func (b *userbase) serve(agg *aggregate.Aggregate, pages *connect.Site) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.agg, b.pages = agg, pages
}

// page returns the address where a user signs in to an upstream; "" if there is
// none.
func (b *userbase) page(who upstream.Principal, name string) string {
	b.mu.Lock()
	pages := b.pages
	b.mu.Unlock()
	if pages == nil {
		return ""
	}
	return pages.Page(who, name)
}

// forget drops what is remembered for a user of an upstream.
func (b *userbase) forget(id upstream.ID, who upstream.Principal) {
	b.mu.Lock()
	agg := b.agg
	b.mu.Unlock()
	if agg != nil {
		agg.ForgetUser(id, who)
	}
}

// usersOf is the users of an upstream whose adapter may not have been built yet.
type usersOf struct {
	w *wiring
	u config.Upstream
}

func (o usersOf) accounts() *accounts {
	o.w.users.mu.Lock()
	defer o.w.users.mu.Unlock()
	return o.w.users.all[o.u.Name]
}

// SignIn implements aggregate.Users.
func (o usersOf) SignIn(who upstream.Principal) *aggregate.SignInStatus {
	if a := o.accounts(); a != nil {
		return a.SignIn(who)
	}
	return &aggregate.SignInStatus{State: aggregate.SignInUnused}
}

// Page implements aggregate.Users.
func (o usersOf) Page(who upstream.Principal) string {
	if a := o.accounts(); a != nil {
		return a.Page(who)
	}
	return ""
}

// Visit implements aggregate.Users.
func (o usersOf) Visit(who upstream.Principal) {
	if a := o.accounts(); a != nil {
		a.Visit(who)
	}
}

// Await implements aggregate.Users.
func (o usersOf) Await(ctx context.Context, who upstream.Principal) error {
	if a := o.accounts(); a != nil {
		return a.Await(ctx, who)
	}
	return nil // the call says why not
}
