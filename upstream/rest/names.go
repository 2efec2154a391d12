package rest

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// names are those that the fields of a query or form have already: of constants,
// of parameters and of paging. The members of an object that is written as fields
// of their own must have others.
type names []string

// namesIn returns the names of an encoded query or form.
func namesIn(encoded []byte) names {
	var out names
	for field := range strings.SplitSeq(string(encoded), "&") {
		name, _, _ := strings.Cut(field, "=")
		if plain, err := url.QueryUnescape(name); err == nil && field != "" {
			out = append(out, plain)
		}
	}
	return out
}

// clash returns the first field of what an argument has become that a service
// might take for another one than the argument's own; false if there is none.
func (n names) clash(encoded []byte, own string) (string, bool) {
	for _, name := range namesIn(encoded) {
		for _, taken := range n {
			if name != own && taken != own && sameField(name, taken) {
				return name, true
			}
		}
	}
	return "", false
}

// sameField reports whether one of two fields may replace the other: many services
// make no difference between capital and small letters, and put page and page[size]
// into one place.
func sameField(a, b string) bool {
	a, b = strings.ToLower(strings.TrimSpace(a)), strings.ToLower(strings.TrimSpace(b))
	if len(a) > len(b) {
		a, b = b, a
	}
	rest, ok := strings.CutPrefix(b, a)
	return ok && (rest == "" || rest[0] == '[')
}

// reserve notes which names are taken.
func (m *maker) reserve() {
	for _, c := range m.formConstants {
		m.sent = append(m.sent, namesIn(styled(nil, c.name, c.value, "deep"))...)
	}
	m.asked = namesIn([]byte(m.query))
	if name, ok := strings.CutPrefix(m.def.Idempotency, "?"); ok {
		m.asked = append(m.asked, name)
	}
	for i := range m.params {
		switch p := &m.params[i]; p.in {
		case inQuery:
			m.asked = append(m.asked, p.wire)
		case inBody:
			m.sent = append(m.sent, formName(p.wire))
		}
	}
}

// field appends an argument to a query or form in a style of the page. Whatever
// its members are called, they are no other fields than its own.
func (n names) field(buf []byte, p *param, name string, v json.RawMessage, style string) ([]byte, error) {
	mark := len(buf)
	buf = styled(buf, name, v, style)
	if kind := rawjson.Kind(v); kind == '{' || kind == '[' {
		if taken, ok := n.clash(buf[mark:], name); ok {
			return nil, invalid("%s must not have a member that becomes the field %.60q: the request has that for something else", p.arg, taken)
		}
	}
	return buf, nil
}
