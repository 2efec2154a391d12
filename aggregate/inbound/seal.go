package inbound

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// ticket is what the id of a legacy HTTP session says, sealed so that only we
// can make and read it. A session therefore outlives the process: most clients
// never recover from one 404. The sealing nonce makes each id unique.
type ticket struct {
	Version   string `json:"v"` // negotiated protocol revision
	Upstream  string `json:"u"` // whose endpoint; "" is everything
	Principal string `json:"p"`
	Client    string `json:"c"`

	ClientVersion string `json:"w,omitempty"`

	Capabilities json.RawMessage `json:"k,omitempty"` // of the client, see [sealedBytes]
}

// minKey is the least length of a session key in bytes (128 bits).
const minKey = 16

// maxID bounds the ids that are looked at at all.
const maxID = 4096

const sealLabel = "bulkhead legacy session id, version 1"

// idEncoding is strict: one ticket has one spelling.
func idEncoding() *base64.Encoding { return base64.RawURLEncoding.Strict() }

// seal makes and reads session ids.
type seal struct{ aead cipher.AEAD }

// newSeal derives the seal from a key; a nil key is a random one.
func newSeal(key []byte) (seal, error) {
	if key == nil {
		key = make([]byte, 32)
		rand.Read(key) // never fails (crypto/rand)
	}
	if len(key) < minKey {
		return seal{}, fmt.Errorf("inbound: the session key has %d bytes, at least %d are needed", len(key), minKey)
	}
	derived, err := hkdf.Key(sha256.New, key, nil, sealLabel, 32)
	if err != nil {
		return seal{}, fmt.Errorf("inbound: session key: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return seal{}, fmt.Errorf("inbound: session key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return seal{}, fmt.Errorf("inbound: session key: %w", err)
	}
	return seal{aead}, nil
}

// sealID returns a new session id: visible ASCII, as MCP demands (transports,
// §Session Management).
func (s seal) sealID(t ticket) string {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)                                         // it would make capabilities longer than they may be
	_ = enc.Encode(t)                                                // strings and checked JSON always marshal
	sealed := s.aead.Seal(nil, nil, text.Bytes(), []byte(sealLabel)) //nolint:gosec // G407: this AEAD takes no nonce, it makes one
	return idEncoding().EncodeToString(sealed)
}

// openID reports false for an id that we did not make.
func (s seal) openID(id string) (t ticket, ok bool) {
	if len(id) > maxID {
		return t, false
	}
	sealed, err := idEncoding().DecodeString(id)
	if err != nil {
		return t, false
	}
	text, err := s.aead.Open(nil, nil, sealed, []byte(sealLabel))
	if err != nil {
		return t, false
	}
	return t, json.Unmarshal(text, &t) == nil
}

// shortID names a session where its id must not be seen.
func shortID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "http-" + hex.EncodeToString(sum[:5])
}
