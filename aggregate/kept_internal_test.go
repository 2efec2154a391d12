package aggregate

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/cache"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// What is kept is counted in bytes, and a bound in bytes is worth what the count is.
// These tests hold the count against the heap, with a factor for what the allocator
// rounds up.
const (
	mostOf  = 1.4     // of what is counted is on the heap at most
	leastOf = 0.5     // and at least: what is counted too high is room that is not used
	enough  = 8 << 20 // bytes, beside which what else is on the heap is little
)

// live returns the bytes on the heap that are in use.
func live() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// counts compares what fill has put on the heap with what it says it has.
func counts(t *testing.T, fill func() (counted int)) {
	t.Helper()
	before := live()
	counted := fill()
	took := live() - before
	t.Logf("%d bytes counted, %d taken: %.2f", counted, took, float64(took)/float64(counted))
	if counted < enough || float64(took) > mostOf*float64(counted) || float64(took) < leastOf*float64(counted) {
		t.Errorf("%d bytes counted, %d taken: %.2f", counted, took, float64(took)/float64(counted))
	}
}

// inMessage returns a result of about so many bytes, which stands in a message that
// takes four times as many.
func inMessage(t *testing.T, size int) *upstream.Result {
	t.Helper()
	msg := fmt.Appendf(make([]byte, 0, 4*size+512), `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"%s"}]}}`, strings.Repeat("x", size))
	_, inner, err := rawjson.Index(msg, rawjson.Limits{}, "result")
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := rawjson.Get(msg, "result")
	res, err := upstream.IndexedResult(raw, inner)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// numbered returns a key of a call of a plan.
func numbered(plan, call int) (key [sha256.Size]byte) {
	binary.BigEndian.PutUint32(key[:], uint32(plan))
	binary.BigEndian.PutUint32(key[4:], uint32(call))
	return sha256.Sum256(key[:])
}

func TestPlansAreCountedWithWhatTheyCost(t *testing.T) {
	for name, c := range map[string]struct {
		plans, calls, size int
		writes             bool
	}{
		"one short read":        {8_000, 1, 10, false},
		"one read":              {4_000, 1, 2_000, false},
		"many reads":            {100, 16, 8_000, false},
		"many short reads":      {200, 200, 10, false},
		"one write":             {8_000, 1, 10, true},
		"more than is kept":     {400, 16, 8_000, false},
		"more reads than that":  {60_000, 1, 10, false},
		"more writes than that": {30_000, 1, 100, true},
		"more of both":          {500, 64, 1_000, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newBatchMemory()
			counts(t, func() int {
				for i := range c.plans {
					k := m.enter(numbered(i, -1))
					for j := range c.calls {
						k.put(callKey{sum: numbered(i, j)}, keptCall{batchAnswer: batchAnswer{result: inMessage(t, c.size)}, reads: !c.writes || j%2 > 0})
					}
					m.leave(k)
				}
				if m.size > maxKept {
					t.Errorf("%d bytes are kept", m.size)
				}
				return m.size
			})
			for len(m.plans) > 0 { // what is counted once is taken off once
				m.drop(m.first())
			}
			if m.size != 0 || m.whole.Len()+m.short.Len() > 0 {
				t.Errorf("%d bytes are left of nothing", m.size)
			}
		})
	}
}

// Plans go when their time is up even if nobody sends another, those too of which
// only the writes are known, and their memory can be used by the next.
func TestPlansGoUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newBatchMemory()
		res := inMessage(t, 3<<20)
		left := ""
		for range 2 {
			for i := range 9 {
				k := m.enter(numbered(i, -1))
				k.put(callKey{sum: numbered(i, 0)}, keptCall{batchAnswer: batchAnswer{result: res}})
				m.leave(k)
				time.Sleep(time.Second)
			}
			for _, wait := range []time.Duration{0, planLasts - 7*time.Second - time.Millisecond, 7 * time.Second} {
				time.Sleep(wait)
				m.mu.Lock()
				left += fmt.Sprint(m.short.Len(), m.whole.Len(), len(m.plans), m.size > 0, " ")
				m.mu.Unlock()
			}
		}
		if want := strings.Repeat("4 5 9 true 2 5 7 true 0 0 0 false ", 2); left != want {
			t.Errorf("%s, want %s", left, want)
		}
	})
}

func TestAnswersAreCountedWithWhatTheyCost(t *testing.T) {
	for name, c := range map[string]struct{ answers, size int }{
		"short": {20_000, 10}, "of a page": {5_000, 3_000}, "long": {100, 300_000}, "more than is kept": {60_000, 10},
	} {
		t.Run(name, func(t *testing.T) {
			const most = 32 << 20
			m := &member{agg: &Aggregate{kept: newStore(most)}, Member: Member{Cache: Cache{TTL: time.Hour}}}
			k := newMemory(m)
			counts(t, func() int {
				call := &upstream.Call{Op: upstream.CallTool, Name: "read"}
				for i := range c.answers {
					own := cache.NewPartition("crm", "", "").Key(binary.BigEndian.AppendUint32(nil, uint32(i)))
					k.keep(call, question{own: own}, k.shelf.Epoch(), inMessage(t, c.size))
				}
				bytes, entries := k.shelf.Used()
				if bytes > most || entries < min(c.answers, 30_000) {
					t.Errorf("%d bytes of %d answers are kept", bytes, entries)
				}
				return int(bytes)
			})
			runtime.KeepAlive(k)
		})
	}
}

func TestRestsAreCountedAsTheyStandInTheHeap(t *testing.T) {
	for name, c := range map[string]struct{ rests, items, size, limit int }{
		"short":                 {20_000, 1, 10, 1 << 10},
		"of a page":             {1_000, 1, 10_000, 32 << 10},
		"many items":            {100, 2_000, 30, 32 << 10},
		"many pages":            {10, 1, 1 << 20, 1 << 10},
		"a page for each image": {10, 10_000, 30, 10},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRestStore()
			counts(t, func() int {
				for range c.rests {
					var items []json.RawMessage
					for i := range c.items {
						item := textPart(strings.Repeat("x", c.size))
						if i%2 > 0 {
							item = fmt.Appendf(nil, `{"type":"image","data":"%s"}`, strings.Repeat("x", c.size))
						}
						items = append(items, append(make([]byte, 0, 4*c.size), item...))
					}
					if s.put(restOwner{upstream.Local(), "crm"}, items, c.limit) == "" {
						t.Fatal("nothing is kept")
					}
				}
				return s.size
			})
			runtime.KeepAlive(s)
		})
	}
}

// What had to go before its time leaves nothing behind that waits for it.
func TestRestsThatWentLeaveNothing(t *testing.T) {
	s := newRestStore()
	item := []json.RawMessage{textPart("x")}
	before := live()
	for i := range 50_000 {
		if s.put(restOwner{upstream.Local(), "crm"}, item, 1<<10); i%100 == 99 {
			s.shrink(0, time.Now())
		}
	}
	if took := live() - before; took > 1<<20 || s.size != 0 {
		t.Errorf("%d bytes taken, %d counted", took, s.size)
	}
	runtime.KeepAlive(s)
}
