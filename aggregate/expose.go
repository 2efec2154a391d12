package aggregate

import (
	"bytes"
	"encoding/json"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// maxLocated is how many URIs of one result are looked up that are on no list.
const maxLocated = 32

// exposer gives the URIs in one result of m the form that clients know them by.
type exposer struct {
	o    *offer
	m    *member
	room int               // how many URIs may still be looked up
	done map[string]string // those that were
}

// uri returns the URI by which clients know one of m's: its own, unless that
// leads elsewhere, or there are too many to find out. An alias is always right.
func (x *exposer) uri(own string) string {
	for _, l := range []upstream.List{upstream.Resources, upstream.Skills} {
		if e := x.o.list(l).index[own]; e != nil && e.m == x.m && e.key == own {
			return own
		}
	}
	to, known := x.done[own]
	if known {
		return to
	}
	to = alias(x.m.ID, own)
	if x.room > 0 && x.o.uris.clash.of[own] == nil {
		x.room--
		if m, uri, _ := x.o.locate(own); m == x.m && uri == own {
			to = own
		}
		x.done[own] = to
	}
	return to
}

// exposeResult returns a result of m with its URIs as clients know them. m is
// nil for a result of our own.
func (o *offer) exposeResult(m *member, res *upstream.Result) *upstream.Result {
	if m == nil || !o.uris.clash.involves(m.ID) {
		return res
	}
	x := &exposer{o: o, m: m, room: maxLocated, done: make(map[string]string)}
	return res.With(x.in(res.Raw))
}

// nested are the members of results under which the URIs of resources stand.
var nested = map[string]bool{
	"content": true, "contents": true, "messages": true, "resource": true, "resources": true, "skill": true,
	memberResult: true, // of a task
}

// in returns v with each URI in it that is one of the upstream's own as clients
// know it. Where there is nothing to change it returns v itself.
func (x *exposer) in(v json.RawMessage) json.RawMessage {
	switch rawjson.Kind(v) {
	case '[':
		return mapElements(v, x.in)
	case '{':
		out := v
		for member := range rawjson.Members(v) {
			after := member.Value
			switch {
			case member.Name == "uri" && rawjson.Kind(after) == '"':
				own := rawjson.String(after)
				if to := x.uri(own); to != own {
					after = rawjson.Quote(to)
				}
			case nested[member.Name]:
				after = x.in(after)
			}
			if bytes.Equal(after, member.Value) {
				continue
			}
			if set, err := rawjson.Set(out, member.Name, after); err == nil {
				out = set
			}
		}
		return out
	}
	return v
}
