package plan

import (
	"bytes"
	"encoding/json"
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
	if len(r.faults) == 0 {
		r.link()
	}
	if len(r.faults) > 0 {
		return nil, r.faults
	}
	return &Plan{r.nodes}, nil
}

// reader reads one plan.
type reader struct {
	find     Finder
	readOnly bool
	nodes    []Node
	tools    []Tool // of the nodes
	after    [][]string
	places   map[string]int // by id
	refs     int
	faults   Faults
}

func (r *reader) fault(call, problem, fix string) {
	r.faults = append(r.faults, Fault{call, problem, fix})
}

const callForm = `{"id":"a","tool":"crm_search","arguments":{"q":"acme"}}`

// read reads what each call says by itself.
func (r *reader) read(calls json.RawMessage) {
	if rawjson.Kind(calls) != '[' {
		r.fault("calls", "must be a list of calls", "for example ["+callForm+"]")
		return
	}
	n := 0
	for raw := range rawjson.Elements(calls) {
		if n++; n > MaxNodes {
			continue
		}
		r.node(n-1, raw)
	}
	switch {
	case n == 0:
		r.fault("calls", "is empty", "for example ["+callForm+"]")
	case n > MaxNodes:
		r.fault("calls", fmt.Sprintf("has %d calls, at most %d may be in one plan", n, MaxNodes), "split it, or make one call for each element of a list with map")
	}
}

var members = []string{"id", "tool", "arguments", "after", "map", "on_error"}

// node reads the call at place i.
func (r *reader) node(i int, raw json.RawMessage) {
	at := fmt.Sprintf("calls[%d]", i)
	if rawjson.Kind(raw) != '{' {
		r.fault(at, "is "+kindOf(raw)+", not an object", "for example "+callForm)
		return
	}
	n, after := Node{OnError: Skip}, []string(nil)
	id, _ := rawjson.GetString(raw, "id")
	switch _, twice := r.places[id]; {
	case !idForm().MatchString(id) || id == item:
		r.fault(at, "needs an id of 1 to 64 letters, digits, _ and -, other than item", `for example "id":"a"`)
	case twice:
		r.fault(at, fmt.Sprintf("has the id %q of another call", id), "give each call an id of its own")
	default:
		r.places[id], n.ID, at = i, id, id
	}
	for m := range rawjson.Members(raw) {
		switch m.Name {
		case "id":
		case "tool":
			n.Tool = rawjson.String(m.Value)
		case "arguments":
			n.Arguments = m.Value
		case "after":
			after = r.ids(at, m.Value)
		case "map":
			n.over = r.list(at, m.Value)
		case "on_error":
			n.OnError = OnError(rawjson.String(m.Value))
		default:
			r.fault(at, fmt.Sprintf("has an unknown member %.40q", m.Name), "a call has "+strings.Join(members, ", "))
		}
	}
	if !slices.Contains([]OnError{Skip, Null, Fail}, n.OnError) {
		r.fault(at, "on_error is none of skip, null and fail", "leave it out to skip what depends on a failed call")
	}
	if n.Arguments == nil {
		n.Arguments = json.RawMessage("{}")
	} else if rawjson.Kind(n.Arguments) != '{' {
		r.fault(at, "arguments is "+kindOf(n.Arguments)+", not an object", `for example "arguments":{"q":"acme"}`)
	}
	r.nodes, r.tools, r.after = append(r.nodes, n), append(r.tools, r.tool(at, n.Tool)), append(r.after, after)
}

func (r *reader) tool(at, name string) Tool {
	if name == "" {
		r.fault(at, "names no tool", `for example "tool":"crm_search"`)
		return Tool{}
	}
	t, err := r.find(name)
	switch {
	case err != nil:
		r.fault(at, err.Error(), "")
	case r.readOnly && !t.Reads:
		r.fault(at, name+" does not say that it only reads", "use the batch tool that allows writes")
	}
	return t
}

func (r *reader) ids(at string, raw json.RawMessage) []string {
	var out []string
	if err := json.Unmarshal(raw, &out); err != nil {
		r.fault(at, "after is no list of ids", `for example "after":["a"]`)
	}
	return out
}

const mapForm = `for example "map":{"$ref":"#/a/rows"}, and {"$ref":"#/item/id"} in its arguments`

func (r *reader) list(at string, raw json.RawMessage) *pointer {
	ref, ok := only(raw, memberRef)
	if !ok {
		r.fault(at, "map is no reference", mapForm)
		return nil
	}
	p, err := parsePointer(rawjson.String(ref))
	if err != nil {
		r.fault(at, "map: "+err.Error(), mapForm)
		return nil
	}
	return p
}

// link finds out what depends on what. A call can only refer to those before it,
// so there are no circles.
func (r *reader) link() {
	for i := range r.nodes {
		n := &r.nodes[i]
		for _, id := range r.after[i] {
			r.need(i, id, "after")
		}
		if n.over != nil {
			r.need(i, n.over.call, n.over.text)
		}
		var arguments bytes.Buffer
		before := r.refs
		_ = replace(&arguments, n.Arguments, func(ref json.RawMessage) (json.RawMessage, error) {
			r.reference(i, ref)
			return nil, nil
		})
		if check := r.tools[i].Check; check != nil && r.refs == before { // they are known already
			if problem := check(arguments.Bytes()); problem != "" {
				r.fault(n.ID, n.Tool+": "+problem, "")
			}
		}
		slices.Sort(n.needs)
		n.needs = slices.Compact(n.needs)
	}
	if r.refs > MaxRefs {
		r.fault("calls", fmt.Sprintf("has %d references, at most %d may be in one plan", r.refs, MaxRefs), "refer to a larger part at once, or split the plan")
	}
	if len(r.faults) > 0 {
		return
	}
	for i := range r.nodes {
		r.requires(i)
		r.keepOrder(i)
	}
}

// reference notes that node i refers to the result of a call.
func (r *reader) reference(i int, ref json.RawMessage) {
	n := &r.nodes[i]
	if r.refs++; r.refs > MaxRefs {
		return
	}
	if rawjson.Kind(ref) != '"' {
		r.fault(n.ID, "$ref is "+kindOf(ref)+", not a text", `for example {"$ref":"#/a/rows/0/id"}`)
		return
	}
	p, err := parsePointer(rawjson.String(ref))
	switch {
	case err != nil:
		r.fault(n.ID, fmt.Sprintf("the reference %.80q: %v", rawjson.String(ref), err),
			`what stands for itself is written {"$literal":...}`)
	case p.call == item && n.over != nil:
	case p.call == item:
		r.fault(n.ID, p.text+" is the element of a list, but the call has no map", mapForm)
	default:
		r.need(i, p.call, p.text)
	}
}

// need notes that node i needs the call called id.
func (r *reader) need(i int, id, where string) {
	at := r.nodes[i].ID
	j, ok := r.places[id]
	switch {
	case !ok:
		r.fault(at, fmt.Sprintf("%.80s: there is no call %.40q in the plan", where, id), "the calls are "+r.idList())
	case j == i:
		r.fault(at, fmt.Sprintf("%.80s: it needs its own result", where), "remove the reference")
	case j > i && r.leads(j, i):
		r.fault(at, fmt.Sprintf("%.80s: %s and %s need each other", where, at, id), "remove one of the references")
	case j > i:
		r.fault(at, fmt.Sprintf("%.80s: %s comes later", where, id), "write "+id+" before "+at)
	default:
		r.nodes[i].needs = append(r.nodes[i].needs, j)
	}
}

// leads reports whether node from needs node to by what is written in it.
func (r *reader) leads(from, to int) bool {
	id := r.nodes[to].ID
	return slices.Contains(r.after[from], id) || bytes.Contains(r.nodes[from].Arguments, []byte(`#/`+id)) ||
		r.nodes[from].over != nil && r.nodes[from].over.call == id
}

func (r *reader) idList() string {
	const most = 12
	var out []string
	for i := range r.nodes {
		if i == most {
			return strings.Join(out, ", ") + " and more"
		}
		out = append(out, r.nodes[i].ID)
	}
	return strings.Join(out, ", ")
}

// requires refuses a tool without the output that it needs.
func (r *reader) requires(i int) {
	above := r.above(i)
	for _, tool := range r.tools[i].Requires {
		in := -1
		for j := range r.nodes {
			if r.nodes[j].Tool != tool {
				continue
			}
			if above[j] {
				in = -2
				break
			}
			in = j
		}
		n := &r.nodes[i]
		switch {
		case in == -2:
		case in == -1:
			r.fault(n.ID, fmt.Sprintf("%s needs the output of %s, which is not in the plan", n.Tool, tool), "call "+tool+" before it and refer to its result")
		default:
			id := r.nodes[in].ID
			r.fault(n.ID, fmt.Sprintf("%s needs the output of %s, but does not depend on call %s", n.Tool, tool, id),
				fmt.Sprintf(`write %s before it and refer to its result, or add "after":[%q]`, id, id))
		}
	}
}

// above returns the nodes that node i depends on, directly or not.
func (r *reader) above(i int) map[int]bool {
	seen := map[int]bool{}
	rest := slices.Clone(r.nodes[i].needs)
	for len(rest) > 0 {
		j := rest[len(rest)-1]
		rest = rest[:len(rest)-1]
		if !seen[j] {
			seen[j] = true
			rest = append(rest, r.nodes[j].needs...)
		}
	}
	return seen
}

// keepOrder makes what changes something at a source a barrier there: what is
// written before it is done first, what is written after it later.
func (r *reader) keepOrder(i int) {
	for j := range i {
		if r.tools[j].Source == r.tools[i].Source && (r.tools[j].Writes || r.tools[i].Writes) {
			r.nodes[i].order = append(r.nodes[i].order, j)
		}
	}
	r.nodes[i].Source = r.tools[i].Source
}
