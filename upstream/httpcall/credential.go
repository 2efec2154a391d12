package httpcall

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// signIn is what a client answers that has no credential for a request. It was
// not sent.
type signIn interface {
	error
	SignIn() (person, operator bool, retry time.Duration)
}

// AboutCredential reports whether a request failed for want of a credential: it
// says nothing about the server.
func AboutCredential(err error) bool {
	var s signIn
	return errors.As(err, &s)
}

// credentialFailure is the failure for want of a credential; nil if err is none.
func credentialFailure(err error) *upstream.Error {
	var s signIn
	if !errors.As(err, &s) {
		return nil
	}
	e := &upstream.Error{Err: s}
	var person, operator bool
	person, operator, e.RetryAfter = s.SignIn()
	switch {
	case person:
		e.Kind, e.Public = upstream.NeedsLogin, "somebody has to sign in there"
	case operator:
		e.Kind, e.Public = upstream.NeedsLogin, "its sign-in is refused; the operator has to see to the configuration"
	default:
		e.Kind, e.Public = upstream.Unavailable, "its authorization server gives no token at the moment"
	}
	return e
}

// refusable is the body of an answer to a request into which somebody has put a
// credential that can be replaced.
type refusable interface {
	// RefuseCredential gets another one and reports whether it makes sense to send
	// the request once more.
	RefuseCredential(context.Context) bool
}

// RefuseCredential says that the answer refuses the credential of its request,
// which only its body tells; of a 401 that is known. It returns when there is
// another one, and reports whether it makes sense to send the request once more.
// That the first was not carried out is the caller's to know.
func (a *Answer) RefuseCredential(ctx context.Context) bool {
	return a.Status != http.StatusUnauthorized && a.credential != nil && a.credential.RefuseCredential(ctx)
}
