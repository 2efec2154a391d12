package bearer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	keysFresh  = 10 * time.Minute // after which they are asked for again, beside their use
	keysStale  = 24 * time.Hour   // after which they are used no more, should the issuer be away
	askAgain   = 5 * time.Second  // between two questions, whatever tokens name
	fetchLimit = 10 * time.Second
)

// keys is an authorization server's public keys as they are known. At most one
// question is under way; whoever needs its answer waits for it.
type keys struct {
	fetch func(context.Context) ([]jose.JSONWebKey, error)

	mu     sync.Mutex
	all    []jose.JSONWebKey
	got    time.Time // all; zero if never
	asked  time.Time // last
	err    error     // what came of that
	flight chan struct{}
	stop   context.CancelFunc
	closed bool
	work   sync.WaitGroup
}

// find returns the keys that may have signed a token whose header names a key
// and an algorithm. The error is a refusal if the issuer has none.
func (k *keys) find(ctx context.Context, id, algorithm string) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	have := k.matching(id, algorithm, now)
	if len(have) == 0 || now.Sub(k.got) > keysFresh {
		k.ask(ctx, now)
	}
	if len(have) > 0 {
		return have, nil
	}
	if err := k.wait(ctx); err != nil {
		return nil, err
	}
	have = k.matching(id, algorithm, time.Now())
	return have, k.verdict(have)
}

// ready is [JWT.Ready].
func (k *keys) ready(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ask(ctx, time.Now())
	if err := k.wait(ctx); err != nil {
		return err
	}
	return k.verdict(k.all)
}

// wait needs k.mu, and gives it back meanwhile. It waits for the question that is
// under way, if any.
func (k *keys) wait(ctx context.Context) error {
	flight := k.flight
	if flight == nil {
		return nil
	}
	k.mu.Unlock()
	defer k.mu.Lock()
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// verdict says why there are no keys. If the issuer could not be asked it may
// have the key now.
func (k *keys) verdict(have []jose.JSONWebKey) error {
	switch {
	case len(have) > 0:
		return nil
	case k.closed:
		return errClosed
	case k.err != nil:
		return fmt.Errorf("the issuer's keys: %w", k.err)
	}
	return invalid("the token is signed by a key that its issuer does not have")
}

// ask needs k.mu. It asks for the keys if that is not under way, and was not
// done just now.
func (k *keys) ask(ctx context.Context, now time.Time) {
	if k.closed || k.flight != nil || now.Sub(k.asked) < askAgain {
		return
	}
	k.asked = now
	flight := make(chan struct{})
	k.flight = flight
	// Others wait for it: it does not end with who happened to come first.
	ctx, k.stop = context.WithTimeout(context.WithoutCancel(ctx), fetchLimit)
	stop := k.stop
	k.work.Go(func() {
		defer stop()
		all, err := k.fetch(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.err = err; err == nil {
			k.all, k.got = all, time.Now()
		}
		k.flight = nil
		close(flight)
	})
}

// matching needs k.mu. A token that names no key may be signed by any.
func (k *keys) matching(id, algorithm string, now time.Time) (found []jose.JSONWebKey) {
	if now.Sub(k.got) > keysStale {
		return nil
	}
	for i := range k.all {
		key := &k.all[i]
		if (id == "" || key.KeyID == id) && (key.Algorithm == "" || key.Algorithm == algorithm) && slices.Contains(signs(key), algorithm) {
			found = append(found, *key)
		}
	}
	return found
}

func (k *keys) close() {
	k.mu.Lock()
	k.closed = true
	if k.flight != nil {
		k.stop()
	}
	k.mu.Unlock()
	k.work.Wait()
}
