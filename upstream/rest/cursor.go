package rest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// page is where in a list an answer begins. The zero value is the beginning.
type page struct {
	// Value is the source's own word for it: a cursor, an id; of a URL its path
	// and query.
	Value json.RawMessage `json:"v"`
	N     int64           `json:"n"`  // offset, page or partition; 0 is the first
	Of    int64           `json:"of"` // partitions in all
	Skip  int             `json:"s"`  // records of it that were given already
}

func (p *page) first() bool { return p.Value == nil && p.N == 0 }

// append writes p as JSON; Value has been checked.
func (p *page) append(buf []byte) []byte {
	buf = strconv.AppendInt(append(buf, `{"n":`...), p.N, 10)
	buf = strconv.AppendInt(append(buf, `,"of":`...), p.Of, 10)
	buf = strconv.AppendInt(append(buf, `,"s":`...), int64(p.Skip), 10)
	if p.Value != nil {
		buf = append(append(buf, `,"v":`...), p.Value...)
	}
	return append(buf, '}')
}

// maxCursor bounds what is sealed into a cursor, and what is taken for one.
const maxCursor = 16 << 10

// sealer makes places in a list opaque to whoever carries them.
type sealer struct{ aead cipher.AEAD }

// newSealer derives the key from a secret; a random one where there is none, and
// then cursors end with the process.
func newSealer(secret []byte) (*sealer, error) {
	if len(secret) == 0 {
		secret = make([]byte, 32)
		_, _ = rand.Read(secret) // it never fails
	}
	key := sha256.Sum256(append([]byte("rest cursor\x00"), secret...))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("cursor: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("cursor: %w", err)
	}
	return &sealer{aead}, nil
}

// seal returns the cursor of a place that belongs to bound; "" if it is too long.
func (s *sealer) seal(p *page, bound []byte) string {
	n := s.aead.NonceSize()
	buf := p.append(make([]byte, n, 128))
	nonce, text := buf[:n], buf[n:]
	if len(text) > maxCursor/2 {
		return ""
	}
	_, _ = rand.Read(nonce) // it never fails
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, text, bound))
}

// open returns the place that a cursor stands for.
func (s *sealer) open(cursor string, bound []byte) (*page, error) {
	refused := invalid("the cursor is not one that this tool gave for these arguments: repeat the arguments of the call that gave it, or begin without a cursor")
	if len(cursor) > maxCursor {
		return nil, refused
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(sealed) < s.aead.NonceSize() {
		return nil, refused
	}
	text, err := s.aead.Open(nil, sealed[:s.aead.NonceSize()], sealed[s.aead.NonceSize():], bound)
	if err != nil {
		return nil, refused
	}
	p := &page{}
	if json.Unmarshal(text, p) != nil {
		return nil, refused
	}
	return p, nil
}

// bound returns what a cursor belongs to: the upstream, who calls, the action and
// its other arguments. Which fields are given may change from page to page.
func (a *action) bound(id upstream.ID, who upstream.Principal, in *input) []byte {
	buf := make([]byte, 0, 128)
	add := func(s []byte) { buf = append(binary.AppendUvarint(buf, uint64(len(s))), s...) }
	add([]byte(id))
	add([]byte(who.Key()))
	add([]byte(a.def.Name))
	for i := range a.params {
		if a.pager == nil || i != a.pager.param {
			add([]byte(a.params[i].arg))
			add(in.values[i])
		}
	}
	return buf
}
