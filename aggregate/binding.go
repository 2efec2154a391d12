package aggregate

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The members of params that a retry has and the first request has not (MCP
// 2026-07-28, multi round-trip requests), and the one that is each request's
// own.
const (
	memberState     = "requestState"
	memberResponses = "inputResponses"
	memberRequests  = "inputRequests"
	memberMeta      = "_meta"
)

// bindingOf is a digest of what a retry has in common with the request that it
// repeats: who asks what of which source, with which params. Clients write the
// same params in another order of members, or with other escapes, and mean the
// same. identity is that of the source, see [Member]: what a user told one is
// not for another that has taken its name.
func bindingOf(c *upstream.Call, identity string) []byte {
	h := sha256.New()
	for _, part := range []string{labelState, c.Principal.Key(), string(c.Upstream), identity, string(c.Op), c.Name} {
		hashText(h, part)
	}
	hashObject(h, rawjson.Delete(c.Params, memberState, memberResponses, memberMeta))
	return h.Sum(nil)
}

// digestOf is a digest of several texts that no other texts have.
func digestOf(parts ...string) []byte {
	h := sha256.New()
	for _, part := range parts {
		hashText(h, part)
	}
	return h.Sum(nil)
}

func hashText(h hash.Hash, s string) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(s)))
	h.Write(size[:])
	h.Write([]byte(s))
}

// hashValue adds what a JSON value means: strings unescaped, members sorted,
// numbers as they are written. Its depth is bounded by the check at the door.
func hashValue(h hash.Hash, v []byte) {
	switch kind := rawjson.Kind(v); kind {
	case '{':
		hashObject(h, v)
	case '[':
		h.Write([]byte{'['})
		for e := range rawjson.Elements(v) {
			hashValue(h, e)
		}
		h.Write([]byte{']'})
	case '"':
		h.Write([]byte{'"'})
		hashText(h, rawjson.String(v))
	default:
		h.Write([]byte{'#'})
		hashText(h, string(v))
	}
}

func hashObject(h hash.Hash, v []byte) {
	members := slices.Collect(rawjson.Members(v))
	slices.SortFunc(members, func(x, y rawjson.Member) int { return cmp.Compare(x.Name, y.Name) })
	h.Write([]byte{'{'})
	for _, m := range members {
		h.Write([]byte{'"'})
		hashText(h, m.Name)
		hashValue(h, m.Value)
	}
	h.Write([]byte{'}'})
}
