package aggregate

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// minKey is the least length of a key in bytes (128 bits).
const minKey = 16

// The labels keep what is sealed for one purpose from being opened for another.
const (
	labelState   = "bulkhead requestState, version 1"
	labelTask    = "bulkhead task id, version 1"
	labelCursor  = "bulkhead cursor, version 1"
	labelTaskMAC = "bulkhead task id nonce, version 1"
)

// maxState is how long a requestState of an upstream may be, in bytes: it comes
// back in a request of limited size.
const maxState = 1 << 20

// seals makes and reads the handles that clients keep for us.
type seals struct {
	state cipher.AEAD // makes its own random nonces
	task  cipher.AEAD
	mac   []byte // makes the nonces of task
}

// stateKey returns the key to derive others from; nil is a random one.
func stateKey(key []byte) ([]byte, error) {
	if key == nil {
		key = make([]byte, 32)
		rand.Read(key) // never fails (crypto/rand)
	}
	if len(key) < minKey {
		return nil, fmt.Errorf("aggregate: the state key has %d bytes, at least %d are needed", len(key), minKey)
	}
	return key, nil
}

// newSeals derives the keys from one.
func newSeals(key []byte) (s seals, err error) {
	state, err1 := blockOf(key, labelState)
	task, err2 := blockOf(key, labelTask)
	mac, err3 := hkdf.Key(sha256.New, key, nil, labelTaskMAC, 32)
	if err := errors.Join(err1, err2, err3); err != nil {
		return s, fmt.Errorf("aggregate: state key: %w", err)
	}
	s.mac = mac
	if s.state, err1 = cipher.NewGCMWithRandomNonce(state); err1 == nil {
		s.task, err1 = cipher.NewGCM(task)
	}
	return s, err1
}

func blockOf(key []byte, label string) (cipher.Block, error) {
	derived, err := hkdf.Key(sha256.New, key, nil, label, 32)
	if err != nil {
		return nil, err
	}
	return aes.NewCipher(derived)
}

// encoding is strict: what is sealed has one spelling.
func encoding() *base64.Encoding { return base64.RawURLEncoding.Strict() }

// stateKind says what is to happen when a client comes back.
type stateKind byte

const (
	relayed    stateKind = 'r' // the upstream goes on from its own state
	waiting    stateKind = 'w' // a call that runs here waits for the answers
	repeated   stateKind = 'a' // the call is made again, from the beginning
	connecting stateKind = 'c' // the same, once its user has signed in
)

// stateID tells states apart; it is the random nonce that each is sealed with.
type stateID [12]byte

// state is what a requestState of ours says.
type state struct {
	id      stateID // set by seal and open
	kind    stateKind
	expires time.Time // to the millisecond
	own     []byte    // relayed: the upstream's requestState as it came; nil if it gave none
}

// stateHead is the length of what precedes own: kind and expiry.
const stateHead = 1 + 8

// sealState returns a requestState that can be opened with the same binding
// only, see [bindingOf].
func (s seals) sealState(st state, binding []byte) (token string, id stateID) {
	text := make([]byte, stateHead, stateHead+len(st.own))
	text[0] = byte(st.kind)
	binary.BigEndian.PutUint64(text[1:], uint64(st.expires.UnixMilli()))
	sealed := s.state.Seal(nil, nil, append(text, st.own...), binding) //nolint:gosec // G407: this AEAD takes no nonce, it makes one
	copy(id[:], sealed)
	return encoding().EncodeToString(sealed), id
}

// openState reports false for what we did not seal with this binding.
func (s seals) openState(token string, binding []byte) (st state, ok bool) {
	if len(token) > 2*maxState {
		return st, false
	}
	sealed, err := encoding().DecodeString(token)
	if err != nil || len(sealed) < len(st.id) {
		return st, false
	}
	text, err := s.state.Open(nil, nil, sealed, binding)
	if err != nil || len(text) < stateHead {
		return st, false
	}
	copy(st.id[:], sealed)
	st.kind, st.expires = stateKind(text[0]), time.UnixMilli(int64(binary.BigEndian.Uint64(text[1:])))
	if len(text) > stateHead {
		st.own = text[stateHead:]
	}
	return st, true
}

// maxTaskID is how long an upstream's task id may be, in bytes: ours is a third
// longer and travels in a header field.
const maxTaskID = 1 << 10

// taskRef says which task of which source is meant.
type taskRef struct {
	upstream upstream.ID
	source   sourceMark
	task     string // the upstream's own id
}

// sourceMark tells sources apart that have one name after the other, by the
// beginning of a digest of [Member].Identity: another's task may have the same id.
type sourceMark [8]byte

func markOf(identity string) (s sourceMark) {
	copy(s[:], digestOf(labelTask, identity))
	return s
}

// sealTask returns the id under which a principal knows an upstream's task:
// always the same, so that a client recognises it, and of no use to any other
// principal. Nothing has to be remembered to find the task again.
func (s seals) sealTask(p upstream.Principal, ref taskRef) string {
	text := string(ref.upstream) + "\x00" + string(ref.source[:]) + ref.task
	mac := hmac.New(sha256.New, s.mac)
	mac.Write(digestOf(p.Key(), text))
	nonce := mac.Sum(nil)[:s.task.NonceSize()]
	return encoding().EncodeToString(s.task.Seal(nonce, nonce, []byte(text), []byte(p.Key())))
}

// openTask reports false for an id that this principal was not given.
func (s seals) openTask(p upstream.Principal, sealed string) (ref taskRef, ok bool) {
	n := s.task.NonceSize()
	raw, err := encoding().DecodeString(sealed)
	if err != nil || len(raw) < n || len(raw) > 2*maxTaskID {
		return ref, false
	}
	text, err := s.task.Open(nil, raw[:n], raw[n:], []byte(p.Key()))
	if err != nil {
		return ref, false
	}
	up, rest, ok := strings.Cut(string(text), "\x00")
	if !ok || len(rest) < len(ref.source) {
		return ref, false
	}
	ref.upstream, ref.task = upstream.ID(up), rest[copy(ref.source[:], rest):]
	return ref, utf8.ValidString(ref.task)
}

// maxConsumed is how many states that were used are remembered.
const maxConsumed = 1 << 16

// consumed remembers which states have been used, so that each counts once in
// this process. Where it has to forget one, it refuses all that would expire
// with it or earlier: memory is bounded, and yet nothing is ever used twice.
type consumed struct {
	mu    sync.Mutex
	used  map[stateID]time.Time // until they expire
	order []stateID             // as they were used
	floor time.Time             // what expires until then is refused
}

// take reports whether the state may be used, which it may not be again.
func (u *consumed) take(st state, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.used == nil {
		u.used = make(map[stateID]time.Time)
	}
	if _, again := u.used[st.id]; again || !st.expires.After(u.floor) {
		return false
	}
	for len(u.order) > 0 {
		oldest := u.order[0]
		expires := u.used[oldest]
		if expires.After(now) {
			if len(u.order) < maxConsumed {
				break
			}
			if expires.After(u.floor) {
				u.floor = expires
			}
		}
		delete(u.used, oldest)
		u.order = u.order[1:]
	}
	u.used[st.id] = st.expires
	u.order = append(u.order, st.id)
	return st.expires.After(u.floor)
}
