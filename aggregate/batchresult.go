package aggregate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
	Content      json.RawMessage `json:"content,omitempty"` // what the source says besides, as items of content
	Notes        []string        `json:"notes,omitempty"`   // what we say of it, such as how to read the rest
	Meta         json.RawMessage `json:"meta,omitempty"`    // what we say of it to programs, see ownMeta
	Truncated    *batchCut       `json:"truncated,omitempty"`
	Items        []batchItem     `json:"items,omitzero"` // of a call made for each element of a list, which may have none
	// Reused says that it was made when the same plan was sent before.
	Reused bool  `json:"reused,omitempty"`
	MS     int64 `json:"ms"`
	unsure bool  // it failed, and may have been carried out
	hidden bool  // it failed, and was carried out: its result cannot be shown
	astray bool  // it failed, because what it refers to cannot be had
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
func (r *batchRun) result(ctx context.Context, p *plan.Plan, out []plan.Outcome[batchAnswer], wall time.Duration, limit int) (*upstream.Result, error) {
	res := batchResult{Timing: batchTiming{Wall: wall.Milliseconds(), Critical: plan.Critical(p, out).Milliseconds()}}
	var sum time.Duration
	for i := range out {
		n := &p.Nodes[i]
		it := item(&out[i])
		it.ID, it.Tool, it.Source = n.ID, n.Tool, upstream.ID(n.Source)
		if n.Mapped() {
			if out[i].Items != nil {
				it.Items = []batchItem{}
			}
			for j := range out[i].Items {
				it.Items = append(it.Items, item(&out[i].Items[j]))
				sum += out[i].Items[j].Took
			}
			it.elements()
		} else {
			sum += out[i].Took
		}
		res.Results = append(res.Results, it)
	}
	res.Timing.Sum = sum.Milliseconds()
	left := r.cut(res.Results, limit)
	res.Summary = summaryOf(res.Results, r.agg.opt.Ending() || errors.Is(context.Cause(ctx), upstream.ErrStopping)) + left
	return upstream.StructuredResult(res)
}

// item says what became of one call.
func item(o *plan.Outcome[batchAnswer]) batchItem {
	it := batchItem{
		Status: o.Status, Error: Printable(o.Why, maxQuote), Meta: o.Result.meta,
		MS: o.Took.Milliseconds(), Reused: o.Result.reused, unsure: o.Result.unsure,
	}
	if o.Status == plan.Failed && o.Why != "" {
		it.Code, it.astray = upstream.InvalidArguments.Code(), true
	}
	switch a := o.Result; {
	case a.err != nil:
		it.Code, it.Error, it.RetryAfterMS = a.err.Kind.Code(), failureText(a.err), a.err.RetryAfter.Milliseconds()
		it.hidden = a.unsure && a.err.Op == opShape
		switch {
		case a.reused && it.hidden:
			it.Error += " It was not sent again with this plan."
		case a.reused:
			it.Error += " It was not sent again with this plan, because it may have been carried out: find that out, and if it was not, call the tool by itself."
		}
	case a.cut != nil:
		it.Truncated = a.cut
	case a.result == nil:
	case a.result.IsError:
		it.Code = codeToolError
		it.Error = strings.Join(textsIn(slices.Concat(contentOf(a.result))), "\n")
		if v, ok := a.result.Get(memberStructured); ok && it.Error == "" {
			it.Error = string(v)
		}
	default:
		if it.Result = o.Value; it.Result == nil {
			it.Result = valueOf(a.result)
		}
		it.Content, it.Notes = besides(a.result), notesOf(a.result)
	}
	return it
}

// elements says of a call that was made for a list how many have failed, and
// whether all were made before.
func (it *batchItem) elements() {
	failed, first := 0, -1
	it.Reused = len(it.Items) > 0
	for i := range it.Items {
		it.Reused = it.Reused && it.Items[i].Reused
		it.unsure = it.unsure || it.Items[i].unsure
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

// summaryOf says in a sentence what is missing and why, and what to do about it.
// Once Bulkhead has stopped nothing is known any more of a plan.
func summaryOf(items []batchItem, stopped bool) string {
	ok, reused, failed := 0, 0, false
	var missing []string
	for i := range items {
		it := &items[i]
		switch it.Status {
		case plan.OK:
			ok++
			if it.Reused {
				reused++
			}
		case plan.Failed:
			why := strings.Trim(string(it.Source)+" "+it.Code, " ")
			if it.astray {
				why = "what it refers to cannot be had"
			}
			missing = append(missing, fmt.Sprintf("%s failed (%s)", it.ID, why))
			failed = true
		case plan.Skipped:
			missing = append(missing, it.ID+" was skipped")
		}
	}
	s := fmt.Sprintf("%d of %d calls succeeded", ok, len(items))
	if reused > 0 {
		s += fmt.Sprintf(", %d of them when this plan was sent before", reused)
	}
	if len(missing) == 0 {
		return s + "."
	}
	s += "; " + strings.Join(missing, ", ") + "."
	if which := whichOf(items, (*batchItem).wrong); which != "" {
		s += " Correct " + which + ", and send nothing but that and what depends on it, as a new plan: as it is, it fails again."
	}
	unsure := whichOf(items, func(it *batchItem) bool { return it.unsure && !it.hidden })
	if unsure != "" {
		s += " Nobody knows whether " + unsure + " happened: find out before you make such a call again."
	}
	if which := whichOf(items, func(it *batchItem) bool { return it.hidden }); which != "" {
		s += " " + which + " was carried out, but its result cannot be shown: do not make it again."
	}
	if which := whichOf(items, func(it *batchItem) bool { return it.Code == upstream.NeedsLogin.Code() }); which != "" {
		s += " The user has to sign in for " + which + " first, as the error says."
	}
	again := whichOf(items, (*batchItem).missed) != ""
	switch {
	case stopped:
		s += " Bulkhead was stopped, and forgets this plan: send what is missing as a new one, without what succeeded."
	case again && unsure != "":
		s += " If you send the same plan again within 5 minutes, the other missing calls are made, but not these."
	case again || !failed: // the time was up
		s += " Send the same plan again within 5 minutes to make only the missing calls."
	}
	return s
}

// wrong reports whether a call failed and does so again until it is another one.
func (it *batchItem) wrong() bool {
	return it.Status == plan.Failed && (it.Code == upstream.InvalidArguments.Code() || it.Code == upstream.NotFound.Code())
}

// missed reports whether a call failed that may succeed when it is made again.
func (it *batchItem) missed() bool {
	return it.Status == plan.Failed && !it.unsure && !it.wrong() && it.Code != upstream.Denied.Code()
}

// namedElements is how many elements of a list are named at most.
const namedElements = 10

// whichOf names the calls that are missing and of which something is so.
func whichOf(items []batchItem, so func(*batchItem) bool) string {
	var names []string
	for i := range items {
		if which := items[i].which(so); which != "" && items[i].Status != plan.OK {
			names = append(names, which)
		}
	}
	return strings.Join(names, ", ")
}

// which names a call of which something is so, with the elements that this is about
// where it was made for each of a list; "" if it is not so.
func (it *batchItem) which(so func(*batchItem) bool) string {
	if it.Items == nil {
		if so(it) {
			return it.ID
		}
		return ""
	}
	var at []string
	for i := range it.Items {
		if so(&it.Items[i]) {
			at = append(at, strconv.Itoa(i))
		}
	}
	switch n := len(at); {
	case n == 0:
		return ""
	case n == 1:
		return it.ID + " (element " + at[0] + " alone)"
	case n > namedElements:
		return fmt.Sprintf("%s (elements %s and %d more alone)", it.ID, strings.Join(at[:namedElements], ", "), n-namedElements)
	}
	return it.ID + " (elements " + strings.Join(at, ", ") + " alone)"
}

// cut holds the results within limit bytes together, as they are written twice in
// the answer: the longest are replaced by where they can be read, so that short
// ones are never cut for a long one's sake. It returns what is to be said of that.
func (r *batchRun) cut(items []batchItem, limit int) string {
	type part struct {
		*batchItem
		source upstream.ID
		size   int
	}
	var all []part
	total, before := 0, 0
	for i := range items {
		it := &items[i]
		all = append(all, part{it, it.Source, it.size()})
		for j := range it.Items {
			all = append(all, part{&it.Items[j], it.Source, it.Items[j].size()})
		}
	}
	left := batchCut{}
	for _, p := range all {
		if total += p.size; p.Truncated != nil {
			before, left.Bytes = before+1, left.Bytes+p.Truncated.Bytes
		}
	}
	slices.SortStableFunc(all, func(a, b part) int { return b.size - a.size })
	n := 0
	for n < len(all) && total > limit && all[n].size > minCut {
		p := all[n]
		r.hold(p.batchItem, p.source)
		if p.Truncated != nil {
			before, left.Bytes = before+1, left.Bytes+p.Truncated.Bytes
		}
		total += p.batchItem.size() - p.size
		n++
	}
	if before == 0 {
		return ""
	}
	return fmt.Sprintf(" %d results of %d bytes together were left out for their length: read them with %s, by their handles.", before, left.Bytes, toolReadMore)
}

// size is how many bytes of the answer can be saved by holding an item back.
func (it *batchItem) size() int {
	n := 0
	add := func(b []byte) {
		n += 2*len(b) + bytes.Count(b, []byte{'"'}) + bytes.Count(b, []byte{'\\'}) // as JSON, and as a text of that
	}
	add(it.Result)
	add(it.Content)
	add([]byte(it.Error))
	for _, note := range it.Notes {
		add([]byte(note))
	}
	return n
}

// hold keeps what is long of an item back.
func (r *batchRun) hold(it *batchItem, source upstream.ID) {
	if it.Status == plan.OK {
		it.Truncated = r.holdBack(it.Result, it.Content, it.Notes, source)
		it.Result, it.Content, it.Notes = nil, nil, nil
		return
	}
	if short := Printable(it.Error, minCut); len(short) < len(it.Error) {
		it.Truncated = r.holdBack(rawjson.Quote(it.Error), nil, nil, source)
		it.Error = short
	}
}

// holdBack keeps a result, and what is said of it, for bulkhead_read_more.
func (r *batchRun) holdBack(value, content json.RawMessage, notes []string, source upstream.ID) *batchCut {
	size := len(value) + len(content)
	var parts []json.RawMessage
	if value != nil {
		text := rawjson.String(value)
		if rawjson.Kind(value) != '"' {
			text = string(value)
		}
		parts = append(parts, textPart(text))
	}
	for e := range rawjson.Elements(content) {
		parts = append(parts, e)
	}
	for _, note := range notes {
		parts, size = append(parts, textPart(note)), size+len(note)
	}
	return &batchCut{size, r.agg.rests.put(restOwner{r.call.Principal, source}, parts, r.agg.opt.MaxResult)}
}

// valueOf returns what references to a result refer to: its structured content;
// where there is none, the text, as the JSON that it is or else as a text. It is
// what the model is shown of it, see [shapes]: it knows nothing else.
func valueOf(res *upstream.Result) json.RawMessage {
	if v, ok := res.Get(memberStructured); ok {
		return v
	}
	if p := payloadOf(res); p != nil && !res.IsError {
		return p.value
	}
	said, _ := contentOf(res)
	texts := textsIn(said)
	if len(texts) == 1 && rawjson.Check([]byte(texts[0]), rawjson.Limits{}) == nil {
		return json.RawMessage(texts[0])
	}
	return rawjson.Quote(strings.Join(texts, "\n"))
}

func textsIn(content []json.RawMessage) (texts []string) {
	for _, item := range content {
		if isText(item) {
			text, _ := rawjson.GetString(item, "text")
			texts = append(texts, text)
		}
	}
	return texts
}

// ourMeta marks a member of the _meta of a result as ours. The result is nobody
// else's yet.
func ourMeta(res *upstream.Result, key string) *upstream.Result {
	res.Marks.Meta = append(slices.Clip(res.Marks.Meta), key)
	return res
}

// ownMeta returns what we have put into the _meta of a result; nil if that is
// nothing.
func ownMeta(res *upstream.Result) json.RawMessage {
	meta, _ := res.Get(memberMeta)
	var own json.RawMessage
	for _, key := range res.Marks.Meta {
		if v, ok := rawjson.Get(meta, key); ok {
			if own == nil {
				own = json.RawMessage("{}")
			}
			own = set(own, key, v)
		}
	}
	return own
}
