package bearer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Issuer is who vouches for the users of [Static].
const Issuer = "bulkhead"

// Static knows tokens that do not end, one for each user. Make one with
// [NewStatic].
type Static struct {
	names []string
	sums  [][sha256.Size]byte
}

// NewStatic takes the SHA-256 of each user's token, by the user's name. Tokens
// must be too long to be guessed; two users with the same one are an error.
func NewStatic(users map[string][sha256.Size]byte) (*Static, error) {
	if len(users) == 0 {
		return nil, errors.New("bearer: nobody has a token")
	}
	s := &Static{}
	for _, name := range slices.Sorted(maps.Keys(users)) {
		if name == "" {
			return nil, errors.New("bearer: a user without a name")
		}
		if i := slices.Index(s.sums, users[name]); i >= 0 {
			return nil, fmt.Errorf("bearer: the users %s and %s have the same token", s.names[i], name)
		}
		s.names, s.sums = append(s.names, name), append(s.sums, users[name])
	}
	return s, nil
}

// Authenticate is for [inbound.Auth]. How long it takes says nothing about the
// tokens: hashes are compared, with each user's.
func (s *Static) Authenticate(_ context.Context, r *http.Request, _ []string) (inbound.Caller, error) {
	token, err := tokenOf(r)
	if err != nil {
		return inbound.Caller{}, err
	}
	sum, found := sha256.Sum256([]byte(token)), -1
	for i := range s.sums {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], s.sums[i][:]), i, found)
	}
	if found < 0 {
		return inbound.Caller{}, invalid("the token is nobody's")
	}
	return inbound.Caller{Principal: upstream.NewPrincipal(Issuer, s.names[found])}, nil
}
