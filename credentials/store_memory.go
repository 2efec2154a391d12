package credentials

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// keyed is a lock for each name that is in use.
type keyed struct {
	mu    sync.Mutex
	names map[string]*slot
}

type slot struct {
	held  chan struct{} // holds one value while the lock is held
	users int           // holder and waiters
}

// lock returns when the lock of name is ours or ctx has ended.
func (k *keyed) lock(ctx context.Context, name string) (unlock func(), err error) {
	k.mu.Lock()
	s := k.names[name]
	if s == nil {
		if k.names == nil {
			k.names = make(map[string]*slot)
		}
		s = &slot{held: make(chan struct{}, 1)}
		k.names[name] = s
	}
	s.users++
	k.mu.Unlock()
	leave := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(k.names, name)
		}
	}
	if ctx.Err() == nil { // or select might choose the lock
		select {
		case s.held <- struct{}{}:
			return sync.OnceFunc(func() { <-s.held; leave() }), nil
		case <-ctx.Done():
		}
	}
	leave()
	return nil, context.Cause(ctx)
}

// MemoryStore is a [Store] that ends with the process: for tests, and for tokens
// that are had again without a person. The zero value is empty and ready.
type MemoryStore struct {
	locks  keyed
	mu     sync.Mutex
	tokens map[string]Token
}

var _ Store = (*MemoryStore)(nil)

// Load implements [Store].
func (m *MemoryStore) Load(ctx context.Context, id string) (Token, error) {
	if err := ctx.Err(); err != nil {
		return Token{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tokens[id]
	if !ok {
		return Token{}, ErrNoToken
	}
	return t.clone(), nil
}

// Save implements [Store].
func (m *MemoryStore) Save(ctx context.Context, id string, t Token) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tokens == nil {
		m.tokens = make(map[string]Token)
	}
	m.tokens[id] = t.clone()
	return nil
}

// Delete implements [Store].
func (m *MemoryStore) Delete(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tokens, id)
	return nil
}

// Lock implements [Store]; there are no other processes.
func (m *MemoryStore) Lock(ctx context.Context, id string) (unlock func(), err error) {
	return m.locks.lock(ctx, id)
}

// List returns the ids of all tokens, sorted.
func (m *MemoryStore) List(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.tokens)), nil
}

func (t Token) clone() Token {
	t.Scopes, t.Values = slices.Clone(t.Scopes), maps.Clone(t.Values)
	return t
}
