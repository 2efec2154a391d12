package aggregate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// batchResult is the answer of a plan. It is no error because a call failed.
type batchResult struct {
	Summary string      `json:"summary"`
	Results []batchItem `json:"results"`
	Timing  batchTiming `json:"timing"`
}

// batchItem is what became of one call.
type batchItem struct {
	ID     string      `json:"id,omitempty"`
	Tool   string      `json:"tool,omitempty"`
	Source upstream.ID `json:"source,omitempty"`
	Status plan.Status `json:"status"`
	Code   string      `json:"code,omitempty"` // of a failure, see docs/troubleshooting.md; or tool_error
	// Error is why it failed or was skipped.
	Error        string          `json:"error,omitempty"`
	RetryAfterMS int64           `json:"retry_after_ms,omitempty"`
	Result       json.RawMessage `json:"result,omitempty"`  // its structured content, or its text
	Content      json.RawMessage `json:"content,omitempty"` // where it is no text alone
	Notes        []string        `json:"notes,omitempty"`   // what is said of it besides, such as how to read the rest
	Truncated    *batchCut       `json:"truncated,omitempty"`
	Items        []batchItem     `json:"items,omitempty"` // of a call made for each element of a list
	// Reused says that it was made when the same plan was sent before.
	Reused bool  `json:"reused,omitempty"`
	MS     int64 `json:"ms"`
}

// batchCut is what was left out of a result that was too long.
type batchCut struct {
	Bytes  int    `json:"bytes"`            // of the whole
	Handle string `json:"handle,omitempty"` // for bulkhead_read_more; "" if it is too long to keep
}

// batchTiming is in milliseconds: how long the plan took, its longest chain of
// calls that had to wait for each other, and all its calls one after another.
type batchTiming struct {
	Wall     int64 `json:"wall_ms"`
	Critical int64 `json:"critical_path_ms"`
	Sum      int64 `json:"sum_ms"`
}

// result puts the answer of a plan together, its results within limit bytes.
func (r *batchRun) result(p *plan.Plan, out []plan.Outcome[batchAnswer], wall time.Duration, limit int) (*upstream.Result, error) {
	res := batchResult{Timing: batchTiming{Wall: wall.Milliseconds(), Critical: plan.Critical(p, out).Milliseconds()}}
	var sum time.Duration
	for i := range out {
		n := &p.Nodes[i]
		it := item(&out[i])
		it.ID, it.Tool, it.Source = n.ID, n.Tool, upstream.ID(n.Source)
		if n.Mapped() {
			for j := range out[i].Items {
				it.Items = append(it.Items, item(&out[i].Items[j]))
				sum += out[i].Items[j].Took
			}
			it.failedItems()
		} else {
			sum += out[i].Took
		}
		res.Results = append(res.Results, it)
	}
	res.Timing.Sum = sum.Milliseconds()
	res.Summary = summaryOf(res.Results)
	r.cut(res.Results, limit)
	return upstream.StructuredResult(res)
}

// item says what became of one call.
func item(o *plan.Outcome[batchAnswer]) batchItem {
	it := batchItem{Status: o.Status, Error: Printable(o.Why, maxQuote), MS: o.Took.Milliseconds(), Reused: o.Result.reused}
	if o.Status == plan.Failed && o.Why != "" {
		it.Code = upstream.InvalidArguments.Code() // what it refers to is not there
	}
	switch a := o.Result; {
	case a.err != nil:
		it.Code, it.Error, it.RetryAfterMS = a.err.Kind.Code(), failureText(a.err), a.err.RetryAfter.Milliseconds()
		if a.reused {
			it.Error += " It was not sent again."
		}
	case a.result == nil:
	case a.result.IsError:
		it.Code = "tool_error"
		it.Error = rawjson.String(valueOf(a.result))
		if it.Error == "" {
			it.Error = string(valueOf(a.result))
		}
	default:
		it.Result = valueOf(a.result)
		it.Content = others(a.result)
		it.Notes = notesOf(a.result, a.source)
	}
	return it
}

// failedItems says of a call that was made for a list how many have failed.
func (it *batchItem) failedItems() {
	failed, first := 0, -1
	for i := range it.Items {
		if it.Items[i].Status != plan.OK {
			if failed++; first < 0 {
				first = i
			}
		}
	}
	if failed > 0 {
		it.Code = it.Items[first].Code
		it.Error = fmt.Sprintf("%d of %d elements failed, the first at %d", failed, len(it.Items), first)
	}
}

// others returns the content items of a result that are no text, as a list; nil
// if there are none.
func others(res *upstream.Result) json.RawMessage {
	content, _ := res.Get("content")
	var out []json.RawMessage
	for e := range rawjson.Elements(content) {
		if !isText(e) {
			out = append(out, e)
		}
	}
	if out == nil {
		return nil
	}
	return array(out)
}

// summaryOf says in a sentence what is missing and why.
func summaryOf(items []batchItem) string {
	ok, reused := 0, 0
	var missing []string
	for i := range items {
		it := &items[i]
		switch it.Status {
		case plan.OK:
			ok++
		case plan.Failed:
			missing = append(missing, fmt.Sprintf("%s failed (%s)", it.ID, strings.Trim(string(it.Source)+" "+it.Code, " ")))
		case plan.Skipped:
			missing = append(missing, it.ID+" was skipped")
		}
		if it.Reused {
			reused++
		}
	}
	s := fmt.Sprintf("%d of %d calls succeeded", ok, len(items))
	if reused > 0 {
		s += fmt.Sprintf(", %d of them when this plan was sent before", reused)
	}
	if len(missing) == 0 {
		return s + "."
	}
	return s + "; " + strings.Join(missing, ", ") + ". Send the same plan again to make only the missing calls."
}

// cut holds the results within limit bytes together: the longest are replaced by
// where they can be read, so that short ones are never cut for a long one's sake.
func (r *batchRun) cut(items []batchItem, limit int) {
	type part struct {
		*batchItem
		source upstream.ID
	}
	var all []part
	total := 0
	for i := range items {
		it := &items[i]
		all = append(all, part{it, it.Source})
		for j := range it.Items {
			all = append(all, part{&it.Items[j], it.Source})
		}
	}
	for _, p := range all {
		total += p.size()
	}
	slices.SortStableFunc(all, func(a, b part) int { return b.size() - a.size() })
	for _, p := range all {
		if total <= limit {
			return
		}
		total -= r.hold(p.batchItem, p.source)
	}
}

// size is how much of an item can be held back, in bytes.
func (it *batchItem) size() int {
	size := len(it.Result) + len(it.Content) + len(it.Error)
	for _, note := range it.Notes {
		size += len(note)
	}
	return size
}

// hold keeps what is long of an item back and returns how many bytes that was.
func (r *batchRun) hold(it *batchItem, source upstream.ID) int {
	size := it.size()
	if it.Status != plan.OK {
		short := Printable(it.Error, maxQuote)
		it.Error = short
		return size - len(short)
	}
	var parts []json.RawMessage
	if it.Result != nil {
		text := rawjson.String(it.Result)
		if rawjson.Kind(it.Result) != '"' {
			text = string(it.Result)
		}
		parts = append(parts, textPart(text))
	}
	for e := range rawjson.Elements(it.Content) {
		parts = append(parts, e)
	}
	for _, note := range it.Notes {
		parts = append(parts, textPart(note))
	}
	it.Truncated = &batchCut{Bytes: size, Handle: r.agg.rests.put(restOwner{r.call.Principal, source}, parts, r.agg.opt.MaxResult)}
	it.Result, it.Content, it.Notes = nil, nil, nil
	return size
}
