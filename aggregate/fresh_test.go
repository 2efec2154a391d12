package aggregate_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// dated is an upstream whose list of tools stays good for a while.
type dated struct {
	*fake
	fresh atomic.Int64
}

func (d *dated) Fresh(l upstream.List) time.Duration {
	if l == upstream.Tools {
		return time.Duration(d.fresh.Load())
	}
	return upstream.Announced
}

// A merged list may be kept as long as the least of its upstreams allows.
func TestAListIsAsFreshAsItsLeast(t *testing.T) {
	for fresh, want := range map[time.Duration]string{
		upstream.Announced: `"ttlMs":60000`, time.Hour: `"ttlMs":60000`, 5 * time.Second: `"ttlMs":5000`, 0: `"ttlMs":0`,
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &dated{fake: newFake(t, "b", "y")}
			d.fresh.Store(int64(fresh))
			second := member(d.fake)
			second.Adapter = d
			v, _ := start(t, aggregate.Options{}, member(newFake(t, "a", "x")), second)
			raw, err := v.ListTools(t.Context(), &aggregate.Request{Principal: upstream.Local(), Modern: true})
			if err != nil || !strings.Contains(string(raw), want) {
				t.Errorf("%s: no %s in %s, %v", fresh, want, raw, err)
			}
		})
	}
}

// An upstream that tells of no changes is asked again when a client asks, and not
// more often than every half minute.
func TestAnUpstreamThatSaysNothingIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dated{fake: newFake(t, "b", "y")}
		m := member(d.fake)
		m.Adapter = d
		v, _ := start(t, aggregate.Options{}, m)
		names(t, v)
		time.Sleep(time.Hour)
		before := d.listed()
		d.set(t, "y", "z") // without a word
		names(t, v)
		time.Sleep(time.Second)
		if got := names(t, v); len(got) != 2 {
			t.Errorf("the second list is %q", got)
		}
		for range 10 {
			names(t, v)
			time.Sleep(time.Second)
		}
		if n := d.listed() - before; n != 1 {
			t.Errorf("it was asked %d times", n)
		}
	})
}
