package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
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
	if l.Rate.Count == 0 {
		for _, name := range []string{"burst", "per"} {
			if given(name) && !given("rate") && !(name == "per" && l.Per == "credential") { // what the source says is shared too
				d.fault(join(limit, name), "belongs to rate, which is not set", "add rate or remove it")
			}
		}
	} else {
		d.checkRate(limit, at, u, func(string) bool { return true }, l.Rate, &l.Burst)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Classes)) {
		c, in := l.Classes[name], join(limit+".class", name)
		if d.given[join(in, "tools")] && c.Tools != nil && len(c.Tools) == 0 {
			d.fault(join(in, "tools"), "names no tools", `for example tools = ["search_*"]`)
		}
		if c.Rate.Count > 0 {
			d.checkRate(in, at, u, c.has, c.Rate, &c.Burst)
		}
	}
	checkClasses(d.fault, limit, u)
}

// checkRate refuses a rate and burst, in the table called in, that some tool of
// those could never keep to, and fills in the burst.
func (d *decoder) checkRate(in, at string, u *Upstream, those func(tool string) bool, r Rate, burst *int) {
	dearest, tool := 1, ""
	for _, name := range slices.Sorted(maps.Keys(u.Tools.Override)) {
		if o := u.Tools.Override[name]; o.Cost > dearest && those(name) {
			dearest, tool = o.Cost, name
		}
	}
	switch {
	case dearest > r.Count:
		d.fault(join(at+".tools.override", tool)+".cost", fmt.Sprintf("is more than %s.rate, which is %d in %s: the tool could never be called", strings.TrimPrefix(in, at+"."), r.Count, durationText(int64(r.Time))),
			"lower it or raise the rate")
	case !d.given[join(in, "burst")]:
		*burst = max(r.Count/10, dearest, 1)
	case *burst < dearest:
		d.fault(join(in, "burst"), fmt.Sprintf("%d is less than a call of %s costs, which is %d: it could never be made", *burst, join("", tool), dearest),
			"raise it or lower the cost")
	case *burst > r.Count:
		d.fault(join(in, "burst"), fmt.Sprintf("%d is more than rate allows in all, which is %d", *burst, r.Count), "lower it")
	}
}

// has reports whether a tool is in the class.
func (c *Class) has(tool string) bool {
	return slices.ContainsFunc(c.Tools, func(pattern string) bool { return matches(pattern, tool) })
}

// matches reports whether a tool's own name fits a pattern. A name is no path: in
// it a star matches a slash too.
func matches(pattern, name string) bool {
	flat := func(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
	ok, err := path.Match(flat(pattern), flat(name))
	return err == nil && ok
}

// checkClasses refuses tools of two classes, as far as that can be seen from
// their patterns: names that are written out here or in an override, and equal
// patterns.
func checkClasses(fault func(path, problem, hint string), limit string, u *Upstream) {
	classes := u.Limit.Classes
	names := slices.Sorted(maps.Keys(classes))
	for i, first := range names {
		for _, second := range names[i+1:] {
			known := slices.Concat(classes[first].Tools, classes[second].Tools, slices.Sorted(maps.Keys(u.Tools.Override)))
			for _, tool := range known {
				both := classes[first].has(tool) && classes[second].has(tool) ||
					slices.Contains(classes[first].Tools, tool) && slices.Contains(classes[second].Tools, tool)
				if both {
					fault(join(limit+".class", second)+".tools", quote(tool)+" is in the class "+first+" too", "keep it in one of them")
					break
				}
			}
		}
	}
}

// checkAccounts refuses different rates for upstreams that are counted together.
func checkAccounts(fault func(path, problem, hint string), upstreams []Upstream) {
	first := make(map[string]*Upstream)
	for i := range upstreams {
		u := &upstreams[i]
		if u.Limit.Per != "credential" || !u.Enabled {
			continue
		}
		other := first[u.Account()]
		if other == nil {
			first[u.Account()] = u
			continue
		}
		if u.Limit.Rate != other.Limit.Rate || u.Limit.Burst != other.Limit.Burst {
			fault(join("upstream", u.Name)+".limit", fmt.Sprintf("rate and burst differ from those of upstream.%s, which signs in with the same credential and shares them (per = \"credential\")", other.Name),
				"give both the same ones, or take per away from one")
		}
	}
}

// Account returns what is equal for upstreams that sign in to the same origin, or
// run the same command, with the same credential. It tells nothing of either.
func (u Upstream) Account() string {
	where := any(u.Command)
	switch parsed, err := url.Parse(u.URL); {
	case u.URL != "" && err == nil:
		where = strings.ToLower(parsed.Scheme + "://" + parsed.Host)
	case u.Sandbox != "":
		where = u.Sandbox
	}
	raw, err := json.Marshal([]any{where, u.Env, u.Auth})
	if err != nil { // strings only
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
