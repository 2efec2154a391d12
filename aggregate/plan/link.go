package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// link finds out what depends on what. A call can only refer to those before it,
// so a valid plan has no circles.
func (r *reader) link() {
	for i := range r.calls {
		r.collect(i)
	}
	if r.refs > MaxRefs {
		r.fault(whole, fmt.Sprintf("has %d references, at most %d may be in one plan", r.refs, MaxRefs), "refer to a larger part at once, or split the plan")
	}
	r.web, r.firm = newWeb(r.calls, r.places, true), newWeb(r.calls, r.places, false)
	r.circles()
	for i := range r.calls {
		for _, n := range r.calls[i].needs {
			r.need(i, n)
		}
		r.requires(i)
		r.keepOrder(i)
		n := &r.calls[i].Node
		slices.Sort(n.needs)
		n.needs = slices.Compact(n.needs)
	}
}

// collect finds what call i refers to, and checks its arguments as far as they are
// known.
func (r *reader) collect(i int) {
	c := &r.calls[i]
	for _, id := range c.after {
		c.needs = append(c.needs, need{id, "after"})
	}
	if c.over != nil && c.over != noList {
		c.needs = append(c.needs, need{c.over.call, c.over.text})
		if problem := r.unlisted(i); problem != "" {
			r.fault(i, "map: "+problem, mapForm)
		}
	}
	if c.Arguments == nil {
		return
	}
	var arguments bytes.Buffer
	var open [][]string
	_ = replace(&arguments, c.Arguments, make([]string, 0, rawjson.DefaultDepth), func(path []string, ref json.RawMessage) (json.RawMessage, error) {
		if r.refs++; r.refs <= MaxRefs {
			open = append(open, slices.Clone(path))
			r.reference(i, open[len(open)-1], ref)
		}
		return json.RawMessage("null"), nil
	})
	if c.tool.Check != nil && r.refs <= MaxRefs {
		if problem := c.tool.Check(arguments.Bytes(), open); problem != "" {
			fix := ""
			if c.tool.Form != "" {
				fix = c.Tool + " takes {" + c.tool.Form + "}"
			}
			r.fault(i, c.Tool+": "+problem, fix)
		}
	}
}

// reference notes that call i refers to the result of a call in its argument at
// path.
func (r *reader) reference(i int, path []string, ref json.RawMessage) {
	c := &r.calls[i]
	if rawjson.Kind(ref) != '"' {
		r.fault(i, "$ref is "+kindOf(ref)+", not a text", `for example {"$ref":"#/a/rows/0/id"}`)
		return
	}
	p, err := parsePointer(rawjson.String(ref))
	switch {
	case err != nil:
		r.fault(i, fmt.Sprintf("the reference %.80q: %v", rawjson.String(ref), err),
			`what stands for itself is written {"$literal":...}`)
	case p.call == item && c.over == nil:
		r.fault(i, fmt.Sprintf("%.80s is the element of a list, but the call has no map", p.text), mapForm)
	default:
		if problem := r.foretold(i, p, path); problem != "" {
			r.fault(i, "the reference "+problem, "")
		}
		if p.call != item {
			c.needs = append(c.needs, need{p.call, p.text})
		}
	}
}

// need notes that call i needs another, or what is wrong with that.
func (r *reader) need(i int, n need) {
	j, ok := r.places[n.id]
	switch {
	case !ok && r.tooMany: // it may be one of the rest
	case !ok:
		r.fault(i, fmt.Sprintf("%.80s: there is no call %.40q in the plan", n.where, n.id), "the calls are "+r.idList())
	case j == i:
		r.fault(i, fmt.Sprintf("%.80s: it needs its own result", n.where), "remove the reference")
	case j > i && r.web.leads(j, i): // told as a circle
	case j > i:
		r.fault(i, fmt.Sprintf("%.80s: %s comes later", n.where, n.id), "write "+n.id+" before "+r.calls[i].at)
	default:
		r.calls[i].Node.needs = append(r.calls[i].Node.needs, j)
	}
}

// circles tells of calls that need each other, once for each such set.
func (r *reader) circles() {
	told := map[uint64]bool{}
	for i := range r.calls {
		for _, n := range r.calls[i].needs {
			j, ok := r.places[n.id]
			if !ok || j <= i || !r.web.leads(j, i) || len(told) == maxCircles {
				continue
			}
			text, set := r.calls[i].at, uint64(0)
			for _, k := range r.web.path(j, i) {
				text += " needs " + r.calls[k].at
				set |= 1 << k
			}
			if !told[set] {
				told[set] = true
				r.fault(i, "is part of a circle: "+text, "remove one of these references")
			}
		}
	}
}

// maxCircles is how many are told.
const maxCircles = 10

func (r *reader) idList() string {
	const most = 12
	var out []string
	for i := range r.calls {
		if i == most {
			return strings.Join(out, ", ") + " and more"
		}
		out = append(out, r.calls[i].at)
	}
	return strings.Join(out, ", ")
}

// requires refuses a tool without the output that it needs.
func (r *reader) requires(i int) {
	c := &r.calls[i]
	for _, tool := range c.tool.Requires {
		in, met, firm := -1, false, false
		for j := range r.calls {
			if r.calls[j].Tool != tool || j == i {
				continue
			}
			firm = firm || r.firm.leads(i, j)
			if leads := r.web.leads(i, j); in < 0 || leads && !met {
				in, met = j, leads
			}
		}
		switch {
		case firm:
		case met:
			r.fault(i, fmt.Sprintf("%s needs the output of %s, but is made without it where a call before it fails with on_error null", c.Tool, tool),
				fmt.Sprintf("leave on_error out of %s and what lies between", r.calls[in].at))
		case in < 0:
			r.fault(i, fmt.Sprintf("%s needs the output of %s, which is not in the plan", c.Tool, tool),
				fmt.Sprintf(`write {"id":...,"tool":%q,"arguments":{...}} before it and refer to its result`, tool))
		default:
			id := r.calls[in].at
			r.fault(i, fmt.Sprintf("%s needs the output of %s, but does not depend on call %s", c.Tool, tool, id),
				fmt.Sprintf(`write %s before it and refer to its result, or add "after":[%q]`, id, id))
		}
	}
}

// keepOrder makes what changes something at a source a barrier there: what is
// written before it is done first, what is written after it later.
func (r *reader) keepOrder(i int) {
	n, t := &r.calls[i].Node, &r.calls[i].tool
	for j := range i {
		if o := &r.calls[j].tool; o.Source == t.Source && (o.Writes || t.Writes) {
			n.order = append(n.order, j)
		}
	}
}
