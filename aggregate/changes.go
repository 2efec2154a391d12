package aggregate

import (
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// changes counts how often something may have been changed at a source, so that
// what a plan has read there is not given again after that. The plan's own changes
// do not count: in which order it reads and writes stands in the plan. The zero
// value is ready for use.
type changes struct {
	mu    sync.Mutex
	count uint64
	last  alteration
	other alteration // the latest by another than last.by
}

type alteration struct {
	n  uint64
	by string // the plan's key; "" for a call by itself
}

func (s *changes) note(by string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if s.last.by != by {
		s.other = s.last
	}
	s.last = alteration{s.count, by}
}

// beside returns the number of the latest change that was not of this plan's making.
func (s *changes) beside(plan string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last.by == plan {
		return s.other.n
	}
	return s.last.n
}

// changed notes that a call may have changed something at its source, which the
// member that has taken this one's place stands for too. What says that it only
// reads is believed here, as it is in plans.
func (k *memory) changed(c *upstream.Call) {
	if c.Tool != nil && c.Tool.Hints.ReadOnly {
		return
	}
	by := ""
	if c.Plan != nil {
		by = c.Plan.Key
	}
	k.each(func(k *memory) { k.changes.note(by) })
}
