package httpcall

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// How much of a list of refusals is told.
const (
	maxRefusals = 10
	maxRefusal  = 500 // bytes of one
)

// Refusals returns in words what a list in a body says of input that was not taken:
// the field, message and code of each entry, whose members are called so by Shopify
// (https://shopify.dev/docs/api/admin-graphql/latest/interfaces/displayableerror)
// and others. It is "" if v is no list or an empty one.
func Refusals(v json.RawMessage) string {
	if rawjson.Kind(v) != '[' {
		return ""
	}
	var said []string
	n := 0
	for e := range rawjson.Elements(v) {
		if n++; n <= maxRefusals {
			said = append(said, refusal(e))
		}
	}
	if n == 0 {
		return ""
	}
	if n > maxRefusals {
		said = append(said, fmt.Sprintf("and %d more", n-maxRefusals))
	}
	return "it refuses this: " + strings.Join(said, "; ")
}

func refusal(e json.RawMessage) string {
	text := rawjson.String(e)
	if rawjson.Kind(e) == '{' {
		text, _ = rawjson.GetString(e, "message")
		if text == "" {
			text = string(e)
		}
		if code, _ := rawjson.GetString(e, "code"); code != "" {
			text += " (" + code + ")"
		}
		if field := place(e); field != "" {
			text = field + ": " + text
		}
	}
	if len(text) > maxRefusal {
		text = strings.ToValidUTF8(text[:maxRefusal], "") + "…"
	}
	return text
}

// place returns which part of the input a refusal is about: a name, or the names
// and numbers on the way to it.
func place(e json.RawMessage) string {
	field, _ := rawjson.Get(e, "field")
	if rawjson.Kind(field) != '[' {
		return rawjson.String(field)
	}
	var names []string
	for part := range rawjson.Elements(field) {
		if name := rawjson.String(part); name != "" {
			names = append(names, name)
		} else {
			names = append(names, string(part))
		}
	}
	return strings.Join(names, ".")
}
