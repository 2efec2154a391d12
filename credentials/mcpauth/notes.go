package mcpauth

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// notes keeps registrations in the store, and what cannot be stored until the
// process ends. The secret of a registration is kept as the token.
type notes struct {
	store  credentials.Store // may be nil
	report func(error)       // may be nil

	mu      sync.Mutex
	unsaved map[string]credentials.Token
}

// load returns what is kept under id; its Values are nil if nothing is.
func (n *notes) load(ctx context.Context, id string) (credentials.Token, error) {
	n.mu.Lock()
	t, there := n.unsaved[id]
	n.mu.Unlock()
	if there || n.store == nil {
		return t, nil
	}
	t, err := n.store.Load(ctx, id)
	if errors.Is(err, credentials.ErrNoToken) {
		return credentials.Token{}, nil
	}
	return t, err
}

func (n *notes) save(ctx context.Context, id string, t credentials.Token) {
	if n.store != nil {
		err := n.store.Save(ctx, id, t)
		if err == nil {
			return
		}
		if n.report != nil {
			n.report(fmt.Errorf("the registration could not be saved, and is lost when the process ends: %w", err))
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.unsaved == nil {
		n.unsaved = map[string]credentials.Token{}
	}
	n.unsaved[id] = t
}

func (n *notes) drop(ctx context.Context, id string) error {
	n.mu.Lock()
	delete(n.unsaved, id)
	n.mu.Unlock()
	if n.store == nil {
		return nil
	}
	return n.store.Delete(ctx, id)
}

// lock keeps others from registering the same. A store that cannot lock is no
// reason not to.
func (n *notes) lock(ctx context.Context, id string) (unlock func(), err error) {
	if n.store == nil {
		return func() {}, nil
	}
	unlock, err = n.store.Lock(ctx, id)
	if err != nil && ctx.Err() == nil {
		return func() {}, nil
	}
	return unlock, err
}
