// Package demo shows what Bulkhead is for: it asks three sources about one
// customer, first one by one and then at once, and draws both.
//
// Job: the plan of the question ([Run]), the measurements and the facts in the
// answers ([Report]), and their rendering as text and JSON. It owns the names
// of the tools it calls and the members of the results it reads. It must not
// know how calls are carried out or who starts the sources; it is given a
// [Caller].
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// DefaultCustomer is whom the demo asks about; the sandbox has that name.
const DefaultCustomer = "Tarnwick Freight"

const findTool = "crm_find_customers"

// plan is the question: the tools of each source, and what each is told of the
// customer.
var plan = [...]struct{ source, tool, by string }{
	{"crm", "get_customer", byID},
	{"warehouse", "recent_orders", byID},
	{"tickets", "open_tickets", byID},
	{"tickets", "search_tickets", byName},
}

// The arguments that say which customer is meant.
const (
	byID   = "customer_id"
	byName = "query"
)

// Caller runs one tool and returns the MCP result object. It must return when
// ctx ends.
type Caller func(ctx context.Context, tool string, arguments any) (json.RawMessage, error)

// Options adjusts the question.
type Options struct {
	Customer string  // a name or part of one; "" means DefaultCustomer
	SignIn   *SignIn // nil if no source demands tokens
	// Definitions is the list of tools that a model would read at each turn, to
	// count what both ways cost it; nil counts nothing.
	Definitions json.RawMessage
}

// SignIn tells of the tokens that one source demands. With it the calls at once
// begin when the token of those before has ended, so that they have to share a
// new one.
type SignIn struct {
	Source string
	Issued func() int                  // tokens that were given out so far
	Ended  func(context.Context) error // returns when the token in use has ended; the error is that of a context that ended before
}

// Report is what was asked, how long it took both ways, and the answer.
type Report struct {
	Question   string
	Customer   string // the name as the CRM has it
	CustomerID string
	Serial     Pass   // one call after another
	Parallel   Pass   // all calls at once
	TokensOf   string // the source that demands tokens; "" if none does
	Answer     Summary
	Cost       *Cost // nil if nothing was counted
}

// Pass is one run of all the calls.
type Pass struct {
	Calls   []Span
	Wall    time.Duration // from the first start to the last end
	Sum     time.Duration // of all calls
	Slowest time.Duration // of all calls
	Tokens  int           // that were given out meanwhile, see [Options.SignIn]
}

// Span is one call; Start and End count from the start of the pass.
type Span struct {
	Source, Tool string
	Start, End   time.Duration
	Error        string // begins with the code of the failure; "" if it went well
	Bytes        int    // of the result

	written, read string // by a model
}

// Duration is how long the call took.
func (s Span) Duration() time.Duration { return s.End - s.Start }

// Failed reports whether any call failed.
func (r *Report) Failed() bool {
	for _, p := range []Pass{r.Serial, r.Parallel} {
		for _, s := range p.Calls {
			if s.Error != "" {
				return true
			}
		}
	}
	return false
}

// Speedup is how many times faster the calls were at once than one by one; 0
// if nothing was measured.
func (r *Report) Speedup() float64 {
	if r.Parallel.Wall <= 0 {
		return 0
	}
	return float64(r.Serial.Wall) / float64(r.Parallel.Wall)
}

// Run finds the customer and then asks the question both ways. A source that
// fails is told in the report; the error is for a customer that cannot be
// found and for a ctx that has ended.
func Run(ctx context.Context, call Caller, opt Options) (*Report, error) {
	if opt.Customer == "" {
		opt.Customer = DefaultCustomer
	}
	found, err := find(ctx, call, opt.Customer)
	if err != nil {
		return nil, err
	}
	r := &Report{
		Question:   "How is " + found.Name + " doing? CRM record, recent orders, open tickets.",
		Customer:   found.Name,
		CustomerID: found.ID,
	}
	issued := func() int { return 0 }
	if opt.SignIn != nil {
		r.TokensOf, issued = opt.SignIn.Source, opt.SignIn.Issued
	}
	before := issued()
	serial, first := measure(ctx, call, found, func(run func()) { run() }, func() {})
	if opt.SignIn != nil {
		_ = opt.SignIn.Ended(ctx) // ctx tells the same below
	}
	between := issued()
	var wg sync.WaitGroup
	parallel, second := measure(ctx, call, found, wg.Go, wg.Wait)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("the demo was stopped: %w", err)
	}
	r.Serial, r.Parallel = serial, parallel
	r.Serial.Tokens, r.Parallel.Tokens = between-before, issued()-between
	for i := range second {
		if second[i] == nil { // failed at once but perhaps not one by one
			second[i] = first[i]
		}
	}
	r.Answer = summarise(second)
	if opt.Definitions != nil {
		r.Cost = cost(r, opt.Definitions)
	}
	return r, nil
}

// measure makes the calls of the plan, each through start, then waits, and
// returns their spans and the structured results, nil where one failed.
func measure(ctx context.Context, call Caller, about customer, start func(func()), wait func()) (Pass, []json.RawMessage) {
	p := Pass{Calls: make([]Span, len(plan))}
	results := make([]json.RawMessage, len(plan))
	args := map[string]string{byID: about.ID, byName: about.Name}
	began := time.Now()
	for i, step := range plan {
		start(func() {
			s := Span{Source: step.source, Tool: step.tool, Start: time.Since(began)}
			raw, err := call(ctx, step.source+"_"+step.tool, map[string]string{step.by: args[step.by]})
			s.End = time.Since(began)
			s.Bytes = len(raw)
			if err == nil {
				results[i], err = structured(raw)
			}
			s.written, s.read = fmt.Sprintf("%s_%s{%q:%q}", step.source, step.tool, step.by, args[step.by]), string(results[i])
			if err != nil {
				s.Error = err.Error()
				s.read = s.Error
			}
			p.Calls[i] = s
		})
	}
	wait()
	for _, s := range p.Calls {
		p.Wall = max(p.Wall, s.End)
		p.Sum += s.Duration()
		p.Slowest = max(p.Slowest, s.Duration())
	}
	return p, results
}

type customer struct {
	ID   string `json:"customer_id"`
	Name string `json:"name"`
}

// find returns the best match for name.
func find(ctx context.Context, call Caller, name string) (customer, error) {
	raw, err := call(ctx, findTool, map[string]any{"query": name, "limit": 5})
	if err == nil {
		raw, err = structured(raw)
	}
	if err != nil {
		return customer{}, fmt.Errorf("looking for the customer %q: %w", name, err)
	}
	var out struct {
		Customers []customer `json:"records"`
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return customer{}, fmt.Errorf("reading the answer of %s: %w", findTool, err)
	}
	if len(out.Customers) > 0 && out.Customers[0].ID != "" {
		return out.Customers[0], nil
	}
	return customer{}, fmt.Errorf("no customer matches %q; try a part of the name, such as Freight", name)
}

// structured returns the structured content of a result, or the failure that
// the result tells.
func structured(raw json.RawMessage) (json.RawMessage, error) {
	var res struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
		Structured json.RawMessage `json:"structuredContent"`
		IsError    bool            `json:"isError"`
	}
	if err := json.Unmarshal(raw, &res); err != nil {
		return nil, fmt.Errorf("upstream_error: the result cannot be read: %w", err)
	}
	switch {
	case res.IsError && len(res.Content) > 0 && res.Content[0].Text != "":
		return nil, errors.New(res.Content[0].Text)
	case res.IsError:
		return nil, errors.New("upstream_error: the source gave no reason")
	case len(res.Structured) == 0:
		return nil, errors.New("upstream_error: the result has no structured content")
	}
	return res.Structured, nil
}
