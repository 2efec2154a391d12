// Package plan reads a plan of calls that depend on each other, refuses what is
// wrong with it before anything runs, and runs it: each call as soon as what it
// needs is there.
//
// It owns the form of plans, references between calls, what follows from a
// failure, and the order of calls that change something. It must not know how a
// call is carried out, who makes it, or what its result looks like: it is given
// functions for the first and JSON for the last.
package plan

import (
	"encoding/json"
	"regexp"
	"sync"
)

// The bounds of a plan. They are few enough that a hostile one costs no more than
// its text.
const (
	MaxNodes = 64  // calls that are written down
	MaxItems = 100 // elements of a list that one call is made for
	MaxCalls = 256 // calls in all
	MaxRefs  = 256 // references

	maxDepth   = 32       // tokens of a pointer
	maxPointer = 2 << 10  // bytes of one
	maxFaults  = 100      // that are found; who has more has time to come back
	maxOne     = 4 << 20  // bytes of the arguments of a call, with what references put there
	maxAll     = 32 << 20 // bytes that references and lists put into the arguments of all calls
)

// Tool is what a plan has to know of a tool.
type Tool struct {
	Source   string   // where it belongs; what changes something there is done in order
	Reads    bool     // it says that it changes nothing
	Writes   bool     // calls that change something are kept in order, and it may be one
	Requires []string // tools whose output it needs, by their names in plans
	// Check returns what is wrong with arguments, "" if nothing; it may be nil. What
	// stands at the paths in open is not known yet, and null for now.
	Check func(arguments json.RawMessage, open [][]string) string
	// Form says in a few words what it takes; "" if that is not known.
	Form string
	// Takes and Returns are JSON Schemas of its arguments and of its result; nil
	// where there is none.
	Takes, Returns json.RawMessage
}

// OnError says what becomes of the rest of a plan when a call fails.
type OnError string

// What can follow from a failure.
const (
	Skip OnError = "skip" // calls that depend on it are skipped
	Null OnError = "null" // they run, and its result is null
	Fail OnError = "fail" // nothing more is begun
)

// Node is one call of a plan, or one for each element of a list.
type Node struct {
	ID        string
	Tool      string
	Source    string
	Arguments json.RawMessage // as written, with references; an object
	OnError   OnError
	over      *pointer // the list whose elements it is made for; nil if it is made once
	needs     []int    // nodes whose results it refers to or that it is to come after
	order     []int    // nodes that it must not overtake at its source
}

// Mapped reports whether the call is made for each element of a list.
func (n *Node) Mapped() bool { return n.over != nil }

// Plan is a valid plan, in the order in which it was written.
type Plan struct{ Nodes []Node }

// Under returns the calls whose results those of these ids were made from, directly
// or not.
func (p *Plan) Under(ids map[string]bool) map[string]bool {
	under := map[string]bool{}
	for i := len(p.Nodes) - 1; i >= 0; i-- { // what a call needs stands before it
		if n := &p.Nodes[i]; ids[n.ID] || under[n.ID] {
			for _, j := range n.needs {
				under[p.Nodes[j].ID] = true
			}
		}
	}
	return under
}

var idForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`) })

// item is what a call that is made for each element of a list calls the element.
const item = "item"
