package aggregate

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// batchArguments are what a batch tool is called with.
type batchArguments struct {
	calls    json.RawMessage
	deadline time.Duration
	most     int // bytes of results
	fresh    bool
}

// batchArgumentsOf reads them, and says what is wrong with them besides the calls.
// They are not checked against the tool's schema, so that whatever is wrong is told
// together, and that a long plan is not decoded as a whole.
func batchArgumentsOf(raw json.RawMessage) (batchArguments, plan.Faults) {
	args := batchArguments{deadline: longestCall, most: math.MaxInt}
	var faults plan.Faults
	for m := range rawjson.Members(raw) {
		n, err := strconv.ParseFloat(string(m.Value), 64)
		whole := err == nil && n == math.Trunc(n)
		switch m.Name {
		case "calls":
			args.calls = m.Value
		case "deadline_ms":
			if !whole || n < 1 {
				faults = append(faults, plan.Fault{Problem: "deadline_ms is no whole number of milliseconds from 1", Fix: `for example "deadline_ms":30000`})
			} else {
				args.deadline = time.Duration(min(n, float64(longestCall.Milliseconds()))) * time.Millisecond
			}
		case "max_result_bytes":
			if !whole || n < leastResult {
				faults = append(faults, plan.Fault{Problem: fmt.Sprintf("max_result_bytes is no whole number from %d", leastResult), Fix: `for example "max_result_bytes":65536`})
			} else {
				args.most = int(min(n, math.MaxInt32))
			}
		case "fresh":
			if args.fresh = string(m.Value) == "true"; !args.fresh && string(m.Value) != "false" {
				faults = append(faults, plan.Fault{Problem: "fresh is neither true nor false", Fix: "leave it out"})
			}
		default:
			faults = append(faults, plan.Fault{Problem: fmt.Sprintf("there is no argument %.40q", m.Name), Fix: "the arguments are calls, deadline_ms, max_result_bytes and fresh"})
		}
		if len(faults) > maxProblems {
			break
		}
	}
	return args, faults
}

// leastResult is the least that a client may have results be held within, see
// batchSchema.
const leastResult = 1024

// What is said of what is wrong with a plan, and of a single fault, in bytes.
const (
	maxFaults = 16 << 10
	maxFault  = 4 << 10
)

// faultsText returns what is wrong with a plan on one line.
func faultsText(faults plan.Faults) string {
	return faults.Text(" | ", maxFaults, func(f string) string { return Printable(f, maxFault) })
}
