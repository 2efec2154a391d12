package shaping

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Same reports whether two checked JSON texts say the same: however they are
// indented, in whatever order their members are and whichever way characters are
// escaped. Numbers are the same if they are written the same.
func Same(a, b []byte) bool {
	return bytes.Equal(compact(nil, a), compact(nil, b)) || same(a, b)
}

func same(a, b []byte) bool {
	switch kind := rawjson.Kind(a); {
	case kind == '{':
		return rawjson.Kind(b) == '{' && sameObject(a, b)
	case kind == '[':
		return rawjson.Kind(b) == '[' && slices.EqualFunc(slices.Collect(rawjson.Elements(a)), slices.Collect(rawjson.Elements(b)),
			func(x, y json.RawMessage) bool { return same(x, y) })
	case kind == '"':
		return rawjson.Kind(b) == '"' && rawjson.String(a) == rawjson.String(b)
	}
	return bytes.Equal(bytes.TrimSpace(a), bytes.TrimSpace(b))
}

func sameObject(a, b []byte) bool {
	order := func(x, y rawjson.Member) int { return cmp.Compare(x.Name, y.Name) }
	return slices.EqualFunc(slices.SortedFunc(rawjson.Members(a), order), slices.SortedFunc(rawjson.Members(b), order),
		func(x, y rawjson.Member) bool { return x.Name == y.Name && same(x.Value, y.Value) })
}
