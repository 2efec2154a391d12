package credentials

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// Identity is what makes a credential another one: a token is only ever used for
// the identity that it was given for. No secret is part of it, so that a client
// may get a new secret and keep its tokens.
type Identity struct {
	Upstream string
	Subject  string // the principal; "" where all share one
	Issuer   string // or the token URL
	ClientID string
	Scopes   []string // in any order
	Resource string   // or audience
}

// ID returns the name under which the credential is kept: the upstream's, and a
// hash of all.
func (i Identity) ID() string {
	scopes := slices.Clone(i.Scopes)
	slices.Sort(scopes)
	h := sha256.New()
	for _, part := range append([]string{i.Upstream, i.Subject, i.Issuer, i.ClientID, i.Resource}, slices.Compact(scopes)...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return i.Upstream + "-" + hex.EncodeToString(h.Sum(nil)[:16])
}
