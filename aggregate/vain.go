package aggregate

import (
	"maps"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Unmatched returns which of patterns match none of the tools of an upstream, by
// its own names. Of an upstream that has not listed its tools nothing is known.
func Unmatched(a *Aggregate, id upstream.ID, patterns []string) []string {
	m, l := listedBy(a, id)
	if m == nil {
		return nil
	}
	names := make([]string, len(l.all))
	for i, t := range l.all {
		names[i] = t.key
	}
	return vain(patterns, names)
}

// UnmatchedPins returns which of Options.Pinned match no tool by the name that
// clients know. As long as some upstream has not listed its tools nothing is known.
func UnmatchedPins(a *Aggregate) []string {
	all := a.snap.Load().all.list(upstream.Tools)
	if !all.complete {
		return nil
	}
	return vain(a.opt.Pinned, slices.Collect(maps.Keys(all.index)))
}

// vain returns the patterns that match none of names.
func vain(patterns, names []string) (out []string) {
	for _, p := range patterns {
		if !slices.ContainsFunc(names, func(name string) bool { return Match(p, name) }) {
			out = append(out, p)
		}
	}
	return out
}
