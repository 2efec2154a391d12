package config

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

var cacheSection = section{
	path: "upstream.*.cache",
	doc:  "What of the source's answers is kept, and for how long. Only answers of what is known to change nothing are: of prompts, resources and completions, and of tools that are said to only read by `tools.override` or, with `trust_annotations`, by the source. Errors are not, nor are GraphQL answers with gaps and answers for which the source has asked the client something. Every call of another tool drops all that is kept of the source, and so does its word of a change. Each user is answered from their own calls, unless an MCP server says that an answer is for everybody. What is answered from memory says so, with its age, in `_meta`.",
	keys: []key{
		{name: "ttl", kind: maybe, example: "30s", least: 0, most: 24 * hour,
			doc:   "How long an answer is given again. Left out, it is as long as an MCP server of revision 2026-07-28 says of each resource that it is good (at most a day), and no other answer is kept. `0s` keeps nothing.",
			field: func(t target) any { return &t.upstream.Cache.TTL }},
		{name: "stale", kind: duration, def: "0s", example: "5m", least: 0, most: 24 * hour,
			doc:   "How much longer it may be given while it is read anew in the background, and while the source cannot be reached or is asked too much. The model is told its age, and why there is no newer one.",
			field: func(t target) any { return &t.upstream.Cache.Stale }},
	},
}

var cacheSize = key{name: "cache_size", kind: size, def: "64MiB", example: "256MiB", least: 1 << 20, most: 64 << 30,
	doc:   "How much memory the kept answers of all sources take together, see `upstream.*.cache`. When it is full, the source that takes most loses its oldest; an answer of more than a quarter is not kept.",
	field: func(t target) any { return &t.server.CacheSize }}

var toolTTL = key{name: "ttl", kind: maybe, example: "10m", least: 0, most: 24 * hour,
	doc:   "How long its answers are kept, in place of `cache.ttl`; `0s` is not at all. Only for a tool that is said to only read.",
	field: func(t target) any { return &t.tool.TTL }}

// maybe is a duration that may be left out.
var maybe = &kind{"duration", optionally[time.Duration](decodeDuration), duration.schema}

// checkCache refuses to keep what may be the answer to a write, and what has no
// effect.
func (d *decoder) checkCache(at string, u *Upstream) {
	keeps := func(ttl *time.Duration) bool { return ttl != nil && *ttl > 0 }
	some := u.Cache.TTL == nil || keeps(u.Cache.TTL)
	for _, name := range slices.Sorted(maps.Keys(u.Tools.Override)) {
		o := u.Tools.Override[name]
		if !keeps(o.TTL) {
			continue
		}
		some = true
		path := join(at+".tools.override", name)
		switch {
		case o.ReadOnly != nil && !*o.ReadOnly:
			d.fault(join(path, "ttl"), "is set for a tool that is said to change something, whose answers are never kept", "remove ttl or read_only = false")
		case o.ReadOnly == nil && !u.TrustAnnotations:
			d.fault(join(path, "ttl"), "is set for a tool that is not said to only read: answers of others are never kept",
				fmt.Sprintf("add %s.read_only = true if it changes nothing, or %s.trust_annotations = true if the source is to be believed", path, at))
		}
	}
	if u.Cache.Stale > 0 && !some {
		d.fault(join(join(at, "cache"), "stale"), "has no effect, because nothing is kept", "remove it, or set cache.ttl to more than 0s")
	}
}
