package plan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Status is how a call of a plan ended.
type Status string

// The ways in which a call ends.
const (
	OK      Status = "ok"
	Failed  Status = "error"
	Skipped Status = "skipped"
)

// Outcome is how one call of a plan ended.
type Outcome[R any] struct {
	Status Status
	Why    string          // of one that was not carried out, for the model
	Value  json.RawMessage // to which references refer; nil if it is too long for that, or in Items
	// Result is what carrying it out returned; the zero value where it was not.
	Result R
	Items  []Outcome[R] // of one that was made for each element of a list
	Took   time.Duration
}

// Step is one call to be carried out.
type Step struct {
	Node      *Node
	Item      int             // which element of the list; -1 where there is none
	Arguments json.RawMessage // without references
}

// Work is what is done with the calls of a plan.
type Work[R any] struct {
	// Do carries out one call. It returns the value to which references refer, nil if
	// it is too long for that, what else is to be known of it, and whether it succeeded.
	Do func(context.Context, Step) (value json.RawMessage, result R, ok bool)
	// Done is told of each call when it has ended, one after another; nil tells nobody.
	Done func(node int, o *Outcome[R])
	// Fault is told that a step has panicked with v, as the first that its goroutine
	// does then, and returns what is to be known of the call, which has failed unless
	// it had ended before. begun says that it may have been carried out.
	Fault func(s Step, begun bool, v any) R
}

// Run carries out a plan, each call as soon as what it needs is there, and
// returns how each ended, in the plan's order. Once ctx has ended nothing more is
// begun; Run returns when what was begun has returned.
func Run[R any](ctx context.Context, p *Plan, work Work[R]) []Outcome[R] {
	r := &run[R]{plan: p, work: work, out: make([]Outcome[R], len(p.Nodes)), ended: make([]chan struct{}, len(p.Nodes))}
	for i := range r.ended {
		r.ended[i] = make(chan struct{})
	}
	together(len(p.Nodes), func(i int) {
		defer close(r.ended[i])
		r.node(ctx, i)
	})
	return r.out
}

// together does n things at once and returns when all are done. Each begins the
// next before itself, so that they come to a source's queue in about the order in
// which they are written: begun by one loop, the last would come first.
func together(n int, do func(int)) {
	var all sync.WaitGroup
	var begin func(int)
	begin = func(i int) {
		if i == n {
			return
		}
		all.Go(func() {
			begin(i + 1)
			do(i)
		})
	}
	begin(0)
	all.Wait()
}

type run[R any] struct {
	plan  *Plan
	work  Work[R]
	out   []Outcome[R]
	ended []chan struct{} // closed when out has the node's
	calls atomic.Int64    // begun
	put   atomic.Int64    // bytes that references have put into arguments
	found sync.Map        // references that were resolved, but for those to elements: text -> json.RawMessage
	stop  atomic.Pointer[Node]

	telling sync.Mutex
}

// contained does something for a step, of which o is the outcome. A panic in it is
// a failure of this call: its goroutine is nobody else's, and would take the process
// down.
func (r *run[R]) contained(s Step, o *Outcome[R], begun bool, do func()) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if result := r.work.Fault(s, begun, v); o.Status == "" {
			o.Status, o.Result = Failed, result
		}
	}()
	do()
}

// node carries out node i and tells of it.
func (r *run[R]) node(ctx context.Context, i int) {
	n, o := &r.plan.Nodes[i], &r.out[i]
	s := Step{Node: n, Item: -1}
	r.contained(s, o, false, func() { r.carryOut(ctx, s, o) })
	if o.Status == Failed && n.OnError == Fail {
		r.stop.CompareAndSwap(nil, n)
	}
	if r.work.Done == nil {
		return
	}
	r.contained(s, o, true, func() {
		r.telling.Lock()
		defer r.telling.Unlock()
		r.work.Done(i, o)
	})
}

// carryOut waits for what a node needs and does what is to be done for it.
func (r *run[R]) carryOut(ctx context.Context, s Step, o *Outcome[R]) {
	for _, before := range [][]int{s.Node.needs, s.Node.order} {
		for _, j := range before {
			<-r.ended[j] // which ends with ctx too
		}
	}
	if o.Why = r.hindered(ctx, s.Node); o.Why != "" {
		o.Status = Skipped
		return
	}
	began := time.Now()
	if s.Node.over == nil {
		r.once(ctx, s, nil, o)
	} else {
		r.each(ctx, s.Node, o)
	}
	o.Took = time.Since(began)
}

// hindered returns why a node is not begun; "" if nothing is in its way.
func (r *run[R]) hindered(ctx context.Context, n *Node) string {
	if ctx.Err() != nil {
		switch why := context.Cause(ctx); {
		case errors.Is(why, context.DeadlineExceeded):
			return "the plan ended before it: its time was up"
		case errors.Is(why, context.Canceled):
			return "the plan was cancelled before it"
		default:
			return "the plan ended before it: " + why.Error()
		}
	}
	if first := r.stop.Load(); first != nil {
		return "call " + first.ID + " failed, with which the plan ends"
	}
	for _, j := range n.needs {
		if before := &r.plan.Nodes[j]; r.out[j].Status != OK && before.OnError != Null {
			how := "failed"
			if r.out[j].Status == Skipped {
				how = "was skipped"
			}
			return "it depends on call " + before.ID + ", which " + how
		}
	}
	return ""
}

// once carries out one call; element is that of the list, nil where there is none.
func (r *run[R]) once(ctx context.Context, s Step, element json.RawMessage, o *Outcome[R]) {
	var err error
	if s.Arguments, err = r.resolved(s.Node, element); err != nil {
		o.fail("%v", err)
		return
	}
	if r.calls.Add(1) > MaxCalls {
		o.fail("the plan comes to more than %d calls", MaxCalls)
		return
	}
	if element != nil && r.put.Add(int64(len(s.Node.Arguments))) > maxAll { // each element has them anew
		o.fail("the arguments of all calls are longer than %d bytes together; write less of them into a call that is made for a list", maxAll)
		return
	}
	began := time.Now()
	r.contained(s, o, true, func() {
		ok := false
		if o.Value, o.Result, ok = r.work.Do(ctx, s); ok {
			o.Status = OK
		} else {
			o.Status = Failed
		}
	})
	o.Took = time.Since(began)
}

// fail has a call fail that is not made.
func (o *Outcome[R]) fail(format string, args ...any) {
	o.Status, o.Why = Failed, fmt.Sprintf(format, args...)
}

// resolved returns the arguments of a call without references.
func (r *run[R]) resolved(n *Node, element json.RawMessage) (json.RawMessage, error) {
	if plain(n.Arguments) {
		return n.Arguments, nil
	}
	var out bytes.Buffer
	err := replace(&out, n.Arguments, nil, func(_ []string, ref json.RawMessage) (json.RawMessage, error) {
		p, err := parsePointer(rawjson.String(ref))
		if err != nil {
			return nil, err
		}
		v, err := r.value(p, element)
		switch {
		case err != nil:
		case out.Len()+len(v) > maxOne:
			err = fmt.Errorf("%s: with it the arguments are longer than %d bytes; refer to less of it", p.text, maxOne)
		case r.put.Add(int64(len(v))) > maxAll:
			err = fmt.Errorf("%s: with it the arguments of all calls are longer than %d bytes together; refer to less of it", p.text, maxAll)
		}
		return v, err
	})
	return out.Bytes(), err
}

// value returns what a reference means.
func (r *run[R]) value(p *pointer, element json.RawMessage) (json.RawMessage, error) {
	if p.call == item && element != nil {
		v, err := p.in(element, 0)
		if err != nil {
			err = fmt.Errorf("%s: %w", p.text, err)
		}
		return v, err
	}
	if v, ok := r.found.Load(p.text); ok {
		return v.(json.RawMessage), nil
	}
	j := slices.IndexFunc(r.plan.Nodes, func(n Node) bool { return n.ID == p.call }) // Parse has seen that there is one
	v, err := r.out[j].part(p)
	if err == nil && len(v) <= maxOne {
		err = rawjson.Check(v, rawjson.Limits{})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.text, err)
	}
	r.found.Store(p.text, v)
	return v, nil
}

// part returns the part of the result of a call that p means. Whatever has failed
// or was skipped is null with all its parts: what refers to it is to go on.
func (o *Outcome[R]) part(p *pointer) (json.RawMessage, error) {
	deep := 0
	if o.Items != nil {
		if len(p.tokens) == 0 {
			return o.list(p)
		}
		i := index(p.tokens[0])
		if i < 0 || i >= len(o.Items) {
			return nil, fmt.Errorf("at #/%s there is no element %.40q: the list has %d", p.call, p.tokens[0], len(o.Items))
		}
		o, deep = &o.Items[i], 1
	}
	switch {
	case o.Status != OK:
		return json.RawMessage("null"), nil
	case o.Value == nil:
		return nil, tooLong(p.call)
	}
	return p.in(o.Value, deep)
}

// list returns the results of a call that was made for each element of a list, as
// a list.
func (o *Outcome[R]) list(p *pointer) (json.RawMessage, error) {
	values := []byte{'['}
	for i := range o.Items {
		if i > 0 {
			values = append(values, ',')
		}
		switch it := &o.Items[i]; {
		case it.Status != OK:
			values = append(values, "null"...)
		case it.Value == nil || len(values)+len(it.Value) > maxOne:
			return nil, tooLong(p.call)
		default:
			values = append(values, it.Value...)
		}
	}
	return append(values, ']'), nil
}

// each carries out a call for each element of its list, all at once.
func (r *run[R]) each(ctx context.Context, n *Node, o *Outcome[R]) {
	list, err := r.value(n.over, nil)
	switch {
	case err != nil:
		o.fail("map: %v", err)
		return
	case rawjson.IsNull(list):
		list = json.RawMessage("[]")
	case rawjson.Kind(list) != '[':
		o.fail("map: %s is %s, not a list", n.over.text, kindOf(list))
		return
	}
	var elements []json.RawMessage
	for e := range rawjson.Elements(list) {
		if len(elements) == MaxItems {
			o.fail("map: %s has more than %d elements; ask for fewer", n.over.text, MaxItems)
			return
		}
		elements = append(elements, e)
	}
	o.Items = make([]Outcome[R], len(elements)) // not nil: there is a list
	together(len(elements), func(i int) {
		s, it := Step{Node: n, Item: i}, &o.Items[i]
		r.contained(s, it, false, func() { r.once(ctx, s, elements[i], it) })
	})
	o.Status = OK
	if slices.ContainsFunc(o.Items, func(it Outcome[R]) bool { return it.Status != OK }) {
		o.Status = Failed
	}
}

// Critical returns the length of the longest chain of calls that had to wait for
// each other.
func Critical[R any](p *Plan, out []Outcome[R]) time.Duration {
	until := make([]time.Duration, len(out))
	var longest time.Duration
	for i := range p.Nodes {
		n := &p.Nodes[i]
		for _, before := range [][]int{n.needs, n.order} {
			for _, j := range before {
				until[i] = max(until[i], until[j])
			}
		}
		until[i] += out[i].Took
		longest = max(longest, until[i])
	}
	return longest
}
