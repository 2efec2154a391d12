package rawjson

import "math/bits"

// checker is a recursive-descent validator; recursion is bounded by max.
type checker struct {
	b    []byte
	i    int
	max  int
	dups bool
	keys []span // member names of the objects that are open, innermost last
}

type span struct{ from, to int }

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
	base := len(c.keys)
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
		if !c.dups {
			c.keys = append(c.keys, span{from, c.i})
		}
		c.space()
		if c.i >= len(c.b) || c.b[c.i] != ':' {
			return c.fail("expected ':' after a member name")
		}
		c.i++
		c.space()
		if err := c.value(depth); err != nil {
			return err
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

func (c *checker) duplicates(base int) error {
	keys := c.keys[base:]
	defer func() { c.keys = c.keys[:base] }()
	if len(keys) <= smallObject {
		for i, k := range keys {
			for _, l := range keys[:i] {
				if c.sameName(k, l) {
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
	if string(x) == string(y) {
		return true
	}
	if !escaped(x) && !escaped(y) {
		return false
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
	b, i := c.b, c.i+1
	for {
		i += plainRun(b[i:])
		if i >= len(b) {
			c.i = len(b)
			return c.fail("unexpected end of text in a string")
		}
		switch ch := b[i]; {
		case ch == '"':
			c.i = i + 1
			return nil
		case ch < 0x20:
			c.i = i
			return c.fail("control character in a string")
		case ch == '\\':
			n := escapeLen(b[i:])
			if n == 0 {
				c.i = i
				return c.fail("invalid escape in a string")
			}
			i += n
		default:
			i++
		}
	}
}

// plainRun returns how many leading bytes of b need no attention inside a
// string: no quote, backslash or control character. It looks at eight bytes at
// a time.
func plainRun(b []byte) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := uint64(b[i]) | uint64(b[i+1])<<8 | uint64(b[i+2])<<16 | uint64(b[i+3])<<24 |
			uint64(b[i+4])<<32 | uint64(b[i+5])<<40 | uint64(b[i+6])<<48 | uint64(b[i+7])<<56
		q := w ^ (ones * '"')
		s := w ^ (ones * '\\')
		// A byte is found where subtracting borrowed; the lowest hit is exact.
		hit := ((q - ones) & ^q) | ((s - ones) & ^s) | ((w - ones*0x20) & ^w)
		if hit &= highs; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for ; i < len(b); i++ {
		if b[i] == '"' || b[i] == '\\' || b[i] < 0x20 {
			break
		}
	}
	return i
}

// escapeLen returns the length of the escape sequence at the start of b, 0 if
// it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, h := range b[2:6] {
			if !isHex(h) {
				return 0
			}
		}
		return 6
	}
	return 0
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
