package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// counted fetches tokens numbered from 1 that are good for ttl, after a pause.
type counted struct {
	ttl, pause time.Duration
	n          atomic.Int64
	fail       atomic.Pointer[credentials.TokenError] // instead of a token
	last       atomic.Pointer[credentials.Token]      // what the newest fetch was given
}

func (c *counted) fetch(ctx context.Context, last credentials.Token) (credentials.Token, error) {
	n := c.n.Add(1)
	c.last.Store(&last)
	select {
	case <-time.After(c.pause):
	case <-ctx.Done():
		return credentials.Token{}, ctx.Err()
	}
	if err := c.fail.Load(); err != nil {
		return credentials.Token{}, err
	}
	t := credentials.Token{Access: credentials.NewSecret(fmt.Sprintf("access-%d", n)), Refresh: credentials.NewSecret(fmt.Sprintf("refresh-%d", n))}
	if c.ttl > 0 {
		t.Expiry = time.Now().Add(c.ttl)
	}
	return t, nil
}

// source closes what it returns when the test ends.
func source(t *testing.T, spec credentials.SourceSpec) *credentials.Refresher {
	t.Helper()
	if spec.Name == "" {
		spec.Name, spec.ID = "crm", "crm-1"
	}
	r := credentials.NewRefresher(spec)
	t.Cleanup(func() { r.Close(context.WithoutCancel(t.Context())) })
	return r
}

func access(t *testing.T, s credentials.Source) string {
	t.Helper()
	tok, err := s.Token(t.Context())
	if err != nil {
		return err.Error()
	}
	return credentials.Reveal(tok.Access)
}

func TestManyCallersMakeOneRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counted{ttl: time.Hour, pause: time.Second}
		r := source(t, credentials.SourceSpec{Fetch: c.fetch})
		var wg sync.WaitGroup
		for i := range 256 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				if i%4 == 0 { // gives up; the refresh goes on for the others
					cancel()
				}
				defer cancel()
				tok, err := r.Token(ctx)
				if i%4 == 0 {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("gave up: %v", err)
					}
					return
				}
				if err != nil || credentials.Reveal(tok.Access) != "access-1" {
					t.Errorf("%v %v", credentials.Reveal(tok.Access), err)
				}
			})
		}
		wg.Wait()
		if n := c.n.Load(); n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
}

// The one whose call began it gives up; the refresh ends all the same.
func TestRefreshOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counted{ttl: time.Hour, pause: 10 * time.Second}
		r := source(t, credentials.SourceSpec{Fetch: c.fetch})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		if got := access(t, r); got != "access-1" || c.n.Load() != 1 {
			t.Error(got, c.n.Load())
		}
	})
}

func TestRefreshesEarlyBesideTheCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ttl := range []time.Duration{2 * time.Second, time.Minute, time.Hour, 24 * time.Hour} {
			pause := min(ttl/40, 10*time.Second)
			c := &counted{ttl: ttl, pause: pause}
			r := source(t, credentials.SourceSpec{Fetch: c.fetch})
			access(t, r)
			issued := time.Now()
			early := min(ttl/5, 5*time.Minute)
			time.Sleep(time.Until(issued.Add(ttl - early - pause - time.Millisecond)))
			if got := access(t, r); got != "access-1" || c.n.Load() != 1 {
				t.Errorf("%v: too early: %s, %d fetches", ttl, got, c.n.Load())
			}
			time.Sleep(time.Until(issued.Add(ttl - early*5/8 - pause)))
			began := time.Now()
			if got := access(t, r); got != "access-1" || time.Since(began) != 0 {
				t.Errorf("%v: a call waited %v for %s", ttl, time.Since(began), got)
			}
			time.Sleep(2 * pause)
			if got := access(t, r); got != "access-2" || c.n.Load() != 2 {
				t.Errorf("%v: %s, %d fetches", ttl, got, c.n.Load())
			}
		}
	})
}

func TestWaitsCloseToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counted{ttl: time.Hour, pause: time.Second}
		r := source(t, credentials.SourceSpec{Fetch: c.fetch})
		access(t, r)
		time.Sleep(time.Hour - 20*time.Second)
		if got := access(t, r); got != "access-2" {
			t.Errorf("not waited for: %s", got)
		}
		// While the server has trouble, what is still good is used.
		time.Sleep(time.Hour - 20*time.Second)
		c.fail.Store(&credentials.TokenError{Status: 503})
		if got := access(t, r); got != "access-2" {
			t.Errorf("a good token is not used: %s", got)
		}
		time.Sleep(20 * time.Second)
		if got := access(t, r); !strings.Contains(got, "crm: no token: transient (HTTP 503)") {
			t.Errorf("%s", got)
		}
	})
}

func TestAnEndThatTheServerDoesNotSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for ttl, want := range map[time.Duration]time.Duration{0: time.Hour, 10 * time.Minute: 10 * time.Minute} {
			c := &counted{}
			r := source(t, credentials.SourceSpec{Fetch: c.fetch, TTL: ttl})
			tok, err := r.Token(t.Context())
			if err != nil || time.Until(tok.Expiry) != want {
				t.Errorf("%v %v", time.Until(tok.Expiry), err)
			}
		}
	})
}

// Transient trouble is answered from memory for 1 s, then 2, up to a minute.
func TestFailuresAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int64
		c := &counted{ttl: time.Hour}
		c.fail.Store(&credentials.TokenError{Status: 500})
		r := source(t, credentials.SourceSpec{Fetch: c.fetch, Report: func(error) { told.Add(1) }})
		for begin := time.Now(); time.Since(begin) < time.Hour; time.Sleep(50 * time.Millisecond) {
			_, err := r.Token(t.Context())
			e, ok := errors.AsType[*credentials.TokenError](err)
			if !ok || e.Trouble != credentials.Transient || e.RetryAfter < 0 || e.RetryAfter > time.Minute {
				t.Fatalf("%v", err)
			}
		}
		// 60 to 80 at 45 s to 60 s each, and 6 on the way there.
		if n := c.n.Load(); n < 60 || n > 90 || told.Load() != n {
			t.Errorf("%d fetches, %d told", n, told.Load())
		}
		c.fail.Store(nil)
		time.Sleep(time.Minute)
		if got := access(t, r); !strings.HasPrefix(got, "access-") {
			t.Error(got)
		}
		// The server's own word counts for more, within reason.
		for ask, want := range map[time.Duration]time.Duration{5 * time.Minute: 5 * time.Minute, 100 * time.Hour: 15 * time.Minute} {
			c.fail.Store(&credentials.TokenError{Status: 429, RetryAfter: ask})
			r := source(t, credentials.SourceSpec{Fetch: c.fetch})
			access(t, r)
			before := c.n.Load()
			time.Sleep(want - time.Millisecond)
			if access(t, r); c.n.Load() != before {
				t.Errorf("asked within %v", want)
			}
			time.Sleep(time.Millisecond)
			if access(t, r); c.n.Load() != before+1 {
				t.Errorf("not asked after %v", want)
			}
		}
	})
}

func TestWhatAPersonMustSeeToIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, class := range []credentials.Trouble{credentials.NeedsLogin, credentials.Misconfigured} {
			for _, store := range []credentials.Store{nil, newMemory()} {
				c := &counted{ttl: time.Hour}
				c.fail.Store(&credentials.TokenError{Trouble: class, Code: "invalid_grant", Status: 400})
				told := 0
				r := source(t, credentials.SourceSpec{Fetch: c.fetch, Store: store, Report: func(error) { told++ }})
				for range 100 {
					if got := access(t, r); !strings.Contains(got, class.String()+": invalid_grant") {
						t.Fatal(got)
					}
					time.Sleep(time.Minute)
				}
				if n := c.n.Load(); n != 1 || told != 1 {
					t.Errorf("%v: %d fetches, %d told", class, n, told)
				}
				if s := r.State(); s.Failure == nil || s.Failure.Trouble != class {
					t.Errorf("%+v", s)
				}
				c.fail.Store(nil)
				if err := r.Put(t.Context(), credentials.Token{Access: credentials.NewSecret("new")}); err != nil || access(t, r) != "new" {
					t.Errorf("after signing in: %v %s", err, access(t, r))
				}
			}
		}
	})
}

func TestInvalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counted{ttl: 24 * time.Hour}
		r := source(t, credentials.SourceSpec{Fetch: c.fetch})
		first, err := r.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 256 { // all saw the same 401
			r.Invalidate(first)
		}
		if got := access(t, r); got != "access-2" {
			t.Error(got)
		}
		r.Invalidate(first) // late
		if got := access(t, r); got != "access-2" {
			t.Errorf("a late word took effect: %s", got)
		}
		// A server that refuses everything is not answered by a storm.
		for begin := time.Now(); time.Since(begin) < 10*time.Minute; time.Sleep(100 * time.Millisecond) {
			tok, err := r.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r.Invalidate(tok)
		}
		if n := c.n.Load(); n < 20 || n > 2+33 {
			t.Errorf("%d fetches in 10 minutes", n)
		}
	})
}

func TestPanicsAndTokensThatAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for want, fetch := range map[string]credentials.Fetch{
			"panic: *errors.errorString": func(context.Context, credentials.Token) (credentials.Token, error) { panic(errors.New("s3cret")) },
			"the answer has no token":    func(context.Context, credentials.Token) (credentials.Token, error) { return credentials.Token{}, nil },
			"no header field can carry": func(context.Context, credentials.Token) (credentials.Token, error) {
				return credentials.Token{Access: credentials.NewSecret("s3cret\r\nX: y")}, nil
			},
		} {
			got := access(t, source(t, credentials.SourceSpec{Fetch: fetch}))
			if !strings.Contains(got, want) || strings.Contains(got, "s3cret") {
				t.Errorf("%s, want %s", got, want)
			}
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, patience := range []time.Duration{time.Minute, time.Second} {
			c := &counted{ttl: time.Hour, pause: 10 * time.Second}
			r := credentials.NewRefresher(credentials.SourceSpec{Name: "crm", Fetch: c.fetch})
			go func() { _, _ = r.Token(context.WithoutCancel(t.Context())) }()
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			began := time.Now()
			r.Close(ctx)
			cancel()
			if took := time.Since(began); took != min(patience, 10*time.Second) {
				t.Errorf("took %v", took)
			}
			want := "access-1" // what came is still good
			if patience == time.Second {
				want = "crm: no token: transient: the source is closed"
			}
			if got := access(t, r); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if err := r.Put(t.Context(), credentials.Token{Access: credentials.NewSecret("x")}); err == nil {
				t.Error("a closed source takes tokens")
			}
		}
	})
}

// A fetch that hangs ends after 30 s, for all who wait.
func TestRefreshThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counted{pause: time.Hour}
		r := source(t, credentials.SourceSpec{Fetch: c.fetch})
		began := time.Now()
		if got := access(t, r); !strings.Contains(got, "deadline exceeded") || time.Since(began) != 30*time.Second {
			t.Errorf("%s after %v", got, time.Since(began))
		}
	})
}
