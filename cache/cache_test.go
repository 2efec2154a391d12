package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newStore(max int64) *cache.Store[string] {
	return cache.New(max, func(s string) int { return len(s) })
}

func key(source, principal, question string) cache.Key {
	return cache.NewPartition(source, "credential", principal).Key([]byte(question))
}

func TestEntriesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newStore(1<<20), key("crm", "alice", "q")
		if _, ok := s.Get(k); ok {
			t.Error("found in an empty store")
		}
		s.Put(k, s.Epoch(k), "a", 10*time.Second, 20*time.Second)
		state := func() string {
			f, ok := s.Get(k)
			switch {
			case !ok:
				return "gone"
			case f.Value != "a":
				return "wrong"
			case f.Fresh:
				return fmt.Sprint("fresh ", f.Age)
			}
			return fmt.Sprint("stale ", f.Age)
		}
		var got []string
		for range 4 {
			got = append(got, state())
			time.Sleep(10 * time.Second)
		}
		if want := "[fresh 0s stale 10s stale 20s gone]"; fmt.Sprint(got) != want {
			t.Errorf("%s, want %s", got, want)
		}
		if bytes, n := s.Used(); bytes != 0 || n != 0 {
			t.Errorf("%d bytes in %d entries are left", bytes, n)
		}
	})
}

func TestStoreIsBoundedInBytes(t *testing.T) {
	s := newStore(100_000)
	for i := range 1_000 {
		k := key("crm", "alice", fmt.Sprint(i))
		s.Put(k, s.Epoch(k), strings.Repeat("x", 1_000), time.Hour, 0)
		if bytes, _ := s.Used(); bytes > 100_000 {
			t.Fatalf("%d bytes", bytes)
		}
	}
	if _, n := s.Used(); n < 70 {
		t.Errorf("only %d entries are kept", n)
	}
	if _, ok := s.Get(key("crm", "alice", "999")); !ok {
		t.Error("the newest is gone")
	}
	if _, ok := s.Get(key("crm", "alice", "0")); ok {
		t.Error("the oldest is kept")
	}
	big := key("crm", "alice", "big")
	s.Put(big, s.Epoch(big), strings.Repeat("x", 30_000), time.Hour, 0)
	if _, ok := s.Get(big); ok {
		t.Error("one entry takes more than a quarter")
	}
}

func TestReplacingCountsOnce(t *testing.T) {
	s, k := newStore(1<<20), key("crm", "alice", "q")
	for range 10 {
		s.Put(k, s.Epoch(k), "12345", time.Hour, 0)
	}
	if bytes, n := s.Used(); n != 1 || bytes > 1_000 {
		t.Errorf("%d bytes in %d entries", bytes, n)
	}
}

// Nothing but the same source, credential, principal and question finds a value.
func TestPartitionsAreApart(t *testing.T) {
	parts := []string{"", "a", "b", "ab", "a|b", "a\x00", "1:a"}
	seen := map[cache.Key]string{}
	for _, source := range parts[1:] {
		for _, credential := range parts {
			for _, principal := range parts {
				p := cache.NewPartition(source, credential, principal)
				for _, x := range parts {
					for _, y := range parts {
						id := fmt.Sprintf("%q %q %q %q %q", source, credential, principal, x, y)
						k := p.Key([]byte(x), []byte(y))
						if other, ok := seen[k]; ok {
							t.Fatalf("%s has the key of %s", id, other)
						}
						seen[k] = id
					}
				}
			}
		}
	}
}

func TestThereIsNoKeyWithoutAPartition(t *testing.T) {
	s := newStore(1 << 20)
	var none cache.Partition
	for _, k := range []cache.Key{{}, none.Key([]byte("q"))} {
		s.Put(k, s.Epoch(k), "a", time.Hour, 0)
		if _, ok := s.Get(k); ok {
			t.Error("kept without a partition")
		}
	}
}

// An answer that was asked for before a purge must not come back after it.
func TestPurgeReachesWhatIsUnderWay(t *testing.T) {
	s := newStore(1 << 20)
	crm, tickets := key("crm", "alice", "q"), key("tickets", "alice", "q")
	before, other := s.Epoch(crm), s.Epoch(tickets)
	s.Put(crm, before, "old", time.Hour, 0)
	s.Purge("crm")
	if _, ok := s.Get(crm); ok {
		t.Error("purged and still there")
	}
	s.Put(crm, before, "old", time.Hour, 0)
	if _, ok := s.Get(crm); ok {
		t.Error("an answer of before the purge is kept")
	}
	s.Put(tickets, other, "theirs", time.Hour, 0)
	if _, ok := s.Get(tickets); !ok {
		t.Error("another source's purge is no matter")
	}
	s.Put(crm, s.Epoch(crm), "new", time.Hour, 0)
	if f, ok := s.Get(crm); !ok || f.Value != "new" {
		t.Error("nothing is kept after a purge")
	}
}

func TestFlightIsSharedByEqualQuestionsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f cache.Flights[string]
		var runs atomic.Int64
		var wg sync.WaitGroup
		var shared atomic.Int64
		for i := range 30 {
			k := key("crm", fmt.Sprint(i%3), "q")
			wg.Go(func() {
				v, was, err := f.Do(t.Context(), k, func(context.Context) (string, error) {
					runs.Add(1)
					time.Sleep(time.Second)
					return fmt.Sprint(i % 3), nil
				})
				if err != nil || v != fmt.Sprint(i%3) {
					t.Errorf("%q, %v", v, err)
				}
				if was {
					shared.Add(1)
				}
			})
		}
		wg.Wait()
		if runs.Load() != 3 || shared.Load() != 27 {
			t.Errorf("%d runs, %d shared", runs.Load(), shared.Load())
		}
	})
}

// The first one's leaving takes nothing from the others; the last one's leaving
// ends the work.
func TestFlightEndsWithItsLastWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f cache.Flights[string]
		k := key("crm", "alice", "q")
		ended := make(chan error, 1)
		work := func(ctx context.Context) (string, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return "", ctx.Err()
		}
		first, leaveFirst := context.WithCancel(t.Context())
		second, leaveSecond := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		go func() { _, _, err := f.Do(first, k, work); errs <- err }()
		synctest.Wait()
		go func() { _, _, err := f.Do(second, k, work); errs <- err }()
		synctest.Wait()
		leaveFirst()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		synctest.Wait()
		if len(ended) != 0 {
			t.Fatal("the work ended while somebody waited")
		}
		leaveSecond()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestFlightAfterAllLeftStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f cache.Flights[string]
		k := key("crm", "alice", "q")
		stuck := make(chan struct{})
		ctx, leave := context.WithCancel(t.Context())
		go func() {
			synctest.Wait()
			leave()
		}()
		_, _, err := f.Do(ctx, k, func(context.Context) (string, error) { <-stuck; return "late", nil })
		if err == nil {
			t.Fatal("no error")
		}
		v, shared, err := f.Do(t.Context(), k, func(context.Context) (string, error) { return "new", nil })
		if v != "new" || shared || err != nil {
			t.Errorf("%q, %v, %v", v, shared, err)
		}
		close(stuck)
		synctest.Wait()
	})
}

func TestPanicOfAFlightIsAnError(t *testing.T) {
	var f cache.Flights[string]
	_, _, err := f.Do(t.Context(), key("crm", "alice", "q"), func(context.Context) (string, error) { panic("secret") })
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// Random askers, answers, leaves: everybody who stays gets the answer of a
// flight of his own key that began no later than he came to wait for it.
func TestFlightsCrossNothing(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 5))
			var f cache.Flights[int]
			var wg sync.WaitGroup
			for range 100 {
				who := r.IntN(5)
				start, work := time.Duration(r.IntN(2_000))*time.Millisecond, time.Duration(r.IntN(500))*time.Millisecond
				patience := time.Duration(r.IntN(800)) * time.Millisecond
				wg.Go(func() {
					time.Sleep(start)
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					v, _, err := f.Do(ctx, key("crm", fmt.Sprint(who), "q"), func(context.Context) (int, error) {
						time.Sleep(work)
						return who, nil
					})
					if err == nil && v != who {
						t.Errorf("seed %d: %d got the answer of %d", seed, who, v)
					}
				})
			}
			wg.Wait()
			time.Sleep(time.Second)
		})
	}
}
