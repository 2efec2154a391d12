package aggregate

import (
	"encoding/json"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The members that the 2026-07-28 revision puts on results and earlier ones do
// not have (schema Result, CacheableResult).
const (
	memberResultType = "resultType"
	memberTTL        = "ttlMs"
	memberScope      = "cacheScope"
)

var (
	modernOnly     = []string{memberResultType, memberTTL, memberScope}
	resultComplete = []byte(`"complete"`)
)

// forEra returns a result as a client of the given revision expects it. The bytes
// are untouched where nothing has to change.
func forEra(res *upstream.Result, modern bool, version string) json.RawMessage {
	if res.Type != upstream.Final { // converse has made it for the client's era
		return res.Raw
	}
	if res.Marks.Undeclared && !res.IsError {
		// A host that checks the declared output schema refuses a result without
		// structured content, unless it is marked as an error.
		res = res.With(set(res.Raw, "isError", []byte("true")))
	}
	has := func(name string) bool { _, ok := res.Get(name); return ok }
	if !modern {
		raw := res.Raw
		if slices.ContainsFunc(modernOnly, has) {
			raw = rawjson.Delete(raw, modernOnly...)
		}
		return older(res, raw, version)
	}
	typ, ok := res.Get(memberResultType)
	if string(typ) == string(resultComplete) {
		return res.Raw
	}
	// An adapter answers for its era's other result types, so a value that comes
	// as far as here is a legacy server's own member of that name.
	put := rawjson.Add
	if ok {
		put = rawjson.Set
	}
	out, err := put(res.Raw, memberResultType, resultComplete)
	if err != nil { // ParseResult has seen that it is an object
		return res.Raw
	}
	return out
}
