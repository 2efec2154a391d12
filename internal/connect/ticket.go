package connect

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	ticketLasts = 10 * time.Minute
	ticketLabel = "bulkhead connect ticket, version 1"
	// maxUsed is how many tickets that were used are remembered. Each belongs to
	// somebody who has proved who he is.
	maxUsed = 1 << 16
)

var (
	errTicket  = errors.New("this link is not one that was made here for this source")
	errExpired = errors.New("this link is older than ten minutes")
	errUsed    = errors.New("this link has been used already")
)

// ticket is what a link says.
type ticket struct {
	id      [12]byte // the random nonce that it is sealed with
	who     upstream.Principal
	expires time.Time
}

// tickets seals and opens tickets, and sees to it that each counts once. That is
// so within one process; one that was used may be used again, by the same user,
// after a restart.
type tickets struct {
	aead cipher.AEAD // makes its own nonces

	mu   sync.Mutex
	used map[[12]byte]time.Time // until they expire
}

func newTickets(key []byte) (*tickets, error) {
	if len(key) < 16 {
		return nil, errors.New("connect: the key is too short")
	}
	derived, err := hkdf.Key(sha256.New, key, nil, ticketLabel, 32)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &tickets{aead: aead, used: make(map[[12]byte]time.Time)}, err
}

func encoding() *base64.Encoding { return base64.RawURLEncoding.Strict() }

// issue returns a ticket for one user and one source.
func (t *tickets) issue(who upstream.Principal, source string) string {
	issuer, subject := who.Parts()
	text := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(ticketLasts).UnixMilli()))
	text = binary.BigEndian.AppendUint32(text, uint32(len(issuer))) //nolint:gosec // no issuer is that long
	text = append(append(text, issuer...), subject...)
	return encoding().EncodeToString(t.aead.Seal(nil, nil, text, []byte(source))) //nolint:gosec // G407: this AEAD takes no nonce, it makes one
}

// open reads a ticket, and says what is wrong with it. That it was used is found
// out by use.
func (t *tickets) open(sealed, source string) (ticket, error) {
	var k ticket
	raw, err := encoding().DecodeString(sealed)
	if err != nil || len(raw) < len(k.id) {
		return k, errTicket
	}
	text, err := t.aead.Open(nil, nil, raw, []byte(source))
	if err != nil || len(text) < 12 {
		return k, errTicket
	}
	copy(k.id[:], raw)
	k.expires = time.UnixMilli(int64(binary.BigEndian.Uint64(text))) //nolint:gosec // as it was written
	n, rest := int(binary.BigEndian.Uint32(text[8:])), text[12:]
	if n > len(rest) {
		return k, errTicket
	}
	k.who = upstream.NewPrincipal(string(rest[:n]), string(rest[n:]))
	switch {
	case !k.who.Valid():
		return k, errTicket
	case !time.Now().Before(k.expires):
		return k, errExpired
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, again := t.used[k.id]; again {
		return k, errUsed
	}
	return k, nil
}

// use notes that a ticket has been used by whom it is for.
func (t *tickets) use(k ticket) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if !now.Before(k.expires) {
		return errExpired
	}
	if _, again := t.used[k.id]; again {
		return errUsed
	}
	if len(t.used) >= maxUsed {
		for id, expires := range t.used {
			if !now.Before(expires) {
				delete(t.used, id)
			}
		}
		if len(t.used) >= maxUsed {
			return errors.New("too many links are in use at the moment")
		}
	}
	t.used[k.id] = k.expires
	return nil
}
