package aggregate

import (
	"maps"
	"slices"
	"strconv"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Hints sets single hints of a tool in place of what its upstream says; nil
// leaves one alone (MCP schema, ToolAnnotations).
type Hints struct {
	ReadOnly, Destructive, Idempotent, OpenWorld *bool
}

// hint is one member of a tool's annotations.
type hint struct {
	name string
	// favourable is the value that a host may read as permission: what it says
	// in the tool's favour, and not what a host assumes where it is absent.
	favourable string
	set        func(Hints) *bool
}

// hints returns every hint that MCP defines.
func hints() []hint {
	return []hint{
		{"readOnlyHint", "true", func(h Hints) *bool { return h.ReadOnly }},
		{"destructiveHint", "false", func(h Hints) *bool { return h.Destructive }},
		{"idempotentHint", "true", func(h Hints) *bool { return h.Idempotent }},
		{"openWorldHint", "false", func(h Hints) *bool { return h.OpenWorld }},
	}
}

// present returns a tool as clients and policy are to see it. t itself, byte
// for byte, unless the member is cautious or sets hints of this tool: hosts
// call in parallel only what says that it reads, and an absent hint is not the
// same to them as one that says no.
func (m Member) present(t *upstream.Tool) *upstream.Tool {
	override, set := m.Override[t.Name]
	if !m.Cautious && !set {
		return t
	}
	before, _ := rawjson.Get(t.Raw, "annotations")
	after := []byte(before)
	if m.Cautious {
		after = cautious(after)
	}
	after, err := override.apply(after)
	if err != nil || string(after) == string(before) { // ParseTool has seen that it is an object
		return t
	}
	raw, err := rawjson.Set(t.Raw, "annotations", after)
	if err != nil {
		return t
	}
	parsed, err := upstream.ParseTool(t.Upstream, raw)
	if err != nil {
		return t
	}
	shown := *t
	shown.Raw, shown.Hints, shown.HasHints = parsed.Raw, parsed.Hints, parsed.HasHints
	return &shown
}

// cautious removes every hint that speaks in the tool's favour. What speaks
// against it stays, and so does what MCP does not define.
func cautious(annotations []byte) []byte {
	var remove []string
	for _, h := range hints() {
		if v, _ := rawjson.Get(annotations, h.name); string(v) == h.favourable {
			remove = append(remove, h.name)
		}
	}
	return rawjson.Delete(annotations, remove...)
}

// apply puts the hints that are set into annotations, which are nil where the
// tool has none.
func (h Hints) apply(annotations []byte) ([]byte, error) {
	for _, one := range hints() {
		v := one.set(h)
		if v == nil {
			continue
		}
		if annotations == nil {
			annotations = []byte("{}")
		}
		var err error
		if annotations, err = rawjson.Set(annotations, one.name, strconv.AppendBool(nil, *v)); err != nil {
			return nil, err
		}
	}
	return annotations, nil
}

// Strays returns the names of overrides that name no tool of their upstream,
// sorted, by upstream; of one that has not listed its tools nothing is known.
func Strays(a *Aggregate) map[upstream.ID][]string {
	out := make(map[upstream.ID][]string)
	for _, m := range a.members() {
		l := m.contents(upstream.Tools)
		if l == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(m.Override)) {
			if !slices.ContainsFunc(l.all, func(t thing) bool { return t.key == name }) {
				out[m.ID] = append(out[m.ID], name)
			}
		}
	}
	return out
}
