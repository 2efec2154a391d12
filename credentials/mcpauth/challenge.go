package mcpauth

import (
	"slices"
	"strings"
)

// Challenge is what a server that refuses a request says in WWW-Authenticate
// about the way to a token (RFC 6750, section 3; RFC 9728, section 5.1). It is
// a stranger's word.
type Challenge struct {
	Metadata string   // resource_metadata: where the server's metadata are; "" if it does not say
	Scopes   []string // that the request needs; nil if it does not say
	Error    string   // invalid_request, invalid_token, insufficient_scope, or ""
}

const (
	maxField  = 8 << 10
	maxScopes = 64 // asked for at once
	maxScope  = 256
)

// ParseChallenge reads the WWW-Authenticate fields of an answer. Of several
// Bearer challenges it returns the first that has resource_metadata, or else the
// first. It reports whether there is one. A challenge that breaks the grammar is
// none, and neither is what follows it in its field.
func ParseChallenge(fields []string) (Challenge, bool) {
	var found []Challenge
	for _, field := range fields {
		if len(field) > maxField {
			continue
		}
		p := parser{rest: field}
		for {
			scheme, params, ok := p.challenge()
			if !ok {
				break
			}
			if strings.EqualFold(scheme, "Bearer") {
				found = append(found, bearer(params))
			}
		}
	}
	if len(found) == 0 {
		return Challenge{}, false
	}
	if i := slices.IndexFunc(found, func(c Challenge) bool { return c.Metadata != "" }); i > 0 {
		return found[i], true
	}
	return found[0], true
}

func bearer(params map[string]string) Challenge {
	c := Challenge{Metadata: params["resource_metadata"]}
	switch e := params["error"]; e {
	case "invalid_request", "invalid_token", "insufficient_scope":
		c.Error = e
	}
	if scopes := strings.Fields(params["scope"]); sound(scopes) {
		c.Scopes = union(scopes)
	}
	return c
}

// sound reports whether all are scopes (RFC 6749, section 3.3), and not too many.
func sound(scopes []string) bool {
	for _, s := range scopes {
		if s == "" || len(s) > maxScope {
			return false
		}
		for _, c := range []byte(s) {
			if c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
				return false
			}
		}
	}
	return len(scopes) <= maxScopes
}

// union is all scopes, each once, in the order in which they first come; nil if
// there are none.
func union(sets ...[]string) []string {
	var all []string
	for _, set := range sets {
		for _, s := range set {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// parser reads a list of challenges (RFC 9110, sections 11.2 to 11.6).
type parser struct{ rest string }

// challenge reads the next one; !ok is the end of what can be read. The names of
// its parameters are in lower case.
func (p *parser) challenge() (scheme string, params map[string]string, ok bool) {
	p.skip(" \t,")
	if scheme = p.token(); scheme == "" {
		return "", nil, false
	}
	params = map[string]string{}
	if p.rest == "" || p.rest[0] == ',' {
		return scheme, params, true
	}
	if p.rest[0] != ' ' {
		return "", nil, false
	}
	p.skip(" ")
	if p.token68() {
		return scheme, params, true
	}
	for {
		before := p.rest
		p.skip(" \t,")
		name := strings.ToLower(p.token())
		p.skip(" \t")
		if name == "" || !strings.HasPrefix(p.rest, "=") {
			p.rest = before // the next challenge, or nothing that belongs to this one
			if name == "" && strings.Trim(p.rest, " \t,") != "" {
				return "", nil, false
			}
			return scheme, params, true
		}
		p.rest = p.rest[1:]
		p.skip(" \t")
		value, fine := p.value()
		if _, twice := params[name]; !fine || twice {
			return "", nil, false
		}
		params[name] = value
	}
}

func (p *parser) skip(set string) { p.rest = strings.TrimLeft(p.rest, set) }

func (p *parser) take(member func(byte) bool) string {
	n := 0
	for n < len(p.rest) && member(p.rest[n]) {
		n++
	}
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	return taken
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func (p *parser) token() string {
	return p.take(func(c byte) bool { return alphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 })
}

// token68 skips the one value that some schemes have instead of parameters.
func (p *parser) token68() bool {
	before := p.rest
	some := p.take(func(c byte) bool { return alphanumeric(c) || strings.IndexByte("-._~+/", c) >= 0 })
	p.skip("=")
	after := strings.TrimLeft(p.rest, " \t")
	if some != "" && (after == "" || after[0] == ',') {
		return true
	}
	p.rest = before
	return false
}

// value reads a token or a quoted string (RFC 9110, section 5.6), up to the end
// of the parameter.
func (p *parser) value() (string, bool) {
	var v string
	if !strings.HasPrefix(p.rest, `"`) {
		v = p.token()
		return v, v != "" && p.parted()
	}
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		c := p.rest[i]
		switch {
		case c == '"':
			p.rest = p.rest[i+1:]
			return b.String(), p.parted()
		case c == '\\' && i+1 < len(p.rest):
			i++
			c = p.rest[i]
		}
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}

// parted reports whether what was read ends here.
func (p *parser) parted() bool {
	return p.rest == "" || strings.IndexByte(" \t,", p.rest[0]) >= 0
}
