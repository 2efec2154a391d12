package shaping

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Same reports whether two checked JSON texts say the same: however they are
// indented, in whatever order their members are and whichever way characters are
// escaped. Numbers are the same if they are written the same. Of texts of more than
// 8 MiB only the space between tokens may differ.
func Same(a, b []byte) bool { return (&Forms{tight: [][]byte{compact(nil, a)}}).Has(b) }

// AreRows reports whether checked JSON texts are the records of a value, one by
// one. Where the records are is found as without [Rules.RowsAt].
func AreRows(texts []json.RawMessage, v json.RawMessage) bool {
	i := 0
	for row := range rawjson.Elements(list(v)) {
		if i == len(texts) || !Same(texts[i], row) {
			return false
		}
		i++
	}
	return i > 0 && i == len(texts)
}

// Forms are the forms in which one text may say what a value says: the value
// itself, the list of its records, and what its only member is. It is for one
// goroutine.
type Forms struct {
	tight    [][]byte // without space between tokens
	ordered  [][]byte // and in one order; nil until it is asked for
	verbatim string   // what its only member says, if that is a text
}

// FormsOf returns the forms of a checked JSON text.
func FormsOf(v json.RawMessage) *Forms {
	f := &Forms{tight: [][]byte{compact(nil, v)}}
	if rows := list(v); rows != nil && rawjson.Kind(v) != '[' {
		f.tight = append(f.tight, compact(nil, rows))
	}
	if only := onlyMember(v); rawjson.Kind(only) == '{' {
		f.tight = append(f.tight, compact(nil, only))
	} else {
		f.verbatim = rawjson.String(only)
	}
	return f
}

// maxOrdered is how long what is put in order may be, in bytes; of longer texts only
// the spacing may differ. Ordering costs the length for each level of nesting.
const maxOrdered = 1 << 20

// Has reports whether a checked JSON text says the same as one of the forms. The
// work grows with its length, however long the value is.
func (f *Forms) Has(text []byte) bool {
	if f.verbatim != "" && f.verbatim == string(text) {
		return true
	}
	if equalsOne(f.tight, compact(nil, text)) {
		return true
	}
	if len(text) > maxOrdered {
		return false
	}
	if f.ordered == nil {
		f.ordered = make([][]byte, 0, len(f.tight))
		for _, form := range f.tight {
			if len(form) <= maxOrdered {
				f.ordered = append(f.ordered, ordered(nil, form))
			}
		}
	}
	return len(f.ordered) > 0 && equalsOne(f.ordered, ordered(nil, text))
}

// equalsOne compares lengths first, as [bytes.Equal] does.
func equalsOne(forms [][]byte, text []byte) bool {
	return slices.ContainsFunc(forms, func(form []byte) bool { return bytes.Equal(form, text) })
}

// ordered appends a text that is the same for all that say the same: members by
// name, characters escaped in one way. It ends each with a comma, and so is no JSON.
func ordered(out, v []byte) []byte {
	switch rawjson.Kind(v) {
	case '{':
		out = append(out, '{')
		for _, m := range slices.SortedFunc(rawjson.Members(v), func(x, y rawjson.Member) int { return cmp.Compare(x.Name, y.Name) }) {
			out = append(append(out, rawjson.Quote(m.Name)...), ':')
			out = append(ordered(out, m.Value), ',')
		}
		return append(out, '}')
	case '[':
		out = append(out, '[')
		for e := range rawjson.Elements(v) {
			out = append(ordered(out, e), ',')
		}
		return append(out, ']')
	case '"':
		return append(out, rawjson.Quote(rawjson.String(v))...)
	}
	return append(out, bytes.TrimSpace(v)...)
}

// list returns the list of the records of a value where nothing is said of where
// they are; nil if they are none.
func list(v json.RawMessage) json.RawMessage {
	from, to, _ := listIn(v, len(v)-len(trimLeft(v)), len(v))
	if rawjson.Kind(v[from:to]) != '[' {
		return nil
	}
	return v[from:to]
}

// onlyMember returns the value of the only member of an object; nil if it is none,
// or has others.
func onlyMember(v json.RawMessage) (only json.RawMessage) {
	for m := range rawjson.Members(v) {
		if only != nil {
			return nil
		}
		only = m.Value
	}
	return only
}
