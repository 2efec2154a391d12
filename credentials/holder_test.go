package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// thing is what is held in these tests.
type thing struct {
	name   string
	busy   atomic.Bool
	closed atomic.Bool
}

func (t *thing) Busy() bool            { return t.busy.Load() }
func (t *thing) Close(context.Context) { t.closed.Store(true) }

func use(t *testing.T, h *credentials.Holder[*thing], key string) (*thing, func()) {
	t.Helper()
	it, release, err := h.Use(t.Context(), key, func() (*thing, error) { return &thing{name: key}, nil })
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return it, release
}

func TestHolderHasOneOfEach(t *testing.T) {
	h := credentials.NewHolder[*thing](10, time.Minute)
	defer h.Close(t.Context())
	a, release := use(t, h, "a")
	b, _ := use(t, h, "b")
	again, _ := use(t, h, "a")
	if a != again || a == b || h.Len() != 2 {
		t.Errorf("%p %p %p", a, again, b)
	}
	release()
	if got, ok := h.Peek("a"); !ok || got != a {
		t.Error("what is there is not found")
	}
	if _, _, err := h.Use(t.Context(), "c", func() (*thing, error) { return nil, errors.New("no") }); err == nil || h.Len() != 2 {
		t.Errorf("what could not be made is held: %v", err)
	}
}

// The least used goes, but nothing that is in use or busy.
func TestHolderMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := credentials.NewHolder[*thing](3, time.Minute)
		used, _ := use(t, h, "used")
		busy, release := use(t, h, "busy")
		busy.busy.Store(true)
		release()
		free, release := use(t, h, "free")
		release()
		_, release = use(t, h, "new")
		release()
		synctest.Wait()
		if !free.closed.Load() || used.closed.Load() || busy.closed.Load() || h.Len() != 3 {
			t.Errorf("free %v, used %v, busy %v", free.closed.Load(), used.closed.Load(), busy.closed.Load())
		}
		if it, _ := use(t, h, "new"); it.closed.Load() {
			t.Error("the last is gone")
		}
		if _, _, err := h.Use(t.Context(), "more", func() (*thing, error) { return &thing{}, nil }); !errors.Is(err, credentials.ErrFull) {
			t.Errorf("full: %v", err)
		}
		h.Close(t.Context())
		if !used.closed.Load() || !busy.closed.Load() {
			t.Error("something is open after the end")
		}
		if _, _, err := h.Use(t.Context(), "used", nil); err == nil {
			t.Error("used after the end")
		}
	})
}

func TestHolderSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := credentials.NewHolder[*thing](10, time.Minute)
		defer h.Close(t.Context())
		used, _ := use(t, h, "used")
		idle, release := use(t, h, "idle")
		release()
		busy, release := use(t, h, "busy")
		busy.busy.Store(true)
		release()
		time.Sleep(40 * time.Second)
		fresh, release := use(t, h, "fresh")
		release()
		time.Sleep(30 * time.Second)
		h.Sweep(t.Context())
		synctest.Wait()
		if !idle.closed.Load() || used.closed.Load() || busy.closed.Load() || fresh.closed.Load() {
			t.Errorf("idle %v, used %v, busy %v, fresh %v", idle.closed.Load(), used.closed.Load(), busy.closed.Load(), fresh.closed.Load())
		}
		busy.busy.Store(false)
		h.Sweep(t.Context())
		synctest.Wait()
		if !busy.closed.Load() || h.Len() != 2 {
			t.Errorf("busy %v, %d held", busy.closed.Load(), h.Len())
		}
	})
}

func TestHolderDropsAndRetires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := credentials.NewHolder[*thing](10, time.Minute)
		dropped, r1 := use(t, h, "dropped")
		retired, r2 := use(t, h, "retired")
		unused, r3 := use(t, h, "unused")
		r3()
		for _, key := range []string{"retired", "unused", "nobody"} {
			h.Retire(t.Context(), key)
		}
		h.Drop(t.Context(), "dropped")
		synctest.Wait()
		if !dropped.closed.Load() || retired.closed.Load() || !unused.closed.Load() || h.Len() != 0 {
			t.Errorf("dropped %v, retired %v, unused %v", dropped.closed.Load(), retired.closed.Load(), unused.closed.Load())
		}
		next, _ := use(t, h, "retired")
		r1()
		r2()
		synctest.Wait()
		if !retired.closed.Load() || next == retired || next.closed.Load() {
			t.Error("what was retired is not closed when nobody uses it any more, or the next one is")
		}
		last, _ := use(t, h, "last")
		h.Retire(t.Context(), "last")
		h.Close(t.Context())
		if !last.closed.Load() {
			t.Error("what was retired is open after the end")
		}
	})
}

func TestHolderUnderFire(t *testing.T) {
	h := credentials.NewHolder[*thing](8, time.Nanosecond)
	var w sync.WaitGroup
	for i := range 16 {
		w.Go(func() {
			for n := range 500 {
				key := strconv.Itoa((i + n) % 12)
				it, release, err := h.Use(t.Context(), key, func() (*thing, error) { return &thing{name: key}, nil })
				if errors.Is(err, credentials.ErrFull) {
					continue
				}
				if err != nil || it.name != key {
					t.Errorf("%s: %v %v", key, it, err)
				}
				switch n % 7 {
				case 0:
					h.Retire(t.Context(), key)
				case 1:
					h.Sweep(t.Context())
				}
				if it.closed.Load() {
					t.Errorf("%s is closed in use", key)
				}
				release()
			}
		})
	}
	w.Wait()
	h.Close(t.Context())
	if h.Len() != 0 {
		t.Error("something is held after the end")
	}
}

// heldSource is a Refresher as something to be held.
type heldSource struct{ *credentials.Refresher }

func (s heldSource) Busy() bool { return s.State().Busy }

// Thirty thousand sources, such as 10,000 users of three upstreams, take at most
// 4 KiB each with their tokens.
func TestHolderIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("30,000 sources")
	}
	const users, upstreams, most = 10_000, 3, 4 << 10
	used := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc) //nolint:gosec // far from that
	}
	before := used()
	held := make([]*credentials.Holder[heldSource], upstreams)
	for n := range held {
		held[n] = credentials.NewHolder[heldSource](users, time.Hour)
		for i := range users {
			id := credentials.Identity{Upstream: "crm", Subject: fmt.Sprintf("https://login.example.com/realm user-%08d", i), Issuer: "https://login.crm.example.com", ClientID: "bulkhead", Scopes: []string{"read", "write"}}
			r, release, err := held[n].Use(t.Context(), id.Subject, func() (heldSource, error) {
				return heldSource{credentials.NewRefresher(credentials.SourceSpec{Name: "crm", ID: id.ID(), Report: func(error) { _ = i },
					Fetch: func(context.Context, credentials.Token) (credentials.Token, error) {
						return credentials.Token{Access: credentials.NewSecret(fmt.Sprintf("%0600d", i)), Refresh: credentials.NewSecret(fmt.Sprintf("%0100d", i)), Expiry: time.Now().Add(time.Hour)}, nil
					}})}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			release()
		}
	}
	each := (used() - before) / (users * upstreams)
	t.Logf("%d bytes each", each)
	if each > most {
		t.Errorf("%d bytes each, at most %d", each, most)
	}
	for _, h := range held {
		if h.Len() != users {
			t.Errorf("%d are held", h.Len())
		}
		h.Close(t.Context())
	}
}
