// Package shaping leaves out of a JSON value what an operator does not want the
// model to read: by a jq program, by the members that records keep, and by
// telling the records apart so that only some of them are shown.
//
// It owns the form of these rules, where the records of a value are, and what a
// jq program may cost. It works on JSON text: whatever no rule concerns stays as
// it came, numbers and order included. It must not know what the value is the
// answer to, tools, MCP or the model.
package shaping

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Rules is what is shown of a value; the zero value is all of it. They apply in
// the order JQ, Fields, MaxRows, MaxBytes. The last two only say how much is
// shown: [Shaped] has the parts from which that is put together.
type Rules struct {
	// JQ is a program in the language of jq (https://jqlang.org/manual/) that
	// makes one value of another; "" is none.
	JQ string
	// Fields are the members that a record keeps, in the form of [ParseField];
	// nil is all.
	Fields []string
	// RowsAt is a JSON pointer (RFC 6901) through objects to the list of the
	// records, or to the one record that there is. nil finds them: the value if it
	// is a list, else its only member that is a list, else the value is a record.
	RowsAt   *string
	MaxRows  int // records that are shown; 0 is all
	MaxBytes int // of what is shown; 0 is any
}

// Shaper applies rules. It may be used by several goroutines.
type Shaper struct {
	Rules
	program *program // nil for none
	tree    *node    // nil for all fields
	at      []string // the tokens of RowsAt
}

// New returns a shaper. The error says which rule is wrong and why.
func New(r Rules) (*Shaper, error) {
	s := &Shaper{Rules: r}
	if r.JQ != "" {
		var err error
		if s.program, err = compile(r.JQ); err != nil {
			return nil, fmt.Errorf("jq: %w", err)
		}
	}
	if r.RowsAt != nil {
		var err error
		if s.at, err = parsePointer(*r.RowsAt); err != nil {
			return nil, fmt.Errorf("rows_at: %w", err)
		}
	}
	for i, f := range r.Fields {
		path, err := ParseField(f)
		if err != nil {
			return nil, fmt.Errorf("fields[%d]: %w", i, err)
		}
		if s.tree == nil {
			s.tree = &node{}
		}
		s.tree.add(path, i)
	}
	return s, nil
}

// Sizes reports whether the rules are about length alone.
func (s *Shaper) Sizes() bool { return s.program == nil && s.tree == nil && s.MaxRows == 0 }

// Path returns the names that lead to the records where RowsAt is set.
func (s *Shaper) Path() []string { return s.at }

// The bounds of what is told apart. Where a list has more, the others are counted.
const (
	maxRecords = 100_000
	maxShaped  = 32 << 20 // bytes of them together, and of a record that is no list's
)

// Shaped is a value to which jq and fields have been applied, in parts.
type Shaped struct {
	// Rows are the records, where they are a list; IsList says whether they are. Of a
	// list that has more than 100,000, or more than 32 MiB of them, they are the first.
	Rows   []json.RawMessage
	Total  int // how many the list has
	IsList bool
	// Changed reports whether jq or fields have changed anything.
	Changed bool
	// Kept of so many Fields are in the record that has most; both are 0 where no
	// field was taken away.
	Kept, Fields int
	// Missing are the fields, as they are configured, that no record has; none
	// where there is no record.
	Missing []string
	// Lost says why there is nothing that rules for records apply to, "" if there is.
	Lost string

	whole, before, after []byte
	projected            bool // the rows are not those of whole
}

// Shape applies jq and fields to a value that has passed [rawjson.Check]. The
// error says what is wrong with the answer or the program, without a word of the
// answer's own.
func (s *Shaper) Shape(ctx context.Context, v json.RawMessage) (*Shaped, error) {
	out := &Shaped{whole: v}
	if s.program != nil {
		made, err := s.program.run(ctx, v)
		if err != nil {
			return nil, err
		}
		if !Same(made, v) { // else every byte stays
			out.whole, out.Changed = made, true
		}
	}
	from, to, lost := s.records(out.whole)
	if out.Lost = lost; lost != "" {
		return out, nil
	}
	records := out.whole[from:to]
	out.before, out.after = out.whole[:from], out.whole[to:]
	if out.IsList = rawjson.Kind(records) == '['; out.IsList {
		out.split(records)
	} else if s.tree != nil && len(records) > maxShaped {
		return nil, fmt.Errorf("the answer's record of %d bytes is longer than fields are looked for in, which is %d", len(records), maxShaped)
	}
	if s.tree != nil {
		s.project(out, records)
	}
	return out, nil
}

// split tells the records of a list apart.
func (s *Shaped) split(records json.RawMessage) {
	size := 0
	for row := range rawjson.Elements(records) {
		if size += len(row); size <= maxShaped && len(s.Rows) < maxRecords {
			s.Rows = append(s.Rows, row)
		}
		s.Total++
	}
}

// project takes from the records what is no field of theirs.
func (s *Shaper) project(out *Shaped, records json.RawMessage) {
	p := &projection{seen: make([]bool, len(s.Fields))}
	rows := out.Rows
	if !out.IsList {
		rows = []json.RawMessage{records}
	}
	shown := make([]json.RawMessage, len(rows))
	var most count
	objects := false
	for i, row := range rows {
		var n count
		shown[i], n = p.project(nil, row, s.tree)
		most = most.max(n)
		objects = objects || n.all > 0
	}
	if p.removed {
		out.Changed, out.Kept, out.Fields = true, most.kept, most.all
		if out.Rows, out.projected = shown, true; !out.IsList {
			out.Rows = nil
			out.whole = slices.Concat(out.before, shown[0], out.after)
		}
	}
	for i, seen := range p.seen {
		if !seen && objects {
			out.Missing = append(out.Missing, s.Fields[i])
		}
	}
}

// Value returns the value with the first n rows, which are no more than Rows, or
// with all that there are where no field was taken away: the text as it came if nothing
// has changed and n is all of them, else without space between its tokens.
func (s *Shaped) Value(n int) json.RawMessage {
	if !s.IsList || n == s.Total && !s.projected {
		if s.Changed {
			return compact(nil, s.whole)
		}
		return s.whole
	}
	out := append(compact(nil, s.before), '[')
	for i, row := range s.Rows[:n] {
		if i > 0 {
			out = append(out, ',')
		}
		out = compact(out, row)
	}
	return compact(append(out, ']'), s.after)
}

// List returns rows as a JSON list without space between its tokens.
func List(rows []json.RawMessage) json.RawMessage {
	return (&Shaped{IsList: true, projected: true, Rows: rows}).Value(len(rows))
}

// Compact returns JSON text without space between its tokens.
func Compact(v json.RawMessage) json.RawMessage { return compact(nil, v) }

// compact appends JSON text, or a part of one that begins and ends between two
// tokens, without space between its tokens.
func compact(out, v []byte) []byte {
	out, inside := slices.Grow(out, len(v)), false
	for i := 0; i < len(v); {
		j := i
		for j < len(v) && v[j] != '"' && (inside && v[j] != '\\' || !inside && v[j] > ' ') {
			j++
		}
		out = append(out, v[i:j]...)
		if i = j + 1; j == len(v) {
			break
		}
		switch {
		case v[j] == '"':
			inside = !inside
			out = append(out, '"')
		case inside: // an escape
			out = append(out, v[j:min(j+2, len(v))]...)
			i++
		}
	}
	return out
}

// records returns where in v the records are: a list, or one object. It says why
// there are none.
func (s *Shaper) records(v []byte) (from, to int, lost string) {
	from, to = len(v)-len(trimLeft(v)), len(v)
	if s.RowsAt == nil {
		return listIn(v, from, to)
	}
	for _, token := range s.at {
		found := false
		for m := range rawjson.Members(v[from:to]) {
			if m.Name == token {
				from, to, found = from+m.End-len(m.Value), from+m.End, true
				break
			}
		}
		if !found {
			return 0, 0, "there is nothing at rows_at"
		}
	}
	if k := rawjson.Kind(v[from:to]); k != '[' && k != '{' {
		return 0, 0, "there is neither a list nor an object at rows_at"
	}
	return from, to, ""
}

// listIn finds the list of records in a value: itself, or its only member that
// is a list. Where there is none the value is the record.
func listIn(v []byte, from, to int) (int, int, string) {
	lists, at := 0, [2]int{from, to}
	for m := range rawjson.Members(v[from:to]) {
		if rawjson.Kind(m.Value) == '[' {
			lists, at = lists+1, [2]int{from + m.End - len(m.Value), from + m.End}
		}
	}
	if lists > 1 {
		return from, to, ""
	}
	return at[0], at[1], ""
}

func trimLeft(v []byte) []byte {
	i := slices.IndexFunc(v, func(c byte) bool { return c != ' ' && c != '\n' && c != '\r' && c != '\t' })
	return v[max(i, 0):]
}

// parsePointer reads a JSON pointer.
func parsePointer(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	rest, ok := strings.CutPrefix(text, "/")
	if !ok {
		return nil, fmt.Errorf(`%q is no JSON pointer: it begins with "/", or is empty for the whole`, text)
	}
	tokens := strings.Split(rest, "/")
	for i, t := range tokens {
		if tokens[i], ok = rawjson.Unescape(t); !ok {
			return nil, fmt.Errorf("%q is no JSON pointer: ~ stands before 0 or 1 only", text)
		}
	}
	return tokens, nil
}
