// Package rawjson reads and edits JSON text without decoding it.
//
// Job: validate a message once at the door ([Check]), then find, replace and
// remove single members of an object while every other byte stays as it came.
// Relaying MCP through typed structs loses keywords, unknown fields and large
// integers; slicing the text loses nothing.
//
// It owns the scanner and the limits that hostile input runs into. It must not
// know MCP, JSON-RPC or any package of ours.
package rawjson

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// DefaultDepth is the nesting that [Check] allows when Limits.Depth is 0.
const DefaultDepth = 128

// Limits bounds what [Check] accepts.
type Limits struct {
	Depth     int  // levels of arrays and objects; 0 means DefaultDepth
	AllowDups bool // accept an object that names a member twice
}

// SyntaxError says what is wrong with a text and at which byte.
type SyntaxError struct {
	Offset int // bytes from the start of the text
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at byte %d", e.Reason, e.Offset)
}

// ErrNotObject is returned by the editing functions for a text that is no
// JSON object.
var ErrNotObject = errors.New("rawjson: not a JSON object")

// Check reports whether b is exactly one JSON value (RFC 8259) in valid UTF-8,
// within the limits and, unless AllowDups is set, without an object that names
// a member twice (names are compared after unescaping). The error is a
// *[SyntaxError].
func Check(b []byte, lim Limits) error { return check(b, lim, nil) }

func check(b []byte, lim Limits, idx *index) error {
	if lim.Depth <= 0 {
		lim.Depth = DefaultDepth
	}
	if !utf8.Valid(b) {
		return &SyntaxError{Offset: firstInvalidUTF8(b), Reason: "invalid UTF-8"}
	}
	c := checker{b: b, max: lim.Depth, dups: lim.AllowDups, idx: idx}
	i := c.value(skipSpace(b, 0), 0)
	if i < 0 {
		return c.err
	}
	if i = skipSpace(b, i); i != len(b) {
		return &SyntaxError{Offset: i, Reason: "unexpected text after the value"}
	}
	return nil
}

func firstInvalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// Kind returns the first significant byte of a value: one of { [ " t f n or a
// digit or minus sign; 0 for an empty text.
func Kind(v []byte) byte {
	i := skipSpace(v, 0)
	if i == len(v) {
		return 0
	}
	return v[i]
}

// IsNull reports whether v is absent or the literal null.
func IsNull(v []byte) bool {
	v = bytes.TrimSpace(v)
	return len(v) == 0 || string(v) == "null"
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}
