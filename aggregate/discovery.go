package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/aggregate/search"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Discovery is how clients get to know the tools.
type Discovery string

// The ways of getting to know the tools.
const (
	DiscoverAuto   Discovery = "auto"   // by a search where there are more than [ManyTools], else by the list
	DiscoverList   Discovery = "list"   // all are listed
	DiscoverSearch Discovery = "search" // ours and pinned ones are listed, the others found
)

// ManyTools is how many a list has at most that no host is known to fail at.
const ManyTools = 1000

// The tools that are there where not all tools are listed.
const (
	toolFind = ownPrefix + "find_tools"
	toolCall = ownPrefix + "call"
)

const findSchema = `{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":1000,` +
	`"description":"What is to be done, in a few words."},"source":{"type":"string","description":"Only tools of this source."},` +
	`"limit":{"type":"integer","minimum":1,"maximum":50,"description":"How many at most. Default 8."}},"required":["query"],"additionalProperties":false}`

const callSchema = `{"type":"object","properties":{"tool":{"type":"string","description":"The name of the tool."},` +
	`"arguments":{"type":"object","description":"Its arguments."}},"required":["tool"],"additionalProperties":false}`

// finders are the tools by which others are found and called.
func (o ownTools) finders() []*entry {
	return []*entry{
		o.entry(toolCall, "Call a tool", "Calls a tool that "+toolFind+" has found, as if it were listed.",
			callSchema, upstream.Traits{Destructive: true}, o.misdirected),
		o.entry(toolFind, "Find tools", "Finds tools of all sources by what they do, the best first, with their arguments. "+
			"Most tools here are not listed: look for them with this, then call them with "+toolCall+" or in a plan of "+toolBatch+".",
			findSchema, upstream.Traits{ReadOnly: true, Idempotent: true}, o.find),
	}
}

// searched reports whether so many tools are to be looked for.
func (d Discovery) searched(tools int) bool {
	return d == DiscoverSearch || d != DiscoverList && tools > ManyTools
}

// searcher finds the tools of a listing.
type searcher struct {
	entries []*entry
	index   func() *search.Index
}

func newSearcher(entries []*entry) *searcher {
	return &searcher{entries, sync.OnceValue(func() *search.Index {
		docs := make([]search.Doc, len(entries))
		for i, e := range entries {
			docs[i] = search.Doc{Name: e.name, Title: e.tool.Title}
			docs[i].Description, _ = rawjson.GetString(e.tool.Raw, "description")
			for m := range rawjson.Members(properties(e.tool)) {
				docs[i].Arguments = append(docs[i].Arguments, m.Name)
			}
		}
		return search.New(docs)
	})}
}

func properties(t *upstream.Tool) json.RawMessage {
	schema, _ := rawjson.Get(t.Raw, "inputSchema")
	p, _ := rawjson.Get(schema, "properties")
	return p
}

// foundTool is a tool as the model reads of it.
type foundTool struct {
	Name        string      `json:"name"`
	Source      upstream.ID `json:"source"`
	Description string      `json:"description,omitempty"`
	Arguments   string      `json:"arguments"` // e.g. "query: string, limit?: integer"
	Reads       bool        `json:"reads"`
}

// maxFound is how much of a description is told, in bytes.
const maxFound = 400

// find answers bulkhead_find_tools.
func (o ownTools) find(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
	args := struct {
		Query, Source string
		Limit         int
	}{Limit: 8}
	if err := arguments(c, &args); err != nil {
		return nil, err
	}
	f := (&View{agg: o.agg}).offer().list(upstream.Tools).searcher
	if f == nil { // all are listed by now
		f = newSearcher(nil)
	}
	out := struct {
		Tools []foundTool `json:"tools"`
		Note  string      `json:"note,omitempty"`
	}{Tools: []foundTool{}}
	for _, hit := range f.index().Search(args.Query, len(f.entries)) {
		e := f.entries[hit.Doc]
		if args.Source != "" && args.Source != string(e.tool.Upstream) {
			continue
		}
		if len(out.Tools) == args.Limit {
			break
		}
		description, _ := rawjson.GetString(e.tool.Raw, "description")
		out.Tools = append(out.Tools, foundTool{e.name, e.tool.Upstream, Printable(description, maxFound), signature(e.tool), e.tool.Hints.ReadOnly})
	}
	if len(out.Tools) == 0 {
		out.Note = fmt.Sprintf("none of the %d tools has one of these words; try others, or look at %s for the sources there are", len(f.entries), toolSources)
	}
	return upstream.StructuredResult(out)
}

// signature says in a line which arguments a tool takes; those with a question
// mark may be left out.
func signature(t *upstream.Tool) string {
	schema, _ := rawjson.Get(t.Raw, "inputSchema")
	required, _ := rawjson.Get(schema, "required")
	var needed []string
	for e := range rawjson.Elements(required) {
		needed = append(needed, rawjson.String(e))
	}
	var out []string
	for m := range rawjson.Members(properties(t)) {
		name := m.Name
		if !slices.Contains(needed, name) {
			name += "?"
		}
		out = append(out, Printable(name, 100)+": "+typeOf(m.Value))
	}
	return strings.Join(out, ", ")
}

// typeOf names what a schema takes, its values where they are few.
func typeOf(schema json.RawMessage) string {
	if enum, ok := rawjson.Get(schema, "enum"); ok && len(enum) <= 200 {
		var values []string
		for e := range rawjson.Elements(enum) {
			values = append(values, string(e))
		}
		return Printable(strings.Join(values, "|"), 200)
	}
	typ, _ := rawjson.Get(schema, "type")
	switch {
	case rawjson.Kind(typ) == '"' && rawjson.String(typ) == "array":
		items, _ := rawjson.Get(schema, "items")
		return typeOf(items) + "[]"
	case rawjson.Kind(typ) == '"':
		return Printable(rawjson.String(typ), 40)
	}
	return "any"
}

// misdirected answers a bulkhead_call that [View.CallTool] has not carried out
// as a call of the tool that it names.
func (o ownTools) misdirected(context.Context, *upstream.Call) (*upstream.Result, error) {
	return nil, &upstream.Error{Tool: toolCall, Kind: upstream.InvalidArguments, Err: errArguments,
		Public: "arguments.tool is missing, or is this tool itself; name a tool that " + toolFind + " has found"}
}

var errMisdirected = errors.New("it names no other tool")

// directed returns the params of the call that a call of bulkhead_call stands
// for.
func directed(params, arguments json.RawMessage) (json.RawMessage, error) {
	tool, _ := rawjson.Get(arguments, "tool")
	if rawjson.Kind(tool) != '"' || rawjson.String(tool) == toolCall {
		return nil, errMisdirected
	}
	inner, ok := rawjson.Get(arguments, "arguments")
	if !ok {
		inner = json.RawMessage("{}")
	}
	params, err := rawjson.Set(params, "name", tool)
	if err != nil {
		return nil, err
	}
	return rawjson.Set(params, "arguments", inner)
}
