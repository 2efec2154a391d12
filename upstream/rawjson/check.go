package rawjson

import (
	"encoding/binary"
	"math/bits"
)

// checker is a recursive-descent validator; recursion is bounded by max. Its methods
// take where to begin and return where they ended, -1 once they have failed.
type checker struct {
	b    []byte
	max  int
	dups bool
	keys names  // of the objects that are open
	esc  bool   // the last string has an escape in it
	idx  *index // where to note members; nil for nowhere
	err  error
}

// names are member names, those of the innermost object last. Most texts have so
// few that they need no memory of their own.
type names struct {
	n    int
	few  [16]span
	many []span // all of them, once there are more
}

func (k *names) add(s span) {
	if k.many == nil && k.n < len(k.few) {
		k.few[k.n] = s
	} else {
		if k.many == nil {
			k.many = append(k.many, k.few[:]...)
		}
		k.many = append(k.many[:k.n], s)
	}
	k.n++
}

// cut takes out those from base on, and returns them until the next one is added.
func (k *names) cut(base int) []span {
	end := k.n
	k.n = base
	if k.many != nil {
		return k.many[base:end]
	}
	return k.few[base:end]
}

// span is a member name in the text, with its quotes.
type span struct {
	from, to int
	escaped  bool
}

func (c *checker) fail(at int, reason string) int {
	c.err = &SyntaxError{Offset: at, Reason: reason}
	return -1
}

func (c *checker) value(i, depth int) int {
	if i >= len(c.b) {
		return c.fail(i, "unexpected end of text")
	}
	switch ch := c.b[i]; {
	case ch == '"':
		return c.str(i)
	case ch == '{':
		return c.object(i, depth+1)
	case ch == '[':
		return c.array(i, depth+1)
	case ch == '-' || (ch >= '0' && ch <= '9'):
		return c.number(i)
	case ch == 't':
		return c.literal(i, "true")
	case ch == 'f':
		return c.literal(i, "false")
	case ch == 'n':
		return c.literal(i, "null")
	}
	return c.fail(i, "unexpected character")
}

func (c *checker) object(i, depth int) int {
	if depth > c.max {
		return c.fail(i, "nested too deeply")
	}
	b, base := c.b, c.keys.n
	if i = skipSpace(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return c.fail(i, "expected a member name")
		}
		from := i
		if i = c.str(i); i < 0 {
			return i
		}
		to := i
		if !c.dups {
			c.keys.add(span{from, to, c.esc})
		}
		if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
			return c.fail(i, "expected ':' after a member name")
		}
		at := skipSpace(b, i+1)
		if c.idx != nil {
			c.idx.enter(depth, b[from:to], at)
		}
		if i = c.value(at, depth); i < 0 {
			return i
		}
		if c.idx != nil {
			c.idx.leave(depth, b, from, to, at, i)
		}
		if i = skipSpace(b, i); i >= len(b) {
			return c.fail(i, "unexpected end of text")
		}
		if b[i] == '}' {
			if c.err = c.duplicates(base); c.err != nil {
				return -1
			}
			return i + 1
		}
		if b[i] != ',' {
			return c.fail(i, "expected ',' or '}'")
		}
		i = skipSpace(b, i+1)
	}
}

// smallObject is the number of members up to which comparing all pairs is
// cheaper than building a set.
const smallObject = 12

// mayEqual rules most pairs of names out by their length.
func (s span) mayEqual(o span) bool {
	return s.to-s.from == o.to-o.from || s.escaped || o.escaped
}

func (c *checker) duplicates(base int) error {
	keys := c.keys.cut(base)
	if len(keys) <= smallObject {
		for i, k := range keys {
			for _, l := range keys[:i] {
				if k.mayEqual(l) && c.sameName(k, l) {
					return &SyntaxError{Offset: k.from, Reason: "member " + string(c.b[k.from:k.to]) + " is named twice"}
				}
			}
		}
		return nil
	}
	seen := make(map[string]struct{}, len(keys))
	for _, k := range keys {
		name := name(c.b[k.from:k.to])
		if _, dup := seen[name]; dup {
			return &SyntaxError{Offset: k.from, Reason: "member " + string(c.b[k.from:k.to]) + " is named twice"}
		}
		seen[name] = struct{}{}
	}
	return nil
}

func (c *checker) sameName(a, b span) bool {
	x, y := c.b[a.from:a.to], c.b[b.from:b.to]
	if !a.escaped && !b.escaped {
		return string(x) == string(y)
	}
	return name(x) == name(y)
}

func (c *checker) array(i, depth int) int {
	if depth > c.max {
		return c.fail(i, "nested too deeply")
	}
	b := c.b
	if i = skipSpace(b, i+1); i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		if i = c.value(i, depth); i < 0 {
			return i
		}
		if i = skipSpace(b, i); i >= len(b) {
			return c.fail(i, "unexpected end of text")
		}
		if b[i] == ']' {
			return i + 1
		}
		if b[i] != ',' {
			return c.fail(i, "expected ',' or ']'")
		}
		i = skipSpace(b, i+1)
	}
}

func (c *checker) str(i int) int {
	b := c.b
	i, escaped := plainRun(b, i+1)
	for i < len(b) && b[i] == '\\' {
		n := escapeLen(b[i:])
		if n == 0 {
			return c.fail(i, "invalid escape in a string")
		}
		i, _ = plainRun(b, i+n)
		escaped = true
	}
	c.esc = escaped
	if i >= len(b) {
		return c.fail(len(b), "unexpected end of text in a string")
	}
	if b[i] != '"' {
		return c.fail(i, "control character in a string")
	}
	return i + 1
}

// plainRun returns the index of the first byte of b from i on that needs
// attention inside a string: a quote, a control character, or a backslash that
// begins no escape of two bytes; len(b) or more if there is none. It looks at
// eight bytes at a time, and says whether it has passed an escape.
func plainRun(b []byte, i int) (end int, escaped bool) {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	var slashes uint64 // where there were any
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		q := w ^ (ones * '"')
		s := w ^ (ones * '\\')
		// A byte is found where subtracting borrowed. The lowest hit is exact; one
		// above it may be a neighbour's borrow.
		quote, slash, control := (q-ones)&^q, (s-ones)&^s, (w-ones*0x20)&^w
		// Nearly everywhere there is none, or quotes with a backslash each, as in JSON
		// within a string. What a borrow has found has no such neighbour.
		if (quote^slash<<8|control)&highs == 0 {
			slashes |= slash
			if i += 8; slash>>63 != 0 {
				i-- // to look at the last again, with what it escapes
			}
			continue
		}
		hit := (quote | slash | control) & highs
		next := i + 8
		for hit != 0 {
			at := bits.TrailingZeros64(hit) / 8
			switch ch := b[i+at]; {
			case ch == '\\' && i+at+1 < len(b) && shortEscape[b[i+at+1]]:
				slashes |= highs
				next = max(next, i+at+2)
				hit &= ^uint64(0) << (8*at + 16) // not what is escaped either
			case ch == '"', ch == '\\', ch < 0x20:
				return i + at, slashes&highs != 0
			default:
				hit &= hit - 1
			}
		}
		i = next
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= 0x20 {
		i++
	}
	return i, slashes&highs != 0
}

// shortEscape has the characters that make an escape with the backslash before
// them (RFC 8259, section 7).
var shortEscape = [256]bool{'"': true, '\\': true, '/': true, 'b': true, 'f': true, 'n': true, 'r': true, 't': true}

// escapeLen returns the length of the escape sequence at the start of b, 0 if
// it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	if shortEscape[b[1]] {
		return 2
	}
	if b[1] != 'u' || len(b) < 6 {
		return 0
	}
	for _, h := range b[2:6] {
		if !isHex(h) {
			return 0
		}
	}
	return 6
}

func isHex(h byte) bool {
	return (h >= '0' && h <= '9') || (h >= 'a' && h <= 'f') || (h >= 'A' && h <= 'F')
}

func (c *checker) literal(i int, word string) int {
	if len(c.b)-i < len(word) || string(c.b[i:i+len(word)]) != word {
		return c.fail(i, "unexpected character")
	}
	return i + len(word)
}

func (c *checker) number(i int) int {
	b := c.b
	if b[i] == '-' {
		i++
	}
	from := i
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = digits(b, i); i == from {
		return c.fail(i, "invalid number")
	}
	if i < len(b) && b[i] == '.' {
		from = i + 1
		if i = digits(b, from); i == from {
			return c.fail(i, "invalid number")
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		from = i
		if i = digits(b, from); i == from {
			return c.fail(i, "invalid number")
		}
	}
	return i
}

// digits returns the index behind the digits that begin at b[i].
func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}
