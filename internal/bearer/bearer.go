// Package bearer finds out who sends an HTTP request by the bearer token in it
// (RFC 6750): a JSON Web Token of an authorization server that is trusted, or one
// of a few tokens that the operator has handed out.
//
// It owns what makes a token good, the authorization server's keys, and a
// bounded memory of tokens that were found to be good. It must not know what a
// token opens, configuration, or where secrets are kept: it is given hashes and
// an *http.Client that knows which addresses may be asked.
package bearer

import (
	"errors"
	"net/http"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
)

// maxToken is how long a token may be in bytes.
const maxToken = 16 << 10

// tokenOf returns the bearer token of a request. It looks into the header only:
// a token in an address would be written down on the way (MCP 2026-07-28,
// authorization, token requirements).
func tokenOf(r *http.Request) (string, error) {
	fields := r.Header.Values("Authorization")
	if len(fields) == 0 {
		return "", &inbound.Refusal{Why: "a bearer token is needed in the Authorization header"}
	}
	if len(fields) > 1 {
		return "", &inbound.Refusal{Code: inbound.InvalidRequest, Why: "there is more than one Authorization header"}
	}
	scheme, token, _ := strings.Cut(strings.TrimSpace(fields[0]), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", &inbound.Refusal{Why: "the Authorization header has no bearer token"}
	}
	token = strings.TrimLeft(token, " ")
	switch {
	case len(token) > maxToken:
		return "", invalid("the token is too long")
	case !wellFormed(token):
		return "", &inbound.Refusal{Code: inbound.InvalidRequest, Why: "the Authorization header is malformed"}
	}
	return token, nil
}

// wellFormed reports whether s is a b64token (RFC 6750, section 2.1).
func wellFormed(s string) bool {
	body := strings.TrimRight(s, "=")
	return body != "" && strings.IndexFunc(body, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~+/", c)
	}) < 0
}

func invalid(why string) error {
	return &inbound.Refusal{Code: inbound.InvalidToken, Why: why}
}

var errClosed = errors.New("bearer: closed")
