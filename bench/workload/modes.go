package workload

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Ask makes one call of a tool and returns the result member of its answer. Many
// ask at once.
type Ask func(ctx context.Context, tool string, arguments []byte) (result []byte, err error)

// Mode is a way in which a client carries out a plan.
type Mode struct {
	Name string
	run  func(ctx context.Context, ask Ask, p *Plan, run int64) ([]Outcome, error)
	// Turns is how often the model has its turn until it can answer, the answer
	// included.
	Turns func(p *Plan) int
}

// The modes in the order of [Modes].
const (
	Sequential = iota
	ByLevel
	Eager
	Batch
)

// Modes are the ways to carry out a plan.
func Modes() []Mode {
	once := func(*Plan) int { return 2 }
	return []Mode{
		{"one by one", sequential, func(p *Plan) int { return len(p.Calls) + 1 }},
		{"level by level", byLevel, func(p *Plan) int { return len(p.Levels()) + 1 }},
		{"eager client", eager, once},
		{"batch", batch, once},
	}
}

// Outcome is what became of one call.
type Outcome struct {
	Status string        // ok, error or skipped
	Value  string        // of one that is ok
	Took   time.Duration // at its source, by the source's clock; as drawn of an error, 0 if it was not made
	Begun  int64         // the place in which sources began it, among all calls
	rows   []json.RawMessage
}

// Run is one carrying out of a plan.
type Run struct {
	Wall  time.Duration
	Calls []Outcome // in the plan's order
}

// Took is what each call took at its source.
func (r *Run) Took() []time.Duration {
	out := make([]time.Duration, len(r.Calls))
	for i := range r.Calls {
		out[i] = r.Calls[i].Took
	}
	return out
}

// begun returns the calls from the given one on in the order in which sources
// began them.
func (r *Run) begun(from int) []int {
	var out []int
	for i := from; i < len(r.Calls); i++ {
		out = append(out, i)
	}
	slices.SortFunc(out, func(i, j int) int { return cmp.Compare(r.Calls[i].Begun, r.Calls[j].Begun) })
	return out
}

// Agrees returns what is wrong with a run: a call that did not end as the plan
// has it, or has another value.
func (r *Run) Agrees(p *Plan) error {
	want := p.expected()
	for i := range want {
		if got := r.Calls[i]; got.Status != want[i].Status || got.Value != want[i].Value {
			return fmt.Errorf("call %s is %s with the value %q, not %s with %q", p.Calls[i].ID, got.Status, got.Value, want[i].Status, want[i].Value)
		}
	}
	return nil
}

const (
	isOK      = "ok"
	isError   = "error"
	isSkipped = "skipped"
)

// expected is what becomes of each call wherever a plan is carried out
// correctly. A value is the call's key and, in parentheses, the values that it
// was given; that of row k is the value of its list and [k].
func (p *Plan) expected() []Outcome {
	out := make([]Outcome, len(p.Calls))
	for i := range p.Calls {
		c := &p.Calls[i]
		var of []string
		for _, j := range c.Of {
			of = append(of, out[j].Value)
		}
		key, row := c.node()
		if row >= 0 {
			of = append(of, fmt.Sprintf("%s[%d]", out[c.Over].Value, row))
		}
		switch {
		case c.hindered(out):
			out[i].Status = isSkipped
		case c.Fails:
			out[i].Status = isError
		default:
			out[i] = Outcome{Status: isOK, Value: key + "(" + strings.Join(of, ",") + ")"}
		}
	}
	return out
}

// hindered reports whether a call that it needs did not succeed.
func (c *Call) hindered(out []Outcome) bool {
	if _, row := c.node(); row >= 0 && out[c.Over].Status != isOK {
		return true
	}
	return slices.ContainsFunc(c.Of, func(j int) bool { return out[j].Status != isOK })
}

// Do carries out a plan. run is another number each time.
func (m Mode) Do(ctx context.Context, ask Ask, p *Plan, run int64) (*Run, error) {
	began := time.Now()
	calls, err := m.run(ctx, ask, p, run)
	r := &Run{Wall: time.Since(began), Calls: calls}
	if err == nil {
		err = r.Agrees(p)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	for i := range calls { // a refusal does not say how long it took
		if calls[i].Status == isError {
			calls[i].Took = p.Calls[i].Takes
		}
	}
	return r, nil
}

func sequential(ctx context.Context, ask Ask, p *Plan, run int64) ([]Outcome, error) {
	out := make([]Outcome, len(p.Calls))
	for i := range p.Calls {
		if err := one(ctx, ask, p, i, run, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func byLevel(ctx context.Context, ask Ask, p *Plan, run int64) ([]Outcome, error) {
	out := make([]Outcome, len(p.Calls))
	errs := make([]error, len(p.Calls))
	for _, level := range p.Levels() {
		var all sync.WaitGroup
		for _, i := range level {
			all.Go(func() { errs[i] = one(ctx, ask, p, i, run, out) })
		}
		all.Wait()
	}
	return out, errors.Join(errs...)
}

func eager(ctx context.Context, ask Ask, p *Plan, run int64) ([]Outcome, error) {
	out := make([]Outcome, len(p.Calls))
	errs := make([]error, len(p.Calls))
	ended := make([]chan struct{}, len(p.Calls))
	for i := range ended {
		ended[i] = make(chan struct{})
	}
	var all sync.WaitGroup
	for i := range p.Calls {
		all.Go(func() {
			defer close(ended[i])
			for _, j := range p.before(i) {
				<-ended[j]
			}
			errs[i] = one(ctx, ask, p, i, run, out)
		})
	}
	all.Wait()
	return out, errors.Join(errs...)
}

// one makes call i as a client does, with values from earlier answers.
func one(ctx context.Context, ask Ask, p *Plan, i int, run int64, out []Outcome) error {
	c := &p.Calls[i]
	if c.hindered(out) {
		out[i].Status = isSkipped
		return nil
	}
	var of []any
	for _, j := range c.Of {
		of = append(of, out[j].Value)
	}
	takes := any(ms(c.Takes))
	if _, k := c.node(); k >= 0 {
		var row struct {
			Value string
			MS    float64
		}
		if rows := out[c.Over].rows; k >= len(rows) {
			return fmt.Errorf("call %s: the list has %d rows", c.ID, len(rows))
		} else if err := json.Unmarshal(rows[k], &row); err != nil {
			return fmt.Errorf("call %s: the row: %w", c.ID, err)
		}
		of, takes = append(of, row.Value), row.MS
	}
	args, err := json.Marshal(p.arguments(i, run, takes, of))
	if err != nil {
		return err
	}
	raw, err := ask(ctx, c.Tool(), args)
	if err != nil {
		return fmt.Errorf("call %s: %w", c.ID, err)
	}
	var result struct {
		IsError           bool
		StructuredContent found
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return fmt.Errorf("call %s: %w", c.ID, err)
	}
	if result.IsError {
		out[i].Status = isError
		return nil
	}
	out[i] = result.StructuredContent.outcome(isOK)
	return nil
}

// found is what the upstream answers.
type found struct {
	Value  string
	TookUS int64 `json:"took_us"`
	At     int64
	Rows   []json.RawMessage
}

func (f *found) outcome(status string) Outcome {
	return Outcome{Status: status, Value: f.Value, Took: time.Duration(f.TookUS) * time.Microsecond, Begun: f.At, rows: f.Rows}
}

// item is what a batch says of one call.
type item struct {
	ID     string
	Status string
	Result found
	Items  []item
}

func batch(ctx context.Context, ask Ask, p *Plan, run int64) ([]Outcome, error) {
	tool, args, err := p.Batch(run)
	if err != nil {
		return nil, err
	}
	raw, err := ask(ctx, tool, args)
	if err != nil {
		return nil, err
	}
	var result struct {
		IsError           bool
		StructuredContent struct{ Results []item }
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return nil, err
	}
	nodes := make(map[string]*item)
	for i := range result.StructuredContent.Results {
		it := &result.StructuredContent.Results[i]
		nodes[it.ID] = it
	}
	out := make([]Outcome, len(p.Calls))
	for i := range p.Calls {
		id, row := p.Calls[i].node()
		it := nodes[id]
		if it != nil && row >= 0 && row < len(it.Items) {
			it = &it.Items[row]
		}
		if it == nil {
			return nil, fmt.Errorf("the batch says nothing of %s: %.300s", id, raw)
		}
		out[i] = it.Result.outcome(it.Status)
	}
	return out, nil
}
