package aggregate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// ruled is [shapes.Layer] for a tool with rules. Of errors only the length is
// bounded: what they say has no records.
func (s *shapes) ruled(ctx context.Context, rule *shaping.Shaper, c *upstream.Call, res *upstream.Result) (*upstream.Result, error) {
	limit := max(s.max, declared(c))
	if rule.MaxBytes > 0 {
		limit = min(limit, rule.MaxBytes)
	}
	if rule.Sizes() && len(res.Raw) <= limit {
		return res, nil
	}
	if !res.IsError {
		if p := payloadOf(res); p != nil {
			if !rule.Sizes() {
				p.claim()
			}
			v, err := rule.Shape(ctx, p.value)
			if err != nil {
				return nil, unshapable(ctx, c, err)
			}
			s.comment(rule, c, p, v)
			res = s.selected(selection{rule, c, res, p, v, limit})
		} else if !rule.Sizes() {
			s.tell(c, "its answer is no JSON, so that only max_bytes has an effect")
		}
	}
	if len(res.Raw) > limit {
		return s.cut(res, c, limit, false) // the schema is not shown, see shownRaw
	}
	return res, nil
}

// opShape is what was being done when an answer could not be shown. Its call was
// carried out.
const opShape = "shape"

// unshapable is the error of an answer that cannot be shown as the operator wants
// it. Showing it as it came could show what is meant to be left out.
func unshapable(ctx context.Context, c *upstream.Call, why error) error {
	if ctx.Err() != nil {
		e := *upstream.AsError(c.Upstream, c.Name, context.Cause(ctx))
		e.Sent = true
		return &e
	}
	said := fmt.Sprintf("the call was carried out, but its answer could not be shaped as the configuration says (tools.override.%s): %v", c.Name, why)
	return &upstream.Error{Upstream: c.Upstream, Tool: c.Name, Op: opShape, Kind: upstream.Internal, Sent: true, Public: said, Err: errors.New(said)}
}

// selection is a result of which some may be shown.
type selection struct {
	rule  *shaping.Shaper
	call  *upstream.Call
	res   *upstream.Result
	p     *payload
	v     *shaping.Shaped
	limit int // bytes
}

// selected returns what is shown of a result: all of it as it came, all that jq
// and fields have left, or so many rows as may be shown and fit.
func (s *shapes) selected(x selection) *upstream.Result {
	n := x.v.Total
	if x.rule.MaxRows > 0 {
		n = min(n, x.rule.MaxRows)
	}
	apart := len(x.v.Rows) == x.v.Total
	if n == x.v.Total && (apart || x.rule.Fields == nil) { // so it is where there are no rows
		all := x.res
		if x.v.Changed || x.p.dropped > 0 {
			all = x.p.with(x.res, x.v.Value(n), x.p.structured, x.note(n, ""))
		}
		if len(all.Raw) <= x.limit || !x.v.IsList || !apart {
			return all
		}
	}
	n = min(n, len(x.v.Rows))
	if fit := x.fitting(n); fit >= 0 { // else what is around the rows is too long already, and all is cut
		n = fit
	}
	handle := ""
	if n < x.v.Total {
		if pages, ok := s.pages(x, n); ok {
			handle = s.rests.keep(owner(x.call), pages)
		}
	}
	// Hosts that show the model the structured content do not show it a note.
	return x.p.with(x.res, x.v.Value(n), false, x.note(n, handle))
}

// sampleHandle is as long as any.
const sampleHandle = "AAAAAAAAAAAAAAAAAAAAAAAAAA"

// fitting returns how many of the first n rows fit into the limit as a text, with
// the note of those that do not; -1 if not even none do.
func (x *selection) fitting(n int) int {
	room := x.limit - len(x.p.with(x.res, x.v.Value(0), false, x.note(x.v.Total, sampleHandle)).Raw)
	if room < 0 {
		return -1
	}
	for i, row := range x.v.Rows[:n] {
		room -= len(rawjson.Quote(string(shaping.Compact(row)))) - 1 // a comma in place of two quotation marks
		if room < 0 {
			return i
		}
	}
	return n
}

// note says what is left out; "" if nothing that can be counted is.
func (x *selection) note(n int, handle string) string {
	var shown, said []string
	less := n < x.v.Total || handle != ""
	if less {
		shown = append(shown, fmt.Sprintf("%d of %d rows", n, x.v.Total))
	}
	if x.v.Fields > 0 {
		text := fmt.Sprintf("%d of %d fields", x.v.Kept, x.v.Fields)
		if x.v.IsList {
			text += " of each row"
		}
		shown = append(shown, text)
	}
	if shown != nil {
		said = append(said, "showing "+strings.Join(shown, " and "))
	}
	switch {
	case x.p.dropped == 1:
		said = append(said, "1 text was left out, which was JSON other than the structured content")
	case x.p.dropped > 1:
		said = append(said, fmt.Sprintf("%d texts were left out, which were JSON other than the structured content", x.p.dropped))
	}
	switch {
	case handle != "":
		said = append(said, fmt.Sprintf(`for the rest call %s with {"handle":%q}`, toolReadMore, handle))
	case less:
		said = append(said, "the rest is too large to keep; ask for less")
	case said == nil:
		return ""
	}
	return fmt.Sprintf("[%s: %s]", x.call.Upstream, strings.Join(said, "; "))
}

// pages puts the rows from the nth on into pages of whole rows, each within the
// limits of a result. Only a row that is longer than any answer may be is cut. ok is
// false if they are too many to keep.
func (s *shapes) pages(x selection, n int) (pages []restPage, ok bool) {
	most, size := x.rule.MaxRows, restCost
	rows := x.v.Rows
	if len(rows) < x.v.Total {
		return nil, false
	}
	for from := n; from < len(rows); {
		to, room := from, x.limit-len(textPart("[]"))
		for to < len(rows) && (most == 0 || to-from < most) {
			room -= len(rawjson.Quote(string(shaping.Compact(rows[to])))) - 1
			if room < 0 && to > from {
				break
			}
			to++
		}
		what := fmt.Sprintf("rows %d to %d of %d", from+1, to, len(rows))
		if to == from+1 {
			what = fmt.Sprintf("row %d of %d", to, len(rows))
		}
		for _, items := range paginate([]json.RawMessage{textPart(string(shaping.List(rows[from:to])))}, max(x.limit, s.max)) {
			page := restPage{items, what}
			if size += page.size(); size > maxRest {
				return nil, false
			}
			pages = append(pages, page)
		}
		from = to
	}
	return pages, true
}

// comment logs what is odd about an answer and its rules.
func (s *shapes) comment(rule *shaping.Shaper, c *upstream.Call, p *payload, v *shaping.Shaped) {
	for _, field := range v.Missing {
		s.tell(c, fmt.Sprintf("fields names %q, which no record of its answer has", Printable(field, maxURI)))
	}
	switch {
	case v.Lost != "":
		s.tell(c, v.Lost+" in its answer")
	case rule.MaxRows > 0 && !v.IsList:
		s.tell(c, "its answer has no list, or several, so that max_rows has no effect; rows_at says which it is")
	}
	if p.dropped > 0 {
		s.tell(c, "its answer has texts of JSON that says something else than the structured content; they are left out, since the rules are for the latter")
	}
	if v.Changed && p.structured && len(p.texts) == 0 && p.prose != nil {
		s.tell(c, "its answer says in words what is structured besides, and the words stay as they are")
	}
}

// tell logs something of a tool's shape, once.
func (s *shapes) tell(c *upstream.Call, what string) {
	if _, told := s.told.LoadOrStore(c.Name+"\x00"+what, true); !told {
		s.log.Info("shape of a tool's results", "tool", c.Name, "problem", what)
	}
}

// shownRaw returns a tool's definition as clients see it. The output schema of one
// whose results are shaped is not for them: what they would check is not what it
// describes.
func (m *Member) shownRaw(t *upstream.Tool) json.RawMessage {
	if m.Shape[t.Name] == nil {
		return t.Raw
	}
	return bytes.Clone(rawjson.Delete(t.Raw, "outputSchema"))
}
