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

// Do carries out one call. It returns the value to which references refer, nil if
// it is too long for that, what else is to be known of it, and whether it succeeded.
type Do[R any] func(context.Context, Step) (value json.RawMessage, result R, ok bool)

// Run carries out a plan, each call as soon as what it needs is there, and
// returns how each ended, in the plan's order. done is told of each at the time,
// one after another. Once ctx has ended nothing more is begun; Run returns when
// what was begun has returned.
func Run[R any](ctx context.Context, p *Plan, do Do[R], done func(node int, o *Outcome[R])) []Outcome[R] {
	r := &run[R]{plan: p, do: do, done: done, out: make([]Outcome[R], len(p.Nodes)), ended: make([]chan struct{}, len(p.Nodes)), lists: make([]*length, len(p.Nodes))}
	for i := range r.ended {
		r.ended[i] = make(chan struct{})
		if p.Nodes[i].over != nil {
			r.lists[i] = &length{known: make(chan struct{})}
		}
	}
	together(len(p.Nodes), func(i int) {
		defer close(r.ended[i])
		defer r.lists[i].is(0) // of one that was not begun
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
	do    Do[R]
	out   []Outcome[R]
	ended []chan struct{} // closed when out has the node's
	lists []*length       // of the nodes that are made for a list; nil for others
	put   atomic.Int64    // bytes that references have put into arguments
	found sync.Map        // references that were resolved, but for those to elements: text -> json.RawMessage
	stop  atomic.Pointer[Node]

	mu   sync.Mutex
	done func(int, *Outcome[R])
}

// node waits for what node i needs and carries it out.
func (r *run[R]) node(ctx context.Context, i int) {
	n, o := &r.plan.Nodes[i], &r.out[i]
	for _, before := range [][]int{n.needs, n.order} {
		for _, j := range before {
			<-r.ended[j] // which ends with ctx too
		}
	}
	if o.Why = r.hindered(ctx, n); o.Why != "" {
		o.Status = Skipped
	} else {
		began := time.Now()
		if n.over == nil {
			*o = r.once(ctx, Step{Node: n, Item: -1}, nil)
		} else {
			r.each(ctx, i, o)
		}
		o.Took = time.Since(began)
	}
	if o.Status == Failed && n.OnError == Fail {
		r.stop.CompareAndSwap(nil, n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done(i, o)
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
func (r *run[R]) once(ctx context.Context, s Step, element json.RawMessage) Outcome[R] {
	o := Outcome[R]{Status: Failed}
	var err error
	if s.Arguments, err = r.resolved(s.Node, element); err != nil {
		o.Why = err.Error()
		return o
	}
	if element != nil && r.put.Add(int64(len(s.Node.Arguments))) > maxAll { // each element has them anew
		o.Why = fmt.Sprintf("the arguments of all calls are longer than %d bytes together; write less of them into a call that is made for a list", maxAll)
		return o
	}
	began, ok := time.Now(), false
	o.Value, o.Result, ok = r.do(ctx, s)
	if o.Took = time.Since(began); ok {
		o.Status = OK
	}
	return o
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

// each carries out call i for each element of its list, all at once.
func (r *run[R]) each(ctx context.Context, i int, o *Outcome[R]) {
	n := &r.plan.Nodes[i]
	o.Status = Failed
	list, err := r.value(n.over, nil)
	switch {
	case err != nil:
		o.Why = "map: " + err.Error()
		return
	case rawjson.IsNull(list):
		list = json.RawMessage("[]")
	case rawjson.Kind(list) != '[':
		o.Why = fmt.Sprintf("map: %s is %s, not a list", n.over.text, kindOf(list))
		return
	}
	var elements []json.RawMessage
	for e := range rawjson.Elements(list) {
		if len(elements) == MaxItems {
			o.Why = fmt.Sprintf("map: %s has more than %d elements; ask for fewer", n.over.text, MaxItems)
			return
		}
		elements = append(elements, e)
	}
	if o.Why = r.room(i, len(elements)); o.Why != "" {
		return
	}
	if o.Why = r.hindered(ctx, n); o.Why != "" { // it may have waited
		o.Status = Skipped
		return
	}
	o.Items = make([]Outcome[R], len(elements)) // not nil: there is a list
	together(len(elements), func(j int) { o.Items[j] = r.once(ctx, Step{Node: n, Item: j}, elements[j]) })
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
