package rest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// body is the JSON text of an answer, or of a value in it. Members that were passed
// on the way to the records are noted, because several are looked for.
type body struct {
	text    json.RawMessage
	members []passed // nil where there are none, or too many
}

type passed struct {
	name  []byte // as it stands in the text, with its quotes
	value body
}

// maxNoted is how many members of an object are noted. One with more is none that
// has the place of the next page, and noting them all would let a small text take
// much memory.
const maxNoted = 64

// parseBody checks a text of which nothing is taken; the error says what is wrong
// with it. Names that stand twice in an object are the source's affair: the first
// counts.
func parseBody(text []byte) (*body, error) {
	text = withoutMark(text)
	if err := rawjson.Check(text, rawjson.Limits{AllowDups: true}); err != nil {
		return nil, err
	}
	return &body{text: text}, nil
}

// withoutMark is a text without the byte order mark before it, which readers of JSON
// may overlook (RFC 8259, section 8.1).
func withoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// at returns the value that p leads to.
func (b *body) at(p pointer) (json.RawMessage, bool) {
	if b == nil {
		return nil, false
	}
	if len(p) == 0 || b.members == nil {
		return p.at(b.text)
	}
	for i := range b.members {
		if m := &b.members[i]; isNamed(m.name, p[0]) {
			return m.value.at(p[1:])
		}
	}
	return nil, false
}

// answered is an answer and what was taken out of it.
type answered struct {
	status int
	header http.Header
	url    *url.URL // what was asked
	body   *body

	found bool            // there is something where the records should be
	value json.RawMessage // which is this
	out   []byte          // what is given of it: the beginning of a list of records, or a record
	seen  []bool          // which fields there were in that; nil if nobody asks
	count int             // records in the answer
	given int             // those that are in out
	last  json.RawMessage // the last of count
}

// taker takes the records out of an answer while that is checked: in one pass, which
// for a page of them is most of what an action costs besides its request.
type taker struct {
	*answered
	r     rawjson.Reader
	text  []byte
	shape *shape
	list  bool // whatever is there is given as a list
	skip  int  // records that were given before
	most  int  // to give
}

// take reads the text, in which p leads to the records. The error says what is wrong
// with it; then nothing counts that was taken.
func (t *taker) take(p pointer) error {
	t.r = rawjson.NewReader(t.text)
	room := len(t.text)
	if t.shape != nil && !t.shape.whole {
		room /= 3
	}
	t.out = make([]byte, 0, min(room, 64<<10)+256)
	b := t.walk(p)
	t.body = &b
	return t.r.End()
}

// walk passes the value before t.r and takes what p leads to in it. Of members of
// the same name the first counts.
func (t *taker) walk(p pointer) body {
	from := t.r.Pos()
	var members []passed
	switch kind := t.r.Kind(); {
	case len(p) == 0:
		t.records(kind)
	case kind == '{':
		there := false
		for name := range t.r.Descend() {
			m := passed{name: name}
			if !there && isNamed(name, p[0]) {
				there = true
				m.value = t.walk(p[1:])
			} else {
				m.value.text = t.r.Skip()
			}
			if len(members) <= maxNoted {
				members = append(members, m)
			}
		}
	case kind == '[':
		n, err := strconv.Atoi(p[0])
		at := 0
		for range t.r.Descend() {
			if at++; err == nil && at == n+1 {
				t.walk(p[1:])
			} else {
				t.r.Skip()
			}
		}
	default:
		t.r.Skip()
	}
	if len(members) > maxNoted {
		members = nil
	}
	return body{t.text[from:t.r.Pos():t.r.Pos()], members}
}

// records takes the value before t.r, which begins with kind.
func (t *taker) records(kind byte) {
	from := t.r.Pos()
	t.found = true
	list := t.list || kind == '['
	if list {
		t.out = append(t.out, beginList...)
	}
	switch {
	case kind == '[':
		for range t.r.Descend() {
			t.record()
		}
	case kind == 'n' || !list && kind != '{':
		t.r.Skip()
	case list:
		t.record()
	default:
		t.out = t.shape.project(t.out, &t.r, t.seen)
	}
	t.value = t.text[from:t.r.Pos():t.r.Pos()]
}

// record takes one of a list, if it is one of those that are given.
func (t *taker) record() {
	from := t.r.Pos()
	if t.count++; t.count <= t.skip || t.given == t.most {
		t.r.Skip()
	} else {
		if t.given++; t.given > 1 {
			t.out = append(t.out, ',')
		}
		t.out = t.shape.project(t.out, &t.r, t.seen)
	}
	t.last = t.text[from:t.r.Pos():t.r.Pos()]
}

// pointer is a compiled JSON pointer (RFC 6901).
type pointer []string

// isNamed reports whether a name as it stands in the text, with its quotes, is this.
func isNamed(quoted []byte, name string) bool {
	return len(quoted) == len(name)+2 && string(quoted[1:len(quoted)-1]) == name || bytes.IndexByte(quoted, '\\') >= 0 && rawjson.String(quoted) == name
}

// member is [rawjson.Get] without memory for names.
func member(obj json.RawMessage, name string) (json.RawMessage, bool) {
	for quoted, v := range rawjson.Fields(obj) {
		if isNamed(quoted, name) {
			return v, true
		}
	}
	return nil, false
}

// at returns the value that p leads to in v.
func (p pointer) at(v json.RawMessage) (json.RawMessage, bool) {
	for _, token := range p {
		switch rawjson.Kind(v) {
		case '{':
			var ok bool
			if v, ok = member(v, token); !ok {
				return nil, false
			}
		case '[':
			n, err := strconv.Atoi(token)
			if err != nil || n < 0 {
				return nil, false
			}
			found := false
			for e := range rawjson.Elements(v) {
				if found = n == 0; found {
					v = e
					break
				}
				n--
			}
			if !found {
				return nil, false
			}
		default:
			return nil, false
		}
	}
	return v, true
}
