package aggregate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/internal/near"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// requiring finds the names under which clients know the tools whose output
// others need (Member.Requires): in the same order, "" for one that is not
// offered. The descriptions of those others then begin with these names.
func requiring(entries []*entry) {
	type own struct {
		m   *member
		key string
	}
	names := make(map[own]string)
	for _, e := range entries {
		if len(e.m.Requires) > 0 {
			names[own{e.m, e.key}] = e.name
		}
	}
	for _, e := range entries {
		var known []string
		for _, need := range e.m.Requires[e.key] {
			name := names[own{e.m, need}]
			if e.needs = append(e.needs, name); name != "" {
				known = append(known, name)
			}
		}
		if known != nil {
			e.thing = e.after(known)
		}
	}
}

// after returns a tool whose description begins with those whose output it needs.
func (t *thing) after(names []string) *thing {
	description, _ := rawjson.GetString(t.raw, "description")
	text := strings.TrimSpace("REQUIRES: output of " + strings.Join(names, ", ") + ". " + description)
	raw, err := rawjson.Set(t.raw, "description", rawjson.Quote(text))
	if err != nil { // ParseTool has seen that it is an object
		return t
	}
	shown := *t
	shown.raw = raw
	return &shown
}

// Unmet says which tools can be in no plan because they require one that their
// upstream does not offer: a sentence for each such requirement, in the order of
// the tools. Of an upstream that has not listed its tools nothing is known.
func Unmet(a *Aggregate, id upstream.ID) []string {
	m, l := listedBy(a, id)
	has := func(things []thing, key string) bool {
		return slices.ContainsFunc(things, func(t thing) bool { return t.key == key })
	}
	var out []string
	for _, t := range l.offered {
		for _, need := range m.Requires[t.key] {
			if has(l.offered, need) {
				continue
			}
			why, hint := "tools.allow or tools.deny leaves out", ""
			if !has(l.all, need) {
				why = "is none of its tools"
				if meant := near.Name(need, keysBut(l.offered, t.key)); meant != "" {
					hint = "; did you mean " + meant + "?"
				}
			}
			out = append(out, fmt.Sprintf("tools.override.%s.requires names %q, which %s: no plan can have %s%s", t.key, need, why, t.key, hint))
		}
	}
	return out
}

// keysBut returns what things go by, one excepted.
func keysBut(things []thing, but string) []string {
	var out []string
	for _, t := range things {
		if t.key != but {
			out = append(out, t.key)
		}
	}
	return out
}
