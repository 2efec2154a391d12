package aggregate

import "strings"

// template is a URI template (RFC 6570), as far as it takes to see whether a
// URI may have come from it.
type template struct {
	parts   []part
	literal int // bytes of its literal parts
}

// part is a literal text or an expression.
type part struct {
	literal string
	// Of an expression: what each of its values begins with, 0 for nothing; and
	// whether a value may hold reserved characters.
	lead     byte
	reserved bool
}

// What bounds the cost of matching one template.
const (
	maxParts   = 64
	maxURIText = 4 << 10 // bytes of a URI that is taken apart
)

// parseTemplate reads a template; it reports false for one that is malformed
// or too long to be matched.
func parseTemplate(s string) (template, bool) {
	var t template
	for s != "" && len(t.parts) <= maxParts {
		literal, rest, found := strings.Cut(s, "{")
		if literal != "" {
			t.parts = append(t.parts, part{literal: literal})
			t.literal += len(literal)
		}
		if !found {
			break
		}
		expression, after, closed := strings.Cut(rest, "}")
		if !closed || expression == "" {
			return template{}, false
		}
		t.parts = append(t.parts, parseExpression(expression))
		s = after
	}
	return t, len(t.parts) <= maxParts
}

// parseExpression goes by the operator (RFC 6570, section 2.2). A value that is
// exploded may repeat what it begins with.
func parseExpression(s string) part {
	switch s[0] {
	case '+':
		return part{reserved: true}
	case '#':
		return part{lead: '#', reserved: true}
	case '.', '/', ';', '?', '&':
		return part{lead: s[0]}
	}
	return part{reserved: strings.HasSuffix(s, "*")} // servers take {path*} for several segments
}

// match reports whether the template may expand to uri. It takes time in
// proportion to the product of their lengths at most, whatever they are.
func (t template) match(uri string) bool {
	if len(uri) > maxURIText || len(uri) < t.literal || len(t.parts) > 0 && !strings.HasPrefix(uri, t.parts[0].literal) {
		return false // most of them, at no cost
	}
	// at[i] says that the parts so far may expand to uri[:i].
	at := make([]bool, len(uri)+1)
	at[0] = true
	for _, p := range t.parts {
		at = p.advance(at, uri)
	}
	return at[len(uri)]
}

func (p part) advance(at []bool, uri string) []bool {
	next := make([]bool, len(at))
	if p.literal != "" {
		for i, here := range at {
			if here && strings.HasPrefix(uri[i:], p.literal) {
				next[i+len(p.literal)] = true
			}
		}
		return next
	}
	inside := false // in a value that began somewhere before
	for i, here := range at {
		next[i] = here || inside // without a value an expression is empty
		if i == len(uri) {
			break
		}
		begins := here && (p.lead == 0 || uri[i] == p.lead)
		inside = begins && (p.lead != 0 || p.holds(uri[i])) || inside && p.holds(uri[i])
	}
	return next
}

// holds reports whether a value of the expression may hold c.
func (p part) holds(c byte) bool {
	switch c {
	case '/', '?', '#', '&', ';':
		if p.reserved {
			return true
		}
		// The next value of a list, or of one that is exploded.
		return c == p.lead && c != '#' || c == '&' && p.lead == '?'
	}
	return true
}
