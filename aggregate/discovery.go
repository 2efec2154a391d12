package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/aggregate/search"
	"github.com/bulkhead-mcp/bulkhead/internal/near"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Discovery is how clients get to know the tools.
type Discovery string

// The ways of getting to know the tools.
const (
	// DiscoverAuto is DiscoverSearch where there are more than [ManyTools], more
	// than the budget of the list, or more than the connected host is known to
	// take; else DiscoverList.
	DiscoverAuto   Discovery = "auto"
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

// finderSpecs define the tools by which others are found and called.
func finderSpecs() []upstream.ToolSpec {
	return []upstream.ToolSpec{
		{
			Name: toolCall, Title: "Call a tool", Description: "Calls a tool that " + toolFind + " has found, as if it were listed.",
			Input: json.RawMessage(callSchema), Hints: upstream.Traits{Destructive: true},
		},
		{
			Name: toolFind, Title: "Find tools", Description: "Finds tools of all sources by what they do, the best first, with their arguments. " +
				"Tools that are not listed are there all the same: look for them with this, then call them with " + toolCall + " or in a plan of " + toolBatch + ".",
			Input: json.RawMessage(findSchema), Hints: upstream.Traits{ReadOnly: true, Idempotent: true},
		},
	}
}

// finders returns them for the catalog.
func (o ownTools) finders() []*entry {
	return []*entry{
		ownEntry(toolCall, ownPipeline(o.agg, o.misdirected)),
		ownEntry(toolFind, ownPipeline(o.agg, o.find)),
	}
}

// searched reports whether so many tools are to be looked for where budget of
// them may be listed; 0 is no budget.
func (d Discovery) searched(tools, budget int) bool {
	return d == DiscoverSearch || d != DiscoverList && (tools > ManyTools || budget > 0 && tools > budget)
}

// searcher finds the tools of a listing. Its index is made when somebody asks.
type searcher struct {
	entries []*entry
	index   func() *search.Index
}

func newSearcher(entries []*entry) *searcher {
	return &searcher{entries, sync.OnceValue(func() *search.Index {
		docs := make([]search.Doc, len(entries))
		for i, e := range entries {
			docs[i] = described(e)
		}
		return search.New(docs)
	})}
}

// maxDetails is how much is known to the search of the arguments of one tool, in
// bytes.
const maxDetails = 2 << 10

// described is what the search knows of a tool.
func described(e *entry) search.Doc {
	d := search.Doc{Name: e.name, Title: e.tool.Title}
	d.Description, _ = rawjson.GetString(e.raw, "description")
	var details strings.Builder
	for m := range rawjson.Members(properties(e.tool)) {
		d.Arguments = append(d.Arguments, m.Name)
		if details.Len() > maxDetails {
			continue
		}
		text, _ := rawjson.GetString(m.Value, "description")
		details.WriteString(text[:min(len(text), maxDetails)] + "\n")
		enum, _ := rawjson.Get(m.Value, "enum")
		for v := range rawjson.Elements(enum) {
			if details.Len() > maxDetails {
				break
			}
			details.WriteString(rawjson.String(v) + "\n")
		}
	}
	d.Details = details.String()
	switch {
	case e.tool.Hints.ReadOnly:
		d.Effect = search.Reads
	case e.tool.HasHints:
		d.Effect = search.Writes
	}
	return d
}

func properties(t *upstream.Tool) json.RawMessage {
	schema, _ := rawjson.Get(t.Raw, "inputSchema")
	p, _ := rawjson.Get(schema, "properties")
	return p
}

// whereToLook says to the model that there are more tools than are listed, "" if
// no host lists fewer than all.
func (s *listing) whereToLook() string {
	const look = " Look for tools with " + toolFind + " and call them with " + toolCall + " or in a plan."
	switch {
	case s.found:
		return " Most of its tools are not listed." + look
	case s.short != nil && slices.ContainsFunc(knownHosts, func(h Host) bool { return h.refuses(len(s.entries)) }):
		return " Some hosts do not list all of its tools." + look
	}
	return ""
}

// maxSuggested is how many names are proposed for one that is not known.
const maxSuggested = 3

// suggest proposes names for one that is not known: those that it may be a
// misspelling of, else tools that are about what it says.
func (o *offer) suggest(l upstream.List, name string) (names []string) {
	list := o.list(l)
	if len(o.members) == 1 { // which may be alone here, while the name is one among all
		if own, cut := strings.CutPrefix(name, o.members[0].Prefix+"_"); cut && list.index[own] != nil {
			return []string{own}
		} else if cut {
			names = near.Names(own, list.names(), maxSuggested)
		}
	}
	if names == nil {
		names = near.Names(name, list.names(), maxSuggested)
	}
	if names != nil || list.searcher == nil {
		return names
	}
	hits, _ := list.searcher.index().Search(name, nil, maxSuggested)
	for _, h := range hits {
		names = append(names, list.searcher.entries[h.Doc].name)
	}
	return names
}

// misdirected answers a bulkhead_call that [View.CallTool] has not carried out
// as a call of the tool that it names.
func (o ownTools) misdirected(context.Context, *upstream.Call) (*upstream.Result, error) {
	return nil, &upstream.Error{Tool: toolCall, Kind: upstream.InvalidArguments, Err: errArguments,
		Public: "arguments.tool is this tool itself; name a tool that " + toolFind + " has found"}
}

var errMisdirected = errors.New("it names no other tool")

// directed returns the params of the call that a call of bulkhead_call stands
// for. Whatever else is in them belongs to that call. It fails where the
// arguments are not what the schema says, which then has to say so.
func directed(params, arguments json.RawMessage) (json.RawMessage, error) {
	var tool json.RawMessage
	inner := json.RawMessage("{}")
	for m := range rawjson.Members(arguments) {
		switch {
		case m.Name == "tool":
			tool = m.Value
		case m.Name == "arguments" && rawjson.Kind(m.Value) == '{':
			inner = m.Value
		default:
			return nil, errMisdirected
		}
	}
	if rawjson.Kind(tool) != '"' || rawjson.String(tool) == toolCall {
		return nil, errMisdirected
	}
	params, err := rawjson.Set(params, "name", tool)
	if err != nil {
		return nil, err
	}
	return rawjson.Set(params, "arguments", inner)
}
