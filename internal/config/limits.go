package config

import (
	"fmt"
	"maps"
	"slices"
)

// checkLimits refuses limits that no call could pass, and fills in the burst.
func (d *decoder) checkLimits(at string, u *Upstream, whole Deadline) {
	limit := join(at, "limit")
	given := func(name string) bool { return d.given[join(limit, name)] }
	l := &u.Limit

	if !whole.Auto && whole.Limit > 0 && l.QueueWait >= whole.Limit {
		if given("queue_wait") {
			d.fault(join(limit, "queue_wait"), fmt.Sprintf("is not shorter than server.deadline, which is %s: no call could wait that long", durationText(int64(whole.Limit))),
				"shorten it or raise server.deadline")
		}
		l.QueueWait = 0 // the deadline is there first
	}
	if u.SerializeBy != "" && u.Writes != "serial" && u.Unannotated != "serial" {
		d.fault(join(at, "serialize_by"), "has no effect, because no calls run one after another", `remove it, or set writes or unannotated to "serial"`)
	}
	dearest, tool := 1, ""
	for _, name := range slices.Sorted(maps.Keys(u.Tools.Override)) {
		if o := u.Tools.Override[name]; o.Cost > dearest {
			dearest, tool = o.Cost, name
		}
	}
	if l.Rate.Count == 0 {
		for _, name := range []string{"burst", "per"} {
			if given(name) && !given("rate") {
				d.fault(join(limit, name), "belongs to rate, which is not set", "add rate or remove it")
			}
		}
		return
	}
	switch {
	case dearest > l.Rate.Count:
		d.fault(join(at+".tools.override", tool)+".cost", fmt.Sprintf("is more than limit.rate, which is %d in %s: the tool could never be called", l.Rate.Count, durationText(int64(l.Rate.Time))),
			"lower it or raise the rate")
	case !given("burst"):
		l.Burst = max(l.Rate.Count/10, dearest, 1)
	case l.Burst < dearest:
		d.fault(join(limit, "burst"), fmt.Sprintf("%d is less than a call of %s costs, which is %d: it could never be made", l.Burst, join("", tool), dearest),
			"raise it or lower the cost")
	case l.Burst > l.Rate.Count:
		d.fault(join(limit, "burst"), fmt.Sprintf("%d is more than rate allows in all, which is %d", l.Burst, l.Rate.Count), "lower it")
	}
}
