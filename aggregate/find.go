package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The bounds of an answer of bulkhead_find_tools, in bytes. It says everything
// twice, see [upstream.StructuredResult].
const (
	maxFound       = 12 << 10 // all tools together
	maxDescription = 300      // of one
	maxSignature   = 1500     // of one
	maxMissing     = 10       // sources that are named as missing
)

// found is the answer of bulkhead_find_tools.
type found struct {
	Tools []foundTool `json:"tools"` // best first
	// More is how many others have some of the words.
	More int `json:"more,omitempty"`
	// Missing are sources whose tools are not known yet.
	Missing []missingTools `json:"missing,omitempty"`
	Note    string         `json:"note,omitempty"`
}

// foundTool is a tool as the model reads of it.
type foundTool struct {
	Name        string      `json:"name"`
	Source      upstream.ID `json:"source"`
	Description string      `json:"description,omitempty"`
	Arguments   string      `json:"arguments"` // see [signature]
	Reads       bool        `json:"reads"`     // it is known to change nothing
	// Away is why the source cannot be used at the moment; "" if it can.
	Away Absence `json:"away,omitempty"`
}

type missingTools struct {
	Source upstream.ID `json:"source"`
	Why    string      `json:"why"`
}

// find answers bulkhead_find_tools.
func (o ownTools) find(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	args := struct {
		Query, Source string
		Limit         integer
	}{Limit: 8}
	if err := arguments(c, &args); err != nil {
		return nil, err
	}
	v := o.view
	v.await(ctx, upstream.Tools, c.Principal)
	offer := v.offer()
	source := upstream.ID(args.Source)
	if source != "" && memberCalled(offer.members, source) == nil {
		return nil, unknownSource(c, args.Source)
	}
	s := offer.list(upstream.Tools).searcher
	hits, fit := s.index().Search(args.Query, func(doc int) bool {
		return source == "" || s.entries[doc].m.ID == source
	}, int(args.Limit))
	out := found{Tools: []foundTool{}}
	size := 0
	for _, hit := range hits {
		tool := s.entries[hit.Doc].found(c)
		if size += len(tool.Name) + len(tool.Description) + len(tool.Arguments); size > maxFound && len(out.Tools) > 0 {
			break
		}
		out.Tools = append(out.Tools, tool)
	}
	out.More = fit - len(out.Tools)
	out.missing(offer, c, source)
	out.note(len(s.entries))
	return upstream.StructuredResult(out)
}

func unknownSource(c *upstream.Call, name string) error {
	return &upstream.Error{Tool: c.Name, Kind: upstream.NotFound,
		Public: fmt.Sprintf("there is no source %q; leave source out to look for tools in all, or call %s for their names", Printable(name, 200), toolSources)}
}

// found is what a model is told of a tool.
func (e *entry) found(c *upstream.Call) foundTool {
	away := e.m.presence.awayFor(c.Principal)
	if away != "" {
		e.m.presence.tellSources(c)
	}
	description, _ := rawjson.GetString(e.raw, "description")
	if description == "" {
		description = e.tool.Title
	}
	return foundTool{
		Name: e.name, Source: e.m.ID, Description: Printable(strings.Join(strings.Fields(description), " "), maxDescription),
		Arguments: Printable(signature(e.tool), maxSignature), Reads: e.tool.Hints.ReadOnly, Away: away,
	}
}

// awayFor says why a user cannot use the source at the moment, as far as it is
// known; "" if he can.
func (s *presence) awayFor(p upstream.Principal) Absence {
	why, _ := s.away()
	if why == "" && s.m.Users != nil && p.Valid() && s.m.signIn(p).wanting() {
		return AwayLogin
	}
	return why
}

// missing adds the sources whose tools are not known yet.
func (f *found) missing(o *offer, c *upstream.Call, only upstream.ID) {
	for _, m := range o.members {
		if only != "" && m.ID != only || m.contents(upstream.Tools) != nil {
			continue
		}
		m.presence.tellSources(c)
		if f.Missing = append(f.Missing, missingTools{m.ID, Printable(m.status(c.Principal).Summary, maxText)}); len(f.Missing) == maxMissing {
			return
		}
	}
}

// note says what is to be done where that is not plain.
func (f *found) note(tools int) {
	var notes []string
	switch {
	case len(f.Tools) == 0:
		notes = append(notes, fmt.Sprintf("none of the %d tools has one of these words; say in others what is to be done, or call %s for the sources there are", tools, toolSources))
	case f.More > 0:
		notes = append(notes, fmt.Sprintf("%d more have some of the words; to see others, use more exact words, a source, or a greater limit", f.More))
	}
	if len(f.Missing) > 0 {
		notes = append(notes, "tools of the sources under missing cannot be found yet")
	}
	f.Note = strings.Join(notes, ". ")
}

// maxNesting is how deep a signature tells of objects in objects.
const maxNesting = 3

// signature says in a line which arguments a tool takes, e.g. "query: string,
// limit?: integer, sort?: \"asc\"|\"desc\", by?: {name: string}[]". Those with a
// question mark may be left out; they come last.
func signature(t *upstream.Tool) string {
	schema, _ := rawjson.Get(t.Raw, "inputSchema")
	return strings.Join(members(schema, maxNesting), ", ")
}

// members says what the properties of an object are, those first that are needed:
// so many as a signature has room for, and one more.
func members(schema json.RawMessage, depth int) (out []string) {
	required, _ := rawjson.Get(schema, "required")
	needed := make(map[string]bool)
	for e := range rawjson.Elements(required) {
		needed[rawjson.String(e)] = true
	}
	p, _ := rawjson.Get(schema, "properties")
	size := 0
	add := func(must bool, sign string) {
		for m := range rawjson.Members(p) {
			if size > maxSignature {
				return
			}
			if needed[m.Name] == must {
				out = append(out, m.Name+sign+typeOf(m.Value, depth))
				size += len(out[len(out)-1])
			}
		}
	}
	add(true, ": ")
	add(false, "?: ")
	return out
}

// maxValues is how much of the values of an enumeration is told, in bytes.
const maxValues = 200

// typeOf names what a schema takes: its values where they are few, its properties
// where they are known. What it says by references is not looked at.
func typeOf(schema json.RawMessage, depth int) string {
	if value, ok := rawjson.Get(schema, "const"); ok && len(value) <= maxValues {
		return string(value)
	}
	if enum, ok := rawjson.Get(schema, "enum"); ok && len(enum) <= maxValues {
		return alternatives(enum, func(v json.RawMessage) string { return string(v) })
	}
	for _, member := range []string{"anyOf", "oneOf"} {
		if of, ok := rawjson.Get(schema, member); ok && depth > 0 {
			return alternatives(of, func(v json.RawMessage) string { return typeOf(v, depth-1) })
		}
	}
	typ, _ := rawjson.Get(schema, "type")
	switch {
	case rawjson.Kind(typ) == '[':
		return alternatives(typ, func(v json.RawMessage) string { return rawjson.String(v) })
	case rawjson.Kind(typ) != '"':
		return "any"
	}
	switch name := rawjson.String(typ); name {
	case "array":
		of := "any"
		if items, ok := rawjson.Get(schema, "items"); ok && depth > 0 {
			of = typeOf(items, depth-1)
		}
		if strings.Contains(of, "|") {
			of = "(" + of + ")"
		}
		return of + "[]"
	case "object":
		if depth > 0 {
			if of := members(schema, depth-1); len(of) > 0 {
				return "{" + strings.Join(of, ", ") + "}"
			}
		}
		return name
	default:
		return name
	}
}

// alternatives names each of a list once: so many as a signature has room for, and
// one more.
func alternatives(list json.RawMessage, name func(json.RawMessage) string) string {
	var out []string
	size, seen := 0, make(map[string]bool)
	for v := range rawjson.Elements(list) {
		if size > maxSignature {
			break
		}
		if n := name(v); !seen[n] {
			seen[n] = true
			out, size = append(out, n), size+len(n)+1
		}
	}
	return strings.Join(out, "|")
}
