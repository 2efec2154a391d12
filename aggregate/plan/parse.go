package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Finder returns what a plan has to know of the tool of this name; the error says
// to the model what there is instead.
type Finder func(name string) (Tool, error)

// Parse reads the calls of a plan, a JSON array that has passed [rawjson.Check].
// readOnly refuses what does not only read. The error is [Faults].
func Parse(calls json.RawMessage, find Finder, readOnly bool) (*Plan, error) {
	r := &reader{find: find, readOnly: readOnly, places: map[string]int{}}
	r.read(calls)
	r.link()
	if len(r.faults) == 0 {
		nodes := make([]Node, len(r.calls))
		for i := range r.calls {
			nodes[i] = r.calls[i].Node
		}
		return &Plan{nodes}, nil
	}
	slices.SortStableFunc(r.faults, func(a, b placed) int { return a.place - b.place })
	var out Faults
	for _, f := range r.faults {
		out = append(out, f.Fault)
	}
	return nil, out
}

// reader reads one plan. It goes on after a fault, so that all are told at once.
type reader struct {
	find     Finder
	readOnly bool
	calls    []written
	places   map[string]int // by id
	tooMany  bool           // there are more calls than are read
	refs     int
	web      web
	firm     web // the same without calls that may fail and nothing is skipped for it
	faults   []placed
}

// written is a call as it is written.
type written struct {
	Node
	at    string // its id, or its place where it has none
	tool  Tool
	after []string
	needs []need
}

// need is what a call refers to, and where.
type need struct{ id, where string }

// placed is a fault of the call at a place; -1 is the whole plan.
type placed struct {
	place int
	Fault
}

// whole is the place of what is wrong with a plan as a whole.
const whole = -1

// fault notes what is wrong with call i; the same once more is only counted.
func (r *reader) fault(i int, problem, fix string) {
	for j := range r.faults {
		if f := &r.faults[j]; f.place == i && f.Problem == problem {
			f.Times = max(f.Times, 1) + 1
			return
		}
	}
	if len(r.faults) == maxFaults {
		return
	}
	at := "calls"
	if i != whole {
		at = r.calls[i].at
	}
	r.faults = append(r.faults, placed{i, Fault{at, problem, fix, 0}})
}

const callForm = `{"id":"a","tool":"crm_search","arguments":{"q":"acme"}}`

// read reads what each call says by itself.
func (r *reader) read(calls json.RawMessage) {
	if rawjson.Kind(calls) != '[' {
		r.fault(whole, "must be a list of calls", "for example ["+callForm+"]")
		return
	}
	n := 0
	for raw := range rawjson.Elements(calls) {
		if n++; n <= MaxNodes {
			r.call(n-1, raw)
		}
	}
	switch {
	case n == 0:
		r.fault(whole, "is empty", "for example ["+callForm+"]")
	case n > MaxNodes:
		r.tooMany = true
		r.fault(whole, fmt.Sprintf("has %d calls, at most %d may be in one plan", n, MaxNodes), "split it, or make one call for each element of a list with map")
	}
}

var (
	optional = []string{"arguments", "after", "map", "on_error"}
	members  = append([]string{"id", "tool"}, optional...)
)

// call reads call i.
func (r *reader) call(i int, raw json.RawMessage) {
	r.calls = append(r.calls, written{at: fmt.Sprintf("calls[%d]", i), Node: Node{OnError: Skip, Arguments: json.RawMessage("{}")}})
	if rawjson.Kind(raw) != '{' {
		r.fault(i, "is "+kindOf(raw)+", not an object", "for example "+callForm)
		return
	}
	r.id(i, raw)
	c := &r.calls[i]
	for m := range rawjson.Members(raw) {
		if len(r.faults) == maxFaults {
			return
		}
		if rawjson.IsNull(m.Value) && slices.Contains(optional, m.Name) { // as hosts fill in what was left out
			continue
		}
		switch m.Name {
		case "id":
		case "tool":
			c.Tool = rawjson.String(m.Value)
		case "arguments":
			c.Arguments = m.Value
		case "after":
			c.after = r.ids(i, m.Value)
		case "map":
			c.over = r.list(i, m.Value)
		case "on_error":
			c.OnError = OnError(rawjson.String(m.Value))
		default:
			r.fault(i, fmt.Sprintf("has an unknown member %.40q", m.Name), "a call has "+strings.Join(members, ", "))
		}
	}
	if !slices.Contains([]OnError{Skip, Null, Fail}, c.OnError) {
		r.fault(i, "on_error is none of skip, null and fail", "leave it out to skip what depends on a failed call")
	}
	if rawjson.Kind(c.Arguments) != '{' {
		r.fault(i, "arguments is "+kindOf(c.Arguments)+", not an object", `for example "arguments":{"q":"acme"}`)
		c.Arguments = nil
	}
	r.tool(i)
}

// id reads what call i is called.
func (r *reader) id(i int, raw json.RawMessage) {
	id, _ := rawjson.GetString(raw, "id")
	switch first, twice := r.places[id]; {
	case !idForm().MatchString(id) || id == item:
		r.fault(i, "needs an id of 1 to 64 letters (a to z), digits, _ and -, other than item", `for example "id":"a"`)
	case twice:
		r.fault(i, fmt.Sprintf("has the id %q of calls[%d]", id, first), "give each call an id of its own")
	default:
		r.places[id], r.calls[i].ID, r.calls[i].at = i, id, id
	}
}

// tool finds the tool of call i.
func (r *reader) tool(i int) {
	c := &r.calls[i]
	if c.Tool == "" {
		r.fault(i, "names no tool", `for example "tool":"crm_search"`)
		return
	}
	t, err := r.find(c.Tool)
	if err != nil {
		r.fault(i, fmt.Sprintf("%.1000s", err.Error()), "")
		return
	}
	c.tool, c.Source = t, t.Source
	if r.readOnly && !t.Reads {
		r.fault(i, c.Tool+" does not say that it only reads", "send the plan with the batch tool that allows writes, or leave this call out")
	}
}

func (r *reader) ids(i int, raw json.RawMessage) []string {
	const form = `for example "after":["a"]`
	n, texts := 0, true
	var out []string
	for e := range rawjson.Elements(raw) {
		if n++; n <= MaxNodes {
			texts = texts && rawjson.Kind(e) == '"'
			out = append(out, rawjson.String(e))
		}
	}
	switch {
	case rawjson.Kind(raw) != '[' || !texts:
		r.fault(i, "after is no list of ids", form)
		return nil
	case n > MaxNodes:
		r.fault(i, fmt.Sprintf("after has %d ids, and a plan at most %d calls", n, MaxNodes), form)
	}
	return out
}

const mapForm = `for example "map":{"$ref":"#/a/rows"}, and {"$ref":"#/item/id"} in its arguments`

func (r *reader) list(i int, raw json.RawMessage) *pointer {
	ref, ok := only(raw, memberRef)
	if !ok {
		r.fault(i, "map is no reference", mapForm)
		return noList
	}
	p, err := parsePointer(rawjson.String(ref))
	if err == nil && p.call == item {
		err = errors.New("the element of a list is known in the arguments only")
	}
	if err != nil {
		r.fault(i, "map: "+err.Error(), mapForm)
		return noList
	}
	return p
}

// noList stands for a list that cannot be read: what refers to its elements is not
// to blame.
var noList = &pointer{}
