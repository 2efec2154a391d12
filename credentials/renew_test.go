package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// memory is a store that several sources share, as processes share a directory.
type memory struct {
	mu                sync.Mutex
	tokens            map[string]credentials.Token
	ever              map[string]bool // access tokens that were saved
	locks             map[string]chan struct{}
	failLoad, failAll error
}

func newMemory() *memory {
	return &memory{tokens: map[string]credentials.Token{}, ever: map[string]bool{}, locks: map[string]chan struct{}{}}
}

func (m *memory) Load(_ context.Context, id string) (credentials.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failLoad != nil {
		return credentials.Token{}, m.failLoad
	}
	t, ok := m.tokens[id]
	if !ok {
		return t, credentials.ErrNoToken
	}
	return t, nil
}

func (m *memory) Save(_ context.Context, id string, t credentials.Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failAll != nil {
		return m.failAll
	}
	m.tokens[id] = t
	m.ever[credentials.Reveal(t.Access)] = true
	return nil
}

func (m *memory) Delete(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failAll != nil {
		return m.failAll
	}
	delete(m.tokens, id)
	return nil
}

func (m *memory) Lock(ctx context.Context, id string) (func(), error) {
	m.mu.Lock()
	if m.failAll != nil {
		m.mu.Unlock()
		return nil, m.failAll
	}
	l := m.locks[id]
	if l == nil {
		l = make(chan struct{}, 1)
		m.locks[id] = l
	}
	m.mu.Unlock()
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// family is an authorization server that rotates: a refresh token is good once,
// and one that comes twice ends the whole family.
type family struct {
	mu          sync.Mutex
	ttl         time.Duration
	n           int
	current     string
	under, most int // requests at once
	reused      int
	pause       func() time.Duration
	down        func() bool
}

func (f *family) fetch(ctx context.Context, last credentials.Token) (credentials.Token, error) {
	f.mu.Lock()
	f.under++
	f.most = max(f.most, f.under)
	pause, down := f.pause(), f.down()
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.under--
		f.mu.Unlock()
	}()
	time.Sleep(pause)
	if down || ctx.Err() != nil {
		return credentials.Token{}, &credentials.TokenError{Status: 503}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := credentials.Reveal(last.Refresh); r == "" || r != f.current {
		f.reused++
		return credentials.Token{}, &credentials.TokenError{Trouble: credentials.NeedsLogin, Code: "invalid_grant", Status: 400}
	}
	return f.issue(), nil
}

func (f *family) issue() credentials.Token {
	f.n++
	f.current = fmt.Sprintf("refresh-%d", f.n)
	return credentials.Token{Access: credentials.NewSecret(fmt.Sprintf("access-%04d", f.n)), Refresh: credentials.NewSecret(f.current), Expiry: time.Now().Add(f.ttl)}
}

// Several processes with one rotating token, callers that come and go, 401s,
// trouble at the server, signing in anew in the middle: in every interleaving
// that chance brings, a refresh token is used once, there is one refresh at a
// time, nobody has a token before it is saved, and nobody gets an older one
// after a newer one.
func TestInterleavings(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) { interleave(t, rand.New(rand.NewPCG(seed, 7))) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func interleave(t *testing.T, rnd *rand.Rand) {
	var mu sync.Mutex
	chance := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n)
	}
	ttl := []time.Duration{2 * time.Second, time.Minute, time.Hour}[chance(3)]
	f := &family{ttl: ttl, pause: func() time.Duration { return time.Duration(chance(int(ttl / 20))) }, down: func() bool { return chance(10) == 0 }}
	store := newMemory()
	first := f.issue()
	if err := store.Save(t.Context(), "crm-1", first); err != nil {
		t.Fatal(err)
	}
	var processes []*credentials.Refresher
	for range 1 + chance(3) {
		processes = append(processes, source(t, credentials.SourceSpec{Fetch: f.fetch, Store: store}))
	}
	var wg sync.WaitGroup
	got := 0
	for _, r := range processes {
		for range 1 + chance(6) {
			wg.Go(func() {
				newest := ""
				for range 40 {
					time.Sleep(time.Duration(chance(int(ttl / 8))))
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+chance(int(ttl/4))))
					tok, err := r.Token(ctx)
					cancel()
					if err != nil {
						if e, ok := errors.AsType[*credentials.TokenError](err); !ok || e.Trouble != credentials.Transient {
							t.Errorf("%v", err)
						}
						continue
					}
					text := credentials.Reveal(tok.Access)
					mu.Lock()
					got++
					mu.Unlock()
					store.mu.Lock()
					saved := store.ever[text]
					store.mu.Unlock()
					if !saved || text < newest {
						t.Errorf("%s after %s, saved: %v", text, newest, saved)
					}
					newest = text
					if chance(10) == 0 {
						r.Invalidate(tok)
					}
				}
			})
		}
	}
	wg.Go(func() {
		for range chance(3) {
			time.Sleep(time.Duration(chance(int(5 * ttl))))
			unlock, err := store.Lock(t.Context(), "crm-1") // signing in from another process
			if err != nil {
				t.Error(err)
				return
			}
			f.mu.Lock()
			fresh := f.issue()
			f.mu.Unlock()
			_ = store.Save(t.Context(), "crm-1", fresh)
			unlock()
		}
	})
	wg.Wait()
	for _, r := range processes {
		r.Close(t.Context())
	}
	if f.reused != 0 || f.most > 1 || got == 0 {
		t.Errorf("%d refresh tokens used twice, %d refreshes at once, %d tokens given", f.reused, f.most, got)
	}
}

func TestTheOtherProcessWasFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		a, b := &counted{ttl: time.Hour}, &counted{ttl: time.Hour}
		one := source(t, credentials.SourceSpec{Fetch: a.fetch, Store: store})
		two := source(t, credentials.SourceSpec{Fetch: b.fetch, Store: store})
		if access(t, one) != "access-1" || access(t, two) != "access-1" || b.n.Load() != 0 {
			t.Errorf("the second fetched %d", b.n.Load())
		}
		time.Sleep(time.Hour)
		if access(t, one) != "access-2" || access(t, two) != "access-2" || b.n.Load() != 0 {
			t.Errorf("the second fetched %d", b.n.Load())
		}
		if last := credentials.Reveal(a.last.Load().Refresh); last != "refresh-1" {
			t.Errorf("refreshed from %s", last)
		}
	})
}

// What another process has refreshed is what to go on from, even if the first
// try to do so fails.
func TestGoesOnFromAnothersToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, c := newMemory(), &counted{ttl: time.Hour}
		r := source(t, credentials.SourceSpec{Fetch: c.fetch, Store: store})
		access(t, r)
		time.Sleep(time.Hour)
		_ = store.Save(t.Context(), "crm-1", credentials.Token{Access: credentials.NewSecret("b"), Refresh: credentials.NewSecret("theirs"), Expiry: time.Now()})
		c.fail.Store(&credentials.TokenError{Status: 503})
		for range 3 {
			access(t, r)
			if last := credentials.Reveal(c.last.Load().Refresh); last != "theirs" {
				t.Errorf("refreshed from %s", last)
			}
			time.Sleep(time.Minute)
		}
		if c.n.Load() != 4 {
			t.Errorf("%d fetches", c.n.Load())
		}
	})
}

// Who signs in by another process is heard of without a restart, and who signs
// out as well.
func TestSigningInAndOutElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, n := newMemory(), 0
		r := source(t, credentials.SourceSpec{Store: store, Fetch: func(_ context.Context, last credentials.Token) (credentials.Token, error) {
			n++
			return credentials.Token{}, &credentials.TokenError{Trouble: credentials.NeedsLogin}
		}})
		for range 10 {
			if got := access(t, r); !strings.Contains(got, "needs login") {
				t.Error(got)
			}
			time.Sleep(10 * time.Second)
		}
		good := credentials.Token{Access: credentials.NewSecret("a"), Refresh: credentials.NewSecret("r"), Expiry: time.Now().Add(time.Hour)}
		if err := store.Save(t.Context(), "crm-1", good); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if got := access(t, r); got != "a" || n != 1 {
			t.Errorf("%s after %d fetches", got, n)
		}
		_ = store.Delete(t.Context(), "crm-1")
		r.Invalidate(good) // as the server does from now on
		if got := access(t, r); !strings.Contains(got, "needs login") {
			t.Error(got)
		}
	})
}

func TestStoreThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, c := newMemory(), &counted{ttl: time.Hour}
		var told []string
		r := source(t, credentials.SourceSpec{Fetch: c.fetch, Store: store, Report: func(err error) { told = append(told, err.Error()) }})
		_ = store.Save(t.Context(), "crm-1", credentials.Token{Access: credentials.NewSecret("old"), Refresh: credentials.NewSecret("refresh-0")})
		store.failAll = errors.New("read-only file system")
		for want := 1; want <= 3; want++ { // never back to what the store has
			if got := access(t, r); got != fmt.Sprint("access-", want) {
				t.Errorf("%s, want %d", got, want)
			}
			if last := credentials.Reveal(c.last.Load().Refresh); last != fmt.Sprint("refresh-", want-1) {
				t.Errorf("%d was refreshed from %s", want, last)
			}
			time.Sleep(time.Hour)
		}
		if s := r.State(); s.Unsaved == nil || !strings.Contains(s.Unsaved.Error(), "crm: the token could not be saved, and is lost when the process ends: read-only") {
			t.Errorf("%+v", s)
		}
		if len(told) != 6 || !strings.Contains(told[0], "the token's lock") || !strings.Contains(told[1], "could not be saved") {
			t.Errorf("%q", told)
		}
		store.failAll = nil
		if got := access(t, r); got != "access-4" || r.State().Unsaved != nil {
			t.Errorf("%s %+v", got, r.State())
		}
	})
}

// What the store has and cannot be read is not written over.
func TestStoreThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, c := newMemory(), &counted{ttl: time.Hour}
		store.failLoad = errors.New("wrong key")
		r := source(t, credentials.SourceSpec{Fetch: c.fetch, Store: store})
		if got := access(t, r); !strings.Contains(got, "misconfigured: the token store: wrong key") || c.n.Load() != 0 || len(store.ever) != 0 {
			t.Errorf("%s, %d fetches", got, c.n.Load())
		}
		store.failLoad = nil
		time.Sleep(5 * time.Second)
		if got := access(t, r); got != "access-1" {
			t.Error(got)
		}
	})
}

func TestLockThatAnotherProcessKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, c := newMemory(), &counted{ttl: time.Hour}
		unlock, _ := store.Lock(t.Context(), "crm-1")
		r := source(t, credentials.SourceSpec{Fetch: c.fetch, Store: store})
		if got := access(t, r); !strings.Contains(got, "transient: another process has its lock") {
			t.Error(got)
		}
		unlock()
		time.Sleep(time.Second)
		if got := access(t, r); got != "access-1" {
			t.Error(got)
		}
	})
}

// A token that a person's signing in brings while a refresh is under way is not
// overwritten by that refresh.
func TestLateRefreshDoesNotOverwrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, store := range []credentials.Store{nil, newMemory()} {
			c := &counted{ttl: time.Hour, pause: 10 * time.Second}
			r := source(t, credentials.SourceSpec{Fetch: c.fetch, Store: store})
			go func() { _, _ = r.Token(t.Context()) }()
			synctest.Wait()
			if err := r.Put(t.Context(), credentials.Token{Access: credentials.NewSecret("signed-in"), Expiry: time.Now().Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if got := access(t, r); got != "signed-in" {
				t.Error(got)
			}
		}
	})
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, c := newMemory(), &counted{ttl: time.Hour}
		r := source(t, credentials.SourceSpec{Fetch: c.fetch, Store: store})
		access(t, r)
		if err := r.Forget(t.Context()); err != nil || len(store.tokens) != 0 || !r.State().Expiry.IsZero() {
			t.Errorf("%v, %d kept", err, len(store.tokens))
		}
		if got := access(t, r); got != "access-2" || !c.last.Load().Refresh.IsZero() {
			t.Errorf("%s from %v", got, c.last.Load())
		}
		store.failAll = errors.New("read-only")
		if err := r.Forget(t.Context()); err == nil || !r.State().Expiry.IsZero() {
			t.Errorf("%v %+v", err, r.State())
		}
		store.failAll = nil
		if got := access(t, r); got != "access-3" || !c.last.Load().Refresh.IsZero() {
			t.Errorf("what was signed out came back: %s from %v", got, c.last.Load())
		}
	})
}
