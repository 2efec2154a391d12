package demo

import (
	"encoding/json"

	"github.com/bulkhead-mcp/bulkhead/internal/o200k"
)

// Cost is what the question costs a model both ways, in tokens of [o200k.Name], by
// the rule of [o200k.Cost]: one by one each call is a turn, at once all of them
// are one. Finding the customer is in neither.
type Cost struct {
	Definitions, Question int // what is read at each turn
	Serial, Parallel      int // all that is read and written
}

// Ratio is token_overhead_ratio: the tokens of the calls at once through those of
// the calls one by one. Below 1 at once is cheaper.
func (c *Cost) Ratio() float64 { return float64(c.Parallel) / float64(max(c.Serial, 1)) }

func cost(r *Report, definitions json.RawMessage) *Cost {
	counter := o200k.NewCounter()
	c := &Cost{Definitions: counter.Count(string(definitions)), Question: counter.Count(r.Question)}
	var serial [][]o200k.Turn
	var parallel []o200k.Turn
	for i := range r.Serial.Calls {
		s, p := &r.Serial.Calls[i], &r.Parallel.Calls[i]
		serial = append(serial, []o200k.Turn{{Written: counter.Count(s.written), Read: counter.Count(s.read)}})
		parallel = append(parallel, o200k.Turn{Written: counter.Count(p.written), Read: counter.Count(p.read)})
	}
	c.Serial = o200k.Cost(c.Definitions, c.Question, serial...)
	c.Parallel = o200k.Cost(c.Definitions, c.Question, parallel)
	return c
}
