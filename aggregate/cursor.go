package aggregate

import (
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// cursors makes the cursors of pages (MCP, pagination) and reads them. One is
// the mark of the last entry that the client has, sealed for one list of one
// view and for one principal: it stays good when the list changes, and whoever makes one up is told.
type cursors struct {
	aead cipher.AEAD
	size int // entries of a page; 0 for all
}

// newCursors seals under a key derived from the state key, so that another
// process with the same one knows the cursors.
func newCursors(key []byte, size int) (cursors, error) {
	block, err := blockOf(key, labelCursor)
	if err != nil {
		return cursors{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return cursors{aead, size}, err
}

func scope(view upstream.ID, l upstream.List, who upstream.Principal) []byte {
	return []byte(string(view) + "\x00" + string(l) + "\x00" + who.Key())
}

func (c cursors) seal(view upstream.ID, l upstream.List, who upstream.Principal, m mark) string {
	text := string(m.source) + "\x00" + m.key                          // our own things have no source
	sealed := c.aead.Seal(nil, nil, []byte(text), scope(view, l, who)) //nolint:gosec // it makes its own nonces
	return base64.RawURLEncoding.EncodeToString(sealed)
}

// open reads a cursor; it reports false for one that is not ours for this list
// and principal.
func (c cursors) open(view upstream.ID, l upstream.List, who upstream.Principal, cursor string) (mark, bool) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return mark{}, false
	}
	text, err := c.aead.Open(nil, nil, sealed, scope(view, l, who))
	if err != nil {
		return mark{}, false
	}
	source, key, _ := strings.Cut(string(text), "\x00")
	return mark{own: source == "", source: upstream.ID(source), key: key}, true
}

// behind returns the mark behind which the page begins that a request asks
// for; nil for the first page. An empty cursor is a cursor, and none of ours.
func (c cursors) behind(r *Request, view upstream.ID, l upstream.List) (*mark, *upstream.RPCError) {
	raw, ok := rawjson.Get(r.Params, "cursor")
	if !ok || rawjson.IsNull(raw) {
		return nil, nil
	}
	if rawjson.Kind(raw) == '"' && c.size > 0 {
		if m, ok := c.open(view, l, r.Principal, rawjson.String(raw)); ok {
			return &m, nil
		}
	}
	return nil, invalid("unknown cursor: leave it out to read the list from its beginning", nil)
}

// invalid is the error of a request whose params are wrong.
func invalid(message string, data json.RawMessage) *upstream.RPCError {
	return &upstream.RPCError{Code: upstream.CodeInvalidParams, Message: message, Data: data}
}
