package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"

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

// ownSpecs define these tools, but for those that have files of their own.
func ownSpecs() []upstream.ToolSpec {
	reads := upstream.Traits{ReadOnly: true, Idempotent: true}
	return []upstream.ToolSpec{
		{
			Name: toolReadMore, Title: "Read more", Description: "Reads the rest of an answer that was truncated for its length.",
			Input: json.RawMessage(readMoreSchema), Hints: reads,
		},
		{
			Name: toolSources, Title: "Data sources", Description: "Lists every data source behind this server: whether it answers, " +
				"since when, how many tools it has, how busy it is and what its limits leave, what is missing and why, and when it was back; " +
				"summary says it in a sentence. Call it when a source fails.",
			Input: json.RawMessage(sourcesSchema), Hints: reads,
		},
	}
}

// ownThings are the definitions of all our own tools, by name. They are made once,
// because every view has the same.
var ownThings = sync.OnceValue(func() map[string]*thing {
	out := make(map[string]*thing)
	for _, s := range slices.Concat(batchSpecs(), ownSpecs(), finderSpecs()) {
		t, err := upstream.NewTool("", s)
		if err != nil { // the definition is a constant
			panic("aggregate: " + s.Name + ": " + err.Error())
		}
		out[s.Name] = &thing{key: s.Name, raw: t.Raw, tool: &t}
	}
	return out
})

// entries returns them for the catalog.
func (o ownTools) entries() []*entry {
	plans := &batches{o.agg.plans, o.view}
	return []*entry{
		ownEntry(toolBatch, batchPipeline(o.agg, plans.handler(false))),
		ownEntry(toolBatchRead, batchPipeline(o.agg, plans.handler(true))),
		ownEntry(toolReadMore, ownPipeline(o.agg, o.readMore)),
		ownEntry(toolSources, ownPipeline(o.agg, o.sources)),
	}
}

func ownEntry(name string, h upstream.Handler) *entry {
	return &entry{name: name, thing: ownThings()[name], handler: h}
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
		Handle string  `json:"handle"`
		Page   integer `json:"page"`
	}{Page: 1}
	if err := arguments(c, &args); err != nil {
		return nil, err
	}
	r, ok := o.agg.rests.get(args.Handle, c.Principal)
	if !ok {
		return nil, &upstream.Error{Tool: c.Name, Kind: upstream.NotFound,
			Public: "the handle is unknown or has expired; if the original call only reads, make it again"}
	}
	if args.Page < 1 || int(args.Page) > len(r.pages) {
		return nil, &upstream.Error{Tool: c.Name, Kind: upstream.InvalidArguments,
			Public: fmt.Sprintf("page must be from 1 to %d", len(r.pages))}
	}
	page := r.pages[args.Page-1]
	next := "this is the end"
	if int(args.Page) < len(r.pages) {
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

// integer is a number without a fraction, however it is written: 2.0 is one to
// JSON Schema (2020-12, validation, section 6.1.1). One that is too large is the
// largest.
type integer int

// UnmarshalJSON implements json.Unmarshaler.
func (w *integer) UnmarshalJSON(raw []byte) error {
	n, err := strconv.ParseFloat(string(raw), 64)
	if n != math.Trunc(n) || err != nil && !errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%.40s is no whole number", raw)
	}
	*w = integer(max(math.MinInt32, min(n, math.MaxInt32)))
	return nil
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
