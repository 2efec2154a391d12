package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

// tokenShelf opens the store of tokens when it is first needed: its key may have
// to be asked for, and most configurations need none.
type tokenShelf struct {
	dir   string // "" keeps nothing
	key   credentials.Ref
	log   *slog.Logger
	turn  chan struct{}     // holds a value while somebody has what follows
	store credentials.Store // nil until it is open
}

func newTokenShelf(state string, key *config.Ref, log *slog.Logger) *tokenShelf {
	s := &tokenShelf{log: log, turn: make(chan struct{}, 1)}
	if state != "" {
		s.dir = filepath.Join(state, "tokens")
	}
	if key != nil {
		s.key = ref(key)
	}
	return s
}

var errKeepsNothing = errors.New(`nothing is to be kept (server.state = "none", or there is no home directory)`)

// open opens the store, and says where its key is kept.
func (s *tokenShelf) open(ctx context.Context) (credentials.Store, credentials.Ref, error) {
	if s.dir == "" {
		return nil, credentials.Ref{}, errKeepsNothing
	}
	key, kept, err := credentials.StoreKey(ctx, s.dir, s.key)
	if err != nil {
		return nil, kept, err
	}
	store, err := credentials.OpenStore(s.dir, key)
	if err != nil {
		return nil, kept, err
	}
	return store, kept, nil
}

// get returns the store. If it cannot be opened, it is one that ends with the
// process, and the log says so. The error is that ctx has ended.
func (s *tokenShelf) get(ctx context.Context) (credentials.Store, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if s.store != nil {
		return s.store, nil
	}
	store, kept, err := s.open(ctx)
	switch {
	case err == nil:
		s.log.Info("tokens are kept, sealed", "dir", s.dir, "key_in", kept.String())
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	default:
		s.log.Warn("no tokens are kept: whoever has signed in is not known here, and signing in ends with the process", "error", err)
		store = &credentials.MemoryStore{}
	}
	s.store = store
	return store, nil
}

// bell is the file whose change tells servers that run that somebody has signed
// in to or out of an upstream; "" if nothing is kept.
func (w *wiring) bell(name string) string {
	if w.state == "" {
		return ""
	}
	return filepath.Join(w.state, name+".signin")
}

// ring tells the servers that run with this configuration to take an upstream
// anew. They look every second.
func (w *wiring) ring(name string) error {
	return os.WriteFile(w.bell(name), []byte(time.Now().UTC().Format(time.RFC3339Nano)+"\n"), 0o600)
}
