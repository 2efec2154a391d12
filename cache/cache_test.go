package cache_test

import (
	"fmt"
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

func newShelf(max int64) *cache.Shelf[string] { return newStore(max).Shelf() }

func key(source, principal, question string) cache.Key {
	return cache.NewPartition(source, "credential", principal).Key([]byte(question))
}

func TestEntriesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newShelf(1<<20), key("crm", "alice", "q")
		if _, ok := s.Get(k); ok {
			t.Error("found in an empty store")
		}
		s.Put(k, s.Epoch(), "a", 10*time.Second, 20*time.Second)
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

// What nobody asks for again lets its memory go all the same; what is of use stays.
func TestWhatIsOldGoesUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStore(1 << 20)
		crm, erp := st.Shelf(), st.Shelf()
		crm.Put(key("crm", "alice", "q"), crm.Epoch(), "a", time.Second, 10*time.Second)
		erp.Put(key("erp", "alice", "q"), erp.Epoch(), "b", 5*time.Second, 0)
		erp.Put(key("erp", "alice", "r"), erp.Epoch(), "c", time.Second, 90*time.Second)
		for _, want := range []string{"1 2", "0 1", "0 0"} {
			_, c := crm.Used()
			_, e := erp.Used()
			if got := fmt.Sprint(c, e); got != want {
				t.Errorf("%s are left, want %s", got, want)
			}
			time.Sleep(61 * time.Second)
		}
		erp.Put(key("erp", "alice", "q"), erp.Epoch(), "d", time.Second, 0)
		time.Sleep(61 * time.Second)
		if bytes, n := erp.Used(); bytes != 0 || n != 0 {
			t.Error("a store that was empty once is not looked through again")
		}
	})
}

func TestStoreIsBoundedInBytes(t *testing.T) {
	s := newShelf(100_000)
	for i := range 1_000 {
		k := key("crm", "alice", fmt.Sprint(i))
		s.Put(k, s.Epoch(), strings.Repeat("x", 1_000), time.Hour, 0)
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
	s.Put(big, s.Epoch(), strings.Repeat("x", 30_000), time.Hour, 0)
	if _, ok := s.Get(big); ok {
		t.Error("one entry takes more than a quarter")
	}
}

func TestReplacingCountsOnce(t *testing.T) {
	s, k := newShelf(1<<20), key("crm", "alice", "q")
	for range 10 {
		s.Put(k, s.Epoch(), "12345", time.Hour, 0)
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
	s := newShelf(1 << 20)
	var none cache.Partition
	for _, k := range []cache.Key{{}, none.Key([]byte("q"))} {
		s.Put(k, s.Epoch(), "a", time.Hour, 0)
		if _, ok := s.Get(k); ok {
			t.Error("kept without a partition")
		}
	}
}

// An answer that was asked for before a purge must not come back after it.
func TestPurgeReachesWhatIsUnderWay(t *testing.T) {
	store := newStore(1 << 20)
	s, other, k := store.Shelf(), store.Shelf(), key("crm", "alice", "q")
	before, theirs := s.Epoch(), other.Epoch()
	s.Put(k, before, "old", time.Hour, 0)
	s.Purge()
	if _, ok := s.Get(k); ok {
		t.Error("purged and still there")
	}
	s.Put(k, before, "old", time.Hour, 0)
	if _, ok := s.Get(k); ok {
		t.Error("an answer of before the purge is kept")
	}
	other.Put(k, theirs, "theirs", time.Hour, 0)
	if f, ok := other.Get(k); !ok || f.Value != "theirs" {
		t.Error("another source's purge is no matter")
	}
	s.Put(k, s.Epoch(), "new", time.Hour, 0)
	if f, ok := s.Get(k); !ok || f.Value != "new" {
		t.Error("nothing is kept after a purge")
	}
	s.Drop(k)
	if _, ok := s.Get(k); ok {
		t.Error("dropped and still there")
	}
}

func TestAClosedShelfKeepsNothing(t *testing.T) {
	store := newStore(1 << 20)
	s, k := store.Shelf(), key("crm", "alice", "q")
	s.Put(k, s.Epoch(), "old", time.Hour, 0)
	s.Close()
	s.Put(k, s.Epoch(), "late", time.Hour, 0)
	if _, ok := s.Get(k); ok {
		t.Error("found on a closed shelf")
	}
	if bytes, n := s.Used(); bytes != 0 || n != 0 {
		t.Errorf("%d bytes in %d entries are left", bytes, n)
	}
}

// However much one source puts, another keeps its equal share; and what others
// do not need, one may have.
func TestANoisySourceEmptiesItsOwnShelf(t *testing.T) {
	store := newStore(300_000)
	quiet, noisy, idle := store.Shelf(), store.Shelf(), store.Shelf()
	defer idle.Close()
	text := strings.Repeat("x", 1_000)
	for i := range 1_000 {
		noisy.Put(key("noisy", "alice", fmt.Sprint(i)), 0, text, time.Hour, 0)
	}
	if bytes, _ := noisy.Used(); bytes < 290_000 {
		t.Errorf("one alone may have only %d bytes", bytes)
	}
	const share = 70 // entries, nearly a third
	for i := range share {
		quiet.Put(key("quiet", "alice", fmt.Sprint(i)), 0, text, time.Hour, 0)
	}
	for i := range 10_000 {
		noisy.Put(key("noisy", fmt.Sprint(i%7), fmt.Sprint(i)), 0, text, time.Hour, 0)
	}
	if _, n := quiet.Used(); n != share {
		t.Errorf("%d of %d entries are left", n, share)
	}
	mine, _ := quiet.Used()
	theirs, _ := noisy.Used()
	if mine+theirs > 300_000 || theirs < 200_000 {
		t.Errorf("%d and %d bytes", mine, theirs)
	}
}

// A value that is put while its shelf is purged is never found after the purge.
func TestPurgesAndPutsAtOnce(t *testing.T) {
	s, k := newShelf(1<<20), key("crm", "alice", "q")
	var version atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2_000 {
				e, v := s.Epoch(), version.Load()
				s.Put(k, e, fmt.Sprint(v), time.Hour, 0)
			}
		})
	}
	for range 2_000 {
		now := version.Add(1)
		s.Purge()
		if f, ok := s.Get(k); ok && f.Value != fmt.Sprint(now) {
			t.Errorf("%s is found after the purge of %d", f.Value, now)
		}
	}
	wg.Wait()
}
