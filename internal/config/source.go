package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// sourceKind is a kind of upstream: which keys say where the source is, and
// which others belong to it. Keys that no kind has here are everybody's.
type sourceKind struct {
	name  string
	where []string // exactly one of them
	with  []string // all of them
	also  []string
	hint  string // how it may be said where the source is
	// sample is the one sample source that the kind has; "" is all or none.
	sample string
}

var sourceKinds = []sourceKind{
	{
		name: "mcp", where: []string{"command", "url", "sandbox"}, also: []string{"latency", "env", "dir", "allow_http", "era", "ask", "auth"},
		hint: `add one of command = ["..."], url = "https://..." or sandbox = "crm"`,
	},
	restKind, openapiKind, graphqlKind, sqlKind,
}

func (k *sourceKind) has(name string) bool {
	return slices.Contains(k.where, name) || slices.Contains(k.with, name) || slices.Contains(k.also, name)
}

func kindNames() []string {
	out := make([]string, len(sourceKinds))
	for i := range sourceKinds {
		out[i] = sourceKinds[i].name
	}
	return out
}

// checkSource applies the rules of the kind. It returns the key that says where
// the source is, "" if that is not clear.
func checkSource(d *decoder, at string, u *Upstream) string {
	i := slices.IndexFunc(sourceKinds, func(k sourceKind) bool { return k.name == u.Kind })
	if i < 0 || faulty(d, join(at, "kind")) { // which is not known then
		return ""
	}
	kind := &sourceKinds[i]
	given := func(name string) bool { return d.given[join(at, name)] }
	for _, name := range slices.Sorted(maps.Keys(kindKeys())) {
		if given(name) && !kind.has(name) && !(name == "auth" && u.Auth.Type == "none") {
			d.fault(join(at, name), "does not belong to an upstream of kind "+strconv.Quote(kind.name), "remove it")
		}
	}
	for _, name := range kind.with {
		if !given(name) {
			missing(d, join(at, name), "", "an upstream of kind "+strconv.Quote(kind.name)+" needs it")
		}
	}
	if u.Sandbox != "" && kind.sample != "" && u.Sandbox != kind.sample {
		d.fault(join(at, "sandbox"), "is no sample source of kind "+strconv.Quote(kind.name), "take "+strconv.Quote(kind.sample)+", or leave out kind")
	}
	where := slices.DeleteFunc(slices.Clone(kind.where), func(s string) bool { return !given(s) })
	switch len(where) {
	case 0:
		d.fault(at, "says nowhere where the source is", kind.hint)
		return ""
	case 1:
		return where[0]
	}
	d.fault(at, strings.Join(where, " and ")+" exclude each other", "keep one; make the other an upstream of its own")
	return ""
}

// kindKeys returns the keys that belong to some kind.
func kindKeys() map[string]bool {
	out := map[string]bool{}
	for i := range sourceKinds {
		for _, name := range slices.Concat(sourceKinds[i].where, sourceKinds[i].with, sourceKinds[i].also) {
			out[name] = true
		}
	}
	return out
}

// sourceRules describes the rules of the kinds to editors.
func sourceRules() []any {
	dependent := object{}
	for _, n := range needs {
		if n.key != "auth" { // type "none" may stand anywhere
			dependent[n.key] = []any{n.with}
		}
	}
	var rules []any
	for i := range sourceKinds {
		kind := &sourceKinds[i]
		var where []any
		for _, name := range kind.where {
			where = append(where, object{"required": []any{name}})
		}
		then := object{"oneOf": where}
		if kind.with != nil {
			then["required"] = kind.with
		}
		when := object{"properties": object{"kind": object{"const": kind.name}}, "required": []any{"kind"}}
		if kind.name == "mcp" { // which it is where nothing says otherwise
			then["dependentRequired"] = dependent
			when = object{"properties": object{"kind": object{"const": kind.name}}, "not": object{"required": []any{"connector"}}}
		}
		rules = append(rules, object{"if": when, "then": then})
	}
	return rules
}
