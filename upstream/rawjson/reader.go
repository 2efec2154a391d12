package rawjson

import (
	"encoding/json"
	"iter"
	"unicode/utf8"
)

// Reader checks a text, as [Check] does with DefaultDepth and AllowDups, while it is
// walked through, for whoever takes a few values out of a long one: to check it
// first and look for them then is to go through it twice. What was read holds once
// [Reader.End] has said that all of the text does.
type Reader struct {
	c         checker
	at, depth int // len of the text once it has failed
}

// NewReader returns a reader that stands before the value of a text. It is no pointer
// so that whoever has it in something of his own need not take memory for it.
func NewReader(b []byte) Reader {
	r := Reader{c: checker{b: b, max: DefaultDepth, dups: true}, at: skipSpace(b, 0)}
	if !utf8.Valid(b) {
		r.fail(firstInvalidUTF8(b), "invalid UTF-8")
	}
	return r
}

// Kind returns the first byte of the value that r stands before, as [Kind] does; 0
// if there is none.
func (r *Reader) Kind() byte {
	if r.at == len(r.c.b) {
		return 0
	}
	return r.c.b[r.at]
}

// Pos returns the index of where r stands.
func (r *Reader) Pos() int { return r.at }

// Skip moves r behind the value that it stands before, and returns that.
func (r *Reader) Skip() json.RawMessage {
	if r.c.err != nil {
		return nil
	}
	from, to := r.at, r.c.value(r.at, r.depth)
	if to < 0 {
		to = len(r.c.b)
	}
	r.at = to
	return r.c.b[from:to:to]
}

// Descend goes into the object or array that r stands before. It yields the name of
// each member as it stands in the text, with its quotes, or nil of an element, with r
// before the value; whoever takes it moves r behind that, by Skip or by Descend, and
// leaves out none. In the end r is behind the whole.
func (r *Reader) Descend() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		b, closing := r.c.b, r.Kind()+2 // two behind the opening one
		if closing != '}' && closing != ']' {
			return
		}
		if r.depth++; r.depth > r.c.max {
			r.fail(r.at, "nested too deeply")
			return
		}
		r.at = skipSpace(b, r.at+1)
		for more := r.Kind() != closing; more; more = r.next(closing) {
			var name []byte
			if closing == '}' {
				if name = r.name(); name == nil {
					return
				}
			}
			if !yield(name) {
				r.fail(r.at, "not read to its end")
			}
		}
		if r.c.err == nil {
			r.at++
			r.depth--
		}
	}
}

// name moves r from the name of a member to its value; nil if it fails.
func (r *Reader) name() []byte {
	b, from := r.c.b, r.at
	if r.Kind() != '"' {
		r.fail(from, "expected a member name")
		return nil
	}
	to := r.c.str(from)
	if to < 0 {
		r.at = len(b)
		return nil
	}
	if r.at = skipSpace(b, to); r.Kind() != ':' {
		r.fail(r.at, "expected ':' after a member name")
		return nil
	}
	r.at = skipSpace(b, r.at+1)
	return b[from:to:to]
}

// next moves r from behind a value to what comes next in the same object or array,
// or to its closing bracket, and reports whether there is more.
func (r *Reader) next(closing byte) bool {
	if r.c.err != nil {
		return false
	}
	b := r.c.b
	r.at = skipSpace(b, r.at)
	switch k := r.Kind(); {
	case k == closing:
		return false
	case r.at == len(b):
		r.fail(r.at, "unexpected end of text")
		return false
	case k != ',':
		r.fail(r.at, "expected ',' or '"+string(closing)+"'")
		return false
	}
	r.at = skipSpace(b, r.at+1)
	return true
}

// End reports what is wrong with the text, if it is not one value that r has been
// moved behind. The error is a *[SyntaxError].
func (r *Reader) End() error {
	if r.c.err == nil && skipSpace(r.c.b, r.at) != len(r.c.b) {
		r.fail(skipSpace(r.c.b, r.at), "unexpected text after the value")
	}
	return r.c.err
}

func (r *Reader) fail(at int, reason string) {
	if r.c.err == nil {
		r.c.fail(at, reason)
	}
	r.at = len(r.c.b)
}
