package rawjson

import (
	"encoding/binary"
	"math/bits"
)

// checker is a recursive-descent validator; recursion is bounded by max.
type checker struct {
	b    []byte
	i    int
	max  int
	dups bool
	keys names  // of the objects that are open
	esc  bool   // the last string has an escape in it
	idx  *index // where to note members; nil for nowhere
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

func (c *checker) fail(reason string) error { return &SyntaxError{Offset: c.i, Reason: reason} }

func (c *checker) space() { c.i = skipSpace(c.b, c.i) }

func (c *checker) value(depth int) error {
	if c.i >= len(c.b) {
		return c.fail("unexpected end of text")
	}
	switch ch := c.b[c.i]; {
	case ch == '{':
		return c.object(depth + 1)
	case ch == '[':
		return c.array(depth + 1)
	case ch == '"':
		return c.str()
	case ch == '-' || (ch >= '0' && ch <= '9'):
		return c.number()
	case ch == 't':
		return c.literal("true")
	case ch == 'f':
		return c.literal("false")
	case ch == 'n':
		return c.literal("null")
	}
	return c.fail("unexpected character")
}

func (c *checker) object(depth int) error {
	if depth > c.max {
		return c.fail("nested too deeply")
	}
	base := c.keys.n
	c.i++
	c.space()
	if c.i < len(c.b) && c.b[c.i] == '}' {
		c.i++
		return nil
	}
	for {
		if c.i >= len(c.b) || c.b[c.i] != '"' {
			return c.fail("expected a member name")
		}
		from := c.i
		if err := c.str(); err != nil {
			return err
		}
		to := c.i
		if !c.dups {
			c.keys.add(span{from, to, c.esc})
		}
		c.space()
		if c.i >= len(c.b) || c.b[c.i] != ':' {
			return c.fail("expected ':' after a member name")
		}
		c.i++
		c.space()
		at := c.i
		if c.idx != nil {
			c.idx.enter(depth, c.b[from:to], at)
		}
		if err := c.value(depth); err != nil {
			return err
		}
		if c.idx != nil {
			c.idx.leave(depth, c.b, from, to, at, c.i)
		}
		c.space()
		if c.i >= len(c.b) {
			return c.fail("unexpected end of text")
		}
		if c.b[c.i] == '}' {
			c.i++
			return c.duplicates(base)
		}
		if c.b[c.i] != ',' {
			return c.fail("expected ',' or '}'")
		}
		c.i++
		c.space()
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

func (c *checker) array(depth int) error {
	if depth > c.max {
		return c.fail("nested too deeply")
	}
	c.i++
	c.space()
	if c.i < len(c.b) && c.b[c.i] == ']' {
		c.i++
		return nil
	}
	for {
		if err := c.value(depth); err != nil {
			return err
		}
		c.space()
		if c.i >= len(c.b) {
			return c.fail("unexpected end of text")
		}
		if c.b[c.i] == ']' {
			c.i++
			return nil
		}
		if c.b[c.i] != ',' {
			return c.fail("expected ',' or ']'")
		}
		c.i++
		c.space()
	}
}

func (c *checker) str() error {
	b := c.b
	i, escaped := plainRun(b, c.i+1)
	for i < len(b) && b[i] == '\\' {
		n := escapeLen(b[i:])
		if n == 0 {
			c.i = i
			return c.fail("invalid escape in a string")
		}
		i, _ = plainRun(b, i+n)
		escaped = true
	}
	c.esc = escaped
	if i >= len(b) {
		c.i = len(b)
		return c.fail("unexpected end of text in a string")
	}
	if b[i] != '"' {
		c.i = i
		return c.fail("control character in a string")
	}
	c.i = i + 1
	return nil
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
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		q := w ^ (ones * '"')
		s := w ^ (ones * '\\')
		// A byte is found where subtracting borrowed. The lowest hit is exact; one
		// above it may be a neighbour's borrow.
		quote := (q - ones) & ^q & highs
		slash := (s - ones) & ^s & highs
		hit := quote | slash | ((w-ones*0x20)&^w)&highs
		if hit == 0 {
			i += 8
			continue
		}
		// Nearly all that JSON within a string has: quotes, each with its backslash.
		// What a borrow has found has no such neighbour.
		if hit == slash|quote && quote == slash<<8 {
			escaped = true
			i += 8
			if slash>>63 != 0 {
				i-- // and look at the last again, with what it escapes
			}
			continue
		}
		next := i + 8
		for hit != 0 {
			at := bits.TrailingZeros64(hit) / 8
			switch ch := b[i+at]; {
			case ch == '\\' && i+at+1 < len(b) && shortEscape[b[i+at+1]]:
				escaped = true
				next = max(next, i+at+2)
				hit &= ^uint64(0) << (8*at + 16) // not what is escaped either
			case ch == '"', ch == '\\', ch < 0x20:
				return i + at, escaped
			default:
				hit &= hit - 1
			}
		}
		i = next
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= 0x20 {
		i++
	}
	return i, escaped
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

func (c *checker) literal(word string) error {
	if len(c.b)-c.i < len(word) || string(c.b[c.i:c.i+len(word)]) != word {
		return c.fail("unexpected character")
	}
	c.i += len(word)
	return nil
}

func (c *checker) number() error {
	if c.b[c.i] == '-' {
		c.i++
	}
	switch {
	case c.i < len(c.b) && c.b[c.i] == '0':
		c.i++
	case c.digits() == 0:
		return c.fail("invalid number")
	}
	if c.i < len(c.b) && c.b[c.i] == '.' {
		c.i++
		if c.digits() == 0 {
			return c.fail("invalid number")
		}
	}
	if c.i < len(c.b) && (c.b[c.i] == 'e' || c.b[c.i] == 'E') {
		c.i++
		if c.i < len(c.b) && (c.b[c.i] == '+' || c.b[c.i] == '-') {
			c.i++
		}
		if c.digits() == 0 {
			return c.fail("invalid number")
		}
	}
	return nil
}

func (c *checker) digits() int {
	from := c.i
	for c.i < len(c.b) && c.b[c.i] >= '0' && c.b[c.i] <= '9' {
		c.i++
	}
	return c.i - from
}
