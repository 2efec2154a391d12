package plan_test

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
)

// interpreter says what becomes of a plan, one call after another as they are
// written, and by the clock that they would have.
type interpreter struct {
	all   []drawn
	out   []outcome
	limit time.Duration
}

func expected(all []drawn, limit time.Duration) []outcome {
	m := &interpreter{all, make([]outcome, len(all)), limit}
	for i := range all {
		m.call(i)
	}
	return m.out
}

// wanted reports whether the interpreter has a call made: "n3 -1", "n3 0".
func wanted(out []outcome, call string) bool {
	id, element, _ := strings.Cut(strings.TrimPrefix(call, "n"), " ")
	i, _ := strconv.Atoi(id)
	k, _ := strconv.Atoi(element)
	if k < 0 {
		return !out[i].listed && out[i].status != plan.Skipped
	}
	return k < len(out[i].items)
}

// needs are the calls whose results call i needs; order those that it must not
// overtake.
func (m *interpreter) needs(i int) (needs, order []int) {
	d := &m.all[i]
	needs = slices.Clone(d.after)
	for _, r := range d.refs {
		if r.of != item {
			needs = append(needs, r.of)
		}
	}
	if d.over != nil {
		needs = append(needs, d.over.of)
	}
	source, what, _ := strings.Cut(d.tool, "_")
	for j := range i {
		if other, does, _ := strings.Cut(m.all[j].tool, "_"); other == source && (what == "write" || does == "write") {
			order = append(order, j)
		}
	}
	return needs, order
}

func (m *interpreter) call(i int) {
	d, o := &m.all[i], &m.out[i]
	needs, order := m.needs(i)
	for _, j := range slices.Concat(needs, order) {
		o.begun = max(o.begun, m.out[j].ended)
	}
	o.ended = o.begun
	if m.hindered(o.begun, needs) {
		o.status = plan.Skipped
		return
	}
	if d.over == nil {
		*o = m.once(i, o.begun, -1, nil)
		o.ended = o.begun + o.pause
		return
	}
	list, found := m.value(*d.over, nil)
	elements, isList := list.([]any)
	if !found || list != nil && !isList {
		o.status = plan.Failed
		return
	}
	o.status, o.listed = plan.OK, true
	for k, e := range elements {
		it := m.once(i, o.begun, k, e)
		if it.status != plan.OK {
			o.status = plan.Failed
		}
		o.ended = max(o.ended, o.begun+it.pause)
		it.begun, it.pause = 0, 0
		o.items = append(o.items, it)
	}
}

// hindered reports whether a call is not begun: the time is up, a call has failed
// with which the plan ends, or one that it needs has not succeeded.
func (m *interpreter) hindered(at time.Duration, needs []int) bool {
	if at >= m.limit {
		return true
	}
	for j, d := range m.all {
		if d.onError == "fail" && m.out[j].status == plan.Failed && m.out[j].ended <= at {
			return true
		}
	}
	return slices.ContainsFunc(needs, func(j int) bool { return m.out[j].status != plan.OK && m.all[j].onError != "null" })
}

// once is one call that begins at a time, for element k or -1; pause is how long it
// takes.
func (m *interpreter) once(i int, at time.Duration, k int, element any) outcome {
	d := &m.all[i]
	o := outcome{status: plan.Failed, begun: at}
	in := []any{}
	for _, r := range d.refs {
		v, found := m.value(r, element)
		if !found {
			return o
		}
		in = append(in, v)
	}
	if o.pause = time.Duration(1<<i) * time.Millisecond; at+o.pause > m.limit {
		o.pause = m.limit - at
		return o
	}
	if k < 0 && d.fails > 0 || k >= 0 && k == d.fails-1 {
		return o
	}
	o.status, o.value = plan.OK, answer(d.id, in, d.rows)
	return o
}

// value is what a reference means; what did not succeed is null with all its parts.
func (m *interpreter) value(r ref, element any) (v any, found bool) {
	tokens := strings.FieldsFunc(r.path, func(c rune) bool { return c == '/' })
	if r.of == item {
		return into(element, tokens)
	}
	o := &m.out[r.of]
	if o.listed {
		if len(tokens) == 0 {
			list := []any{}
			for _, it := range o.items {
				list = append(list, it.value)
			}
			return list, true
		}
		k, err := strconv.Atoi(tokens[0])
		if err != nil || k >= len(o.items) {
			return nil, false
		}
		o, tokens = &o.items[k], tokens[1:]
	}
	if o.status != plan.OK {
		return nil, true
	}
	return into(o.value, tokens)
}

func into(v any, tokens []string) (any, bool) {
	for _, t := range tokens {
		switch in := v.(type) {
		case map[string]any:
			next, found := in[t]
			if !found {
				return nil, false
			}
			v = next
		case []any:
			k, err := strconv.Atoi(t)
			if err != nil || k >= len(in) {
				return nil, false
			}
			v = in[k]
		default:
			return nil, false
		}
	}
	return v, true
}
