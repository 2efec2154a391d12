package config

import (
	"maps"
	"slices"
	"strings"
)

// REST is what an upstream of kind "rest" has besides. One of Connector and
// Definition is set.
type REST struct {
	Connector  string            // name of a definition that is built in
	Definition File              // one of the operator's
	Values     map[string]string // what the definition asks for
}

var restKind = sourceKind{
	name: "rest", where: []string{"connector", "definition", "sandbox"}, also: []string{"url", "values", "allow_http", "auth", "latency"}, sample: "crm",
	hint: `add connector = "NAME", or definition = "FILE.toml" for one of your own`,
}

// texts is a table of strings that are no secrets.
var texts = &kind{"table of strings", decodeTexts, func(*key) object {
	return object{"type": "object", "additionalProperties": object{"type": "string"}}
}}

// restKeys stand in the table of the upstream itself.
var restKeys = []key{
	{name: "connector", kind: text, example: "zendesk",
		doc:   "A REST service that Bulkhead knows: its actions become tools. `kind` may be left out then. What the connector knows of limits and of signing in stands under what is written here. A connector asks for `values` and `auth`; what is missing is said by name.",
		field: func(t target) any { return &t.upstream.REST.Connector }},
	{name: "definition", kind: file, example: "~/bulkhead/tickets.toml",
		doc:   "A file that describes a REST service of your own, in the form that connectors have ([rest.md](rest.md)); it is read again when it changes. With kind `rest`.",
		field: func(t target) any { return &t.upstream.REST.Definition }},
	{name: "values", kind: texts, example: map[string]any{"subdomain": "acme"},
		doc:   "What the connector or definition asks for, such as the name of your account. With kind `rest`.",
		field: func(t target) any { return &t.upstream.REST.Values }},
}

// restSections are the tables below it.
var restSections = []section{}

func decodeTexts(d *decoder, k *key, path string, raw, into any) {
	values, ok := raw.(map[string]any)
	if !ok {
		d.wrong(k, path, "must be a table, not "+describe(raw))
		return
	}
	out := make(map[string]string, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		at := join(path, name)
		v, ok := values[name].(string)
		switch {
		case !ok:
			d.wrong(k, at, "must be a string in quotes, not "+describe(values[name]))
		case secretLiteral(name, v):
			d.fault(at, "looks like a secret, which must not stand in the configuration", "credentials belong in auth")
		case strings.ContainsRune(v, 0):
			d.fault(at, "contains a NUL character", "remove it")
		default:
			out[name] = v
		}
	}
	*into.(*map[string]string) = out
}
