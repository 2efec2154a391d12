package aggregate

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Of elicitation: what is asked, and the id of a request to open an address,
// which the 2026-07-28 revision does not have.
const (
	memberMessage  = "message"
	memberMode     = "mode"
	memberURL      = "url"
	memberElicited = "elicitationId"
	modeURL        = "url"
	modeForm       = "form"
)

// attributed returns the params of a question as a client is asked it: clients
// know us only, so the message says which source wants to know. Of sampling, no
// source gets to see what others have said: "this server" would be all of them.
func attributed(id upstream.ID, q upstream.Question) json.RawMessage {
	switch q.Method {
	case upstream.AskElicitation:
		return prefixed(id, q.Params)
	case upstream.AskSampling:
		if in, _ := rawjson.GetString(q.Params, "includeContext"); in == "thisServer" || in == "allServers" {
			return set(q.Params, "includeContext", []byte(`"none"`))
		}
	}
	return q.Params
}

// prefixed puts the source's name before the message of an object.
func prefixed(id upstream.ID, params json.RawMessage) json.RawMessage {
	name := bytes.TrimSuffix(rawjson.Quote("["+Printable(string(id), 64)+"] "), []byte{'"'})
	message, _ := rawjson.Get(params, memberMessage)
	if rawjson.Kind(message) != '"' { // there has to be one, so that there is a name
		message = []byte(`""`)
	}
	return set(params, memberMessage, slices.Concat(name, bytes.TrimSpace(message)[1:]))
}

// set is [rawjson.Set] of what is known to be an object; anything else stays as
// it is.
func set(obj json.RawMessage, name string, value []byte) json.RawMessage {
	out, err := rawjson.Set(obj, name, value)
	if err != nil {
		return obj
	}
	return out
}

// attributedAll does the same to each question of an inputRequests object.
func attributedAll(id upstream.ID, requests json.RawMessage) json.RawMessage {
	return mapMembers(requests, func(m rawjson.Member) json.RawMessage {
		q := questionOf(m.Value)
		if q.Params == nil {
			return m.Value
		}
		return set(m.Value, "params", attributed(id, q))
	})
}

// mapMembers returns obj with each value replaced by what f makes of it.
func mapMembers(obj json.RawMessage, f func(rawjson.Member) json.RawMessage) json.RawMessage {
	var out []byte
	last := 0
	for m := range rawjson.Members(obj) {
		out = append(out, obj[last:m.End-len(m.Value)]...)
		out = append(out, f(m)...)
		last = m.End
	}
	return append(out, obj[last:]...)
}

// mapElements returns an array of what f makes of each element, or arr itself if
// it changes none.
func mapElements(arr json.RawMessage, f func(json.RawMessage) json.RawMessage) json.RawMessage {
	var out []json.RawMessage
	changed := false
	for e := range rawjson.Elements(arr) {
		after := f(e)
		changed = changed || !bytes.Equal(e, after)
		out = append(out, after)
	}
	if !changed {
		return arr
	}
	return array(out)
}

// questionOf reads an InputRequest (MCP 2026-07-28 schema).
func questionOf(request json.RawMessage) upstream.Question {
	method, _ := rawjson.GetString(request, "method")
	params, _ := rawjson.Get(request, "params")
	if rawjson.Kind(params) != '{' {
		params = nil
	}
	return upstream.Question{Method: method, Params: params}
}

// isURL reports whether a question is to have the user open an address, and
// which.
func isURL(q upstream.Question) (url string, ok bool) {
	mode, _ := rawjson.GetString(q.Params, memberMode)
	if q.Method != upstream.AskElicitation || mode != modeURL {
		return "", false
	}
	url, _ = rawjson.GetString(q.Params, memberURL)
	return url, true
}

// lacks returns what a client would have to be capable of to be asked q, in
// words for the model; "" if it is.
func lacks(caps json.RawMessage, q upstream.Question) string {
	switch q.Method {
	case upstream.AskElicitation:
		elicitation, ok := rawjson.Get(caps, "elicitation")
		_, byURL := isURL(q)
		_, form := rawjson.Get(elicitation, modeForm)
		_, url := rawjson.Get(elicitation, modeURL)
		switch {
		case !ok:
			return "elicitation"
		case byURL && !url:
			return "elicitation in URL mode"
		case !byURL && !form && url: // {} is form mode (2025-11-25, elicitation, §Capabilities)
			return "elicitation in form mode"
		}
		return ""
	case upstream.AskSampling:
		sampling, ok := rawjson.Get(caps, "sampling")
		if !ok {
			return "sampling"
		}
		if _, tools := rawjson.Get(q.Params, "tools"); tools {
			if _, can := rawjson.Get(sampling, "tools"); !can {
				return "sampling with tools"
			}
		}
		return ""
	case upstream.AskRoots:
		if _, ok := rawjson.Get(caps, "roots"); !ok {
			return "roots"
		}
		return ""
	}
	return q.Method
}

// asks are the capabilities by which a client says that it can be asked.
var asks = []string{"elicitation", "sampling", "roots"}

// canAnswer reports whether a client can be asked anything at all.
func canAnswer(caps json.RawMessage) bool {
	if !mentions(caps, asks...) {
		return false
	}
	for m := range rawjson.Members(caps) {
		if slices.Contains(asks, m.Name) {
			return true
		}
	}
	return false
}

// mentions reports whether an object may have one of these members, at little
// cost; false is certain.
func mentions(obj json.RawMessage, names ...string) bool {
	if bytes.IndexByte(obj, '\\') >= 0 { // a name may be written with escapes
		return true
	}
	return slices.ContainsFunc(names, func(name string) bool { return bytes.Contains(obj, []byte(name)) })
}

// capabilitiesFor returns what an upstream may know of what a client can do:
// not to be asked where it is mute, and of the extensions those that we carry
// in the client's era.
func capabilitiesFor(caps json.RawMessage, modern, mute bool) json.RawMessage {
	if mute {
		caps = rawjson.Delete(caps, asks...)
	}
	if !mentions(caps, "extensions") {
		return caps
	}
	extensions, ok := rawjson.Get(caps, "extensions")
	if !ok {
		return caps
	}
	var foreign []string
	for m := range rawjson.Members(extensions) {
		if !slices.Contains(carried, m.Name) || m.Name == extensionTasks && !modern {
			foreign = append(foreign, m.Name)
		}
	}
	if foreign == nil {
		return caps
	}
	return set(caps, "extensions", rawjson.Delete(extensions, foreign...))
}
