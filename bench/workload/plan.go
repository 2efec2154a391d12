// Package workload makes plans of calls in the shapes that agents ask for,
// carries them out in the ways in which a client can, and says how long each
// would have to take at least.
//
// It owns the shapes, the latencies that are drawn for them, and a scheduler
// that shares nothing with the one it judges. It must not know what a call goes
// through, how results are shown, nor any package of ours.
package workload

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Call is one call of a plan.
type Call struct {
	// ID is letters and digits. Calls that are made for the rows of another
	// call's answer are called NODE.0, NODE.1 and so on, next to each other.
	ID     string
	Source string        // name of the upstream
	Write  bool          // it is alone at its source, after all calls before it and before all after it
	Fails  bool          // its source refuses it
	Takes  time.Duration // that its source takes
	Of     []int         // calls before it, whose values it is given
	Over   int           // the call over whose rows it is made; only of NODE.k
	Rows   []time.Duration
}

// node splits the ID of a call that is made for a row.
func (c *Call) node() (id string, row int) {
	id, number, ok := strings.Cut(c.ID, ".")
	if !ok {
		return id, -1
	}
	_, _ = fmt.Sscan(number, &row) // as the shapes write it
	return id, row
}

// Tool is the name under which clients know the call's tool.
func (c *Call) Tool() string {
	if c.Write {
		return c.Source + "_write"
	}
	return c.Source + "_read"
}

// Plan is calls, each after those that it depends on.
type Plan struct{ Calls []Call }

// before returns the calls that must have ended before call i begins: those
// whose values it is given, and those that it must not overtake.
func (p *Plan) before(i int) []int {
	c := &p.Calls[i]
	out := slices.Clone(c.Of)
	if _, row := c.node(); row >= 0 {
		out = append(out, c.Over)
	}
	for j := range i {
		if other := &p.Calls[j]; other.Source == c.Source && (other.Write || c.Write) {
			out = append(out, j)
		}
	}
	return out
}

// writes reports whether any call changes something.
func (p *Plan) writes() bool {
	return slices.ContainsFunc(p.Calls, func(c Call) bool { return c.Write })
}

// Levels are the calls by how many others must have ended one after another
// before they can begin.
func (p *Plan) Levels() [][]int {
	depth := make([]int, len(p.Calls))
	var out [][]int
	for i := range p.Calls {
		for _, j := range p.before(i) {
			depth[i] = max(depth[i], depth[j]+1)
		}
		if depth[i] == len(out) {
			out = append(out, nil)
		}
		out[depth[i]] = append(out[depth[i]], i)
	}
	return out
}

func (p Plan) divided(by int) Plan {
	for i := range p.Calls {
		c := &p.Calls[i]
		c.Takes /= time.Duration(by)
		for k := range c.Rows {
			c.Rows[k] /= time.Duration(by)
		}
	}
	return p
}

// arguments are what the tools of the upstream take. A value that is a
// reference stands in a plan only.
type arguments struct {
	Key   string    `json:"key"`
	Run   int64     `json:"run"` // makes every run another question
	MS    any       `json:"ms"`
	Of    []any     `json:"of,omitempty"`
	Rows  []float64 `json:"rows,omitempty"`
	Fails bool      `json:"fails,omitempty"`
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// arguments of call i; of are the values that it is given.
func (p *Plan) arguments(i int, run int64, takes any, of []any) arguments {
	c := &p.Calls[i]
	key, _ := c.node()
	a := arguments{Key: key, Run: run, MS: takes, Of: of, Fails: c.Fails}
	for _, d := range c.Rows {
		a.Rows = append(a.Rows, ms(d))
	}
	return a
}

type reference struct {
	Ref string `json:"$ref"`
}

type node struct {
	ID        string     `json:"id"`
	Tool      string     `json:"tool"`
	Arguments arguments  `json:"arguments"`
	Map       *reference `json:"map,omitempty"`
}

// Batch returns the tool that carries the plan out in one call, and its
// arguments.
func (p *Plan) Batch(run int64) (tool string, args []byte, err error) {
	var nodes []node
	for i := range p.Calls {
		c := &p.Calls[i]
		id, row := c.node()
		n := node{ID: id, Tool: c.Tool()}
		switch {
		case row > 0: // the first stands for all
			continue
		case row == 0:
			n.Map = &reference{"#/" + p.Calls[c.Over].ID + "/rows"}
			n.Arguments = p.arguments(i, run, reference{"#/item/ms"}, []any{reference{"#/item/value"}})
		default:
			var of []any
			for _, j := range c.Of {
				of = append(of, reference{"#/" + p.Calls[j].ID + "/value"})
			}
			n.Arguments = p.arguments(i, run, ms(c.Takes), of)
		}
		nodes = append(nodes, n)
	}
	tool = "bulkhead_batch_read"
	if p.writes() {
		tool = "bulkhead_batch"
	}
	args, err = json.Marshal(map[string]any{"calls": nodes})
	return tool, args, err
}
