package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const toolSources = ownPrefix + "sources"

const sourcesSchema = `{"type":"object","properties":{"source":{"type":"string",` +
	`"description":"Only this source; leave out for all."}},"additionalProperties":false}`

const readMoreSchema = `{"type":"object","properties":{"handle":{"type":"string",` +
	`"description":"The handle that the truncated answer names."},"page":{"type":"integer","minimum":1,` +
	`"description":"Which page of the rest, from 1. Default 1."}},"required":["handle"],"additionalProperties":false}`

// ownTools are the tools by which a view answers about itself.
type ownTools struct {
	agg  *Aggregate
	view *View
}

func ownToolsOf(a *Aggregate, view upstream.ID) ownTools { return ownTools{a, &View{a, view}} }

// entries returns them for the catalog.
func (o ownTools) entries() []*entry {
	reads := upstream.Traits{ReadOnly: true, Idempotent: true}
	plans := &batches{o.agg.plans, o.view}
	return append(plans.entries(o),
		o.entry(toolReadMore, "Read more", "Reads the rest of an answer that was truncated for its length.",
			readMoreSchema, reads, o.readMore),
		o.entry(toolSources, "Data sources", "Lists every data source behind this server: whether it answers, "+
			"since when, how many tools it has, how busy it is and what its limits leave, what is missing and why, and when it was back; "+
			"summary says it in a sentence. Call it when a source fails.",
			sourcesSchema, reads, o.sources),
	)
}

func (o ownTools) entry(name, title, description, schema string, hints upstream.Traits, h upstream.Handler) *entry {
	t, err := upstream.NewTool("", upstream.ToolSpec{Name: name, Title: title, Description: description, Input: json.RawMessage(schema), Hints: hints})
	if err != nil { // the definition is a constant
		panic("aggregate: " + name + ": " + err.Error())
	}
	return &entry{name: name, thing: &thing{key: name, raw: t.Raw, tool: &t}, handler: ownPipeline(o.agg, h)}
}

// sources answers bulkhead_sources.
func (o ownTools) sources(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
	var args struct {
		Source string `json:"source"`
	}
	if err := arguments(c, &args); err != nil {
		return nil, err
	}
	st := statusFor(c.Principal, o.view, args.Source)
	for _, m := range o.view.members() {
		if args.Source == "" || args.Source == string(m.ID) {
			m.presence.tellSources(c)
		}
	}
	if args.Source == "" {
		st.shorten()
	} else if len(st.Sources) == 0 {
		return nil, &upstream.Error{Tool: c.Name, Kind: upstream.NotFound,
			Public: fmt.Sprintf("there is no source %q; call %s without arguments for all", args.Source, toolSources)}
	}
	return upstream.StructuredResult(st)
}

// readMore answers bulkhead_read_more.
func (o ownTools) readMore(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
	args := struct {
		Handle string `json:"handle"`
		Page   int    `json:"page"`
	}{Page: 1}
	if err := arguments(c, &args); err != nil {
		return nil, err
	}
	r, ok := o.agg.rests.get(args.Handle, c.Principal)
	if !ok {
		return nil, &upstream.Error{Tool: c.Name, Kind: upstream.NotFound,
			Public: "the handle is unknown or has expired; if the original call only reads, make it again"}
	}
	if args.Page < 1 || args.Page > len(r.pages) {
		return nil, &upstream.Error{Tool: c.Name, Kind: upstream.InvalidArguments,
			Public: fmt.Sprintf("page must be from 1 to %d", len(r.pages))}
	}
	page := r.pages[args.Page-1]
	next := "this is the end"
	if args.Page < len(r.pages) {
		next = fmt.Sprintf(`for the next call %s with {"handle":%q,"page":%d}`, toolReadMore, args.Handle, args.Page+1)
	}
	what := ""
	if page.what != "" {
		what = ", " + page.what
	}
	note := fmt.Sprintf("[%s: page %d of %d of the rest%s; %s]", r.owner.source, args.Page, len(r.pages), what, next)
	items := slices.Concat(page.items, []json.RawMessage{textPart(note)}) // pages are shared
	return &upstream.Result{Raw: fmt.Appendf(nil, `{"content":%s}`, array(items)), Marks: upstream.Marks{Notes: 1}}, nil
}

// arguments decodes the arguments of one of our own tools, which the schema
// has already accepted.
func arguments(c *upstream.Call, into any) error {
	if len(c.Arguments) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.Arguments, into); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			err = fmt.Errorf("%s: got %s, want %s", wrong.Field, wrong.Value, wrong.Type)
		}
		return &upstream.Error{Tool: c.Name, Kind: upstream.InvalidArguments, Public: err.Error()}
	}
	return nil
}
