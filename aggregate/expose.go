package aggregate

import (
	"bytes"
	"encoding/json"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// exposed returns the URI by which clients know one of m's: its own, unless
// that leads elsewhere.
func (o *offer) exposed(m *member, own string) string {
	if to, uri, _ := o.locate(own); to == m && uri == own {
		return own
	}
	return alias(m.ID, own)
}

// exposeResult returns a result of m with its URIs as clients know them. m is
// nil for a result of our own.
func (o *offer) exposeResult(m *member, res *upstream.Result) *upstream.Result {
	if m == nil || !o.uris.clash.involves(m.ID) {
		return res
	}
	after, err := upstream.ParseResult(o.exposeURIs(m, res.Raw))
	if err != nil { // it was an object before
		return res
	}
	after.Type = res.Type
	return after
}

// nested are the members of results under which the URIs of resources stand.
var nested = map[string]bool{
	"content": true, "contents": true, "messages": true, "resource": true, "resources": true, "skill": true,
}

// exposeURIs returns v with each URI in it that is one of m's own as clients
// know it. Where there is nothing to change it returns v itself.
func (o *offer) exposeURIs(m *member, v json.RawMessage) json.RawMessage {
	switch rawjson.Kind(v) {
	case '[':
		var out []json.RawMessage
		changed := false
		for item := range rawjson.Elements(v) {
			after := o.exposeURIs(m, item)
			changed = changed || !bytes.Equal(after, item)
			out = append(out, after)
		}
		if changed {
			return array(out)
		}
	case '{':
		out := v
		for member := range rawjson.Members(v) {
			after := member.Value
			switch {
			case member.Name == "uri" && rawjson.Kind(after) == '"':
				if own := rawjson.String(after); o.exposed(m, own) != own {
					after = rawjson.Quote(o.exposed(m, own))
				}
			case nested[member.Name]:
				after = o.exposeURIs(m, after)
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
