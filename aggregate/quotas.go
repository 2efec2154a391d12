package aggregate

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

// Per says whose calls a vendor counts together.
type Per string

// Whose calls are counted together. The zero value is PerUpstream.
const (
	PerUpstream   Per = "upstream"   // everybody's
	PerUser       Per = "user"       // each user's
	PerCredential Per = "credential" // everybody's to all members with the same Quota
)

// Class is tools that the vendor counts in a quota of their own besides.
type Class struct {
	Name  string
	Tools []string // patterns of tools' own names; see [Match]
	Rate  float64  // tokens a second
	Burst float64  // tokens that can be saved up; at least the dearest call's cost
}

// Match reports whether a tool's own name fits a pattern of path.Match. A name is
// no path: in it a star matches a slash too. A faulty pattern matches nothing.
func Match(pattern, name string) bool {
	flat := func(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
	ok, err := path.Match(flat(pattern), flat(name))
	return err == nil && ok
}

// unlimited is tokens a second of a quota that has no rate: it can be frozen like
// any other, and is never in the way else.
const unlimited = 1e6

// quotas is what the calls of one member are counted in.
type quotas struct {
	all     *gate.Quotas
	classes []class // sorted by name
}

// class is a Class at work.
type class struct {
	Class
	quotas *gate.Quotas
}

func newQuotas(l Limits) *quotas {
	rate, burst := l.Rate, l.Burst
	if rate <= 0 {
		rate, burst = unlimited, unlimited
	}
	q := &quotas{all: gate.NewQuotas(func() gate.Bucket { return gate.NewBucket(rate, burst) })}
	for _, c := range l.Classes {
		q.classes = append(q.classes, class{c, gate.NewQuotas(func() gate.Bucket { return gate.NewBucket(c.Rate, c.Burst) })})
	}
	slices.SortFunc(q.classes, func(x, y class) int { return strings.Compare(x.Name, y.Name) })
	return q
}

// throttle counts the calls of a member with these limits.
func (q *quotas) throttle(l Limits) *gate.Throttle {
	o := gate.ThrottleOptions{Quotas: q.all, Key: l.quota, Cost: l.cost}
	if len(q.classes) > 0 {
		o.Class = q.class
	}
	return gate.NewThrottle(o)
}

// class returns the quotas of the first class that a call belongs to; nil if
// there is none.
func (q *quotas) class(c *upstream.Call) *gate.Quotas {
	if c.Op != upstream.CallTool {
		return nil
	}
	for i := range q.classes {
		for _, pattern := range q.classes[i].Tools {
			if Match(pattern, c.Name) {
				return q.classes[i].quotas
			}
		}
	}
	return nil
}

// inherit goes on counting where others have stopped, or still count: another
// configuration of the same source, and members with the same credential. What
// the vendor counts has not changed if it is counted in the same way.
func (q *quotas) inherit(m Member, others []*member) {
	for _, o := range others {
		now, before := m.Limits, o.Limits
		same := o.ID == m.ID && o.Identity == m.Identity && now.Per == before.Per && maps.Equal(now.Costs, before.Costs)
		shared := m.Quota != "" && m.Quota == o.Quota && now.Per == PerCredential && before.Per == PerCredential
		if (same || shared) && now.Rate == before.Rate && now.Burst == before.Burst {
			q.all = o.gates.quotas.all
		}
		if !same {
			continue
		}
		for i, c := range q.classes {
			for _, old := range o.gates.quotas.classes {
				if c.Name == old.Name && c.Rate == old.Rate && c.Burst == old.Burst && slices.Equal(c.Tools, old.Tools) {
					q.classes[i].quotas = old.quotas
				}
			}
		}
	}
}

// quota returns the key of the quota that a call is counted in.
func (l Limits) quota(c *upstream.Call) string {
	if l.Per == PerUser || l.Per == PerCredential && l.apart {
		return c.Principal.Key()
	}
	return ""
}

// classPer says whose calls a class counts together: those of one member at most.
func (l Limits) classPer() Per {
	if l.Per == PerUser {
		return PerUser
	}
	return PerUpstream
}

func (l Limits) cost(c *upstream.Call) float64 {
	if cost, ok := l.Costs[c.Name]; ok && c.Op == upstream.CallTool {
		return cost
	}
	return 1
}
