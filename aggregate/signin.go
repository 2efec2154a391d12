package aggregate

import (
	"errors"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// SignInStatus is how the sign-in at one source stands. There is no secret in it,
// and no address.
type SignInStatus struct {
	State SignInState `json:"state"`
	Until string      `json:"until,omitempty"` // when the token ends that ends first, RFC 3339
	// Scopes are those that were granted, of all tokens together.
	Scopes []string `json:"scopes,omitempty"`
	// Missing are scopes that the source has asked for since.
	Missing []string `json:"missing,omitempty"`
	// Unsaved says that a token could not be stored, so that it ends with the
	// process.
	Unsaved bool `json:"unsaved,omitempty"`
	// Command is what a person does to sign in; "" if it takes nobody.
	Command string `json:"command,omitempty"`
	// Page is where a user signs in for himself. It is in what that user is told
	// only.
	Page string `json:"page,omitempty"`
}

// SignInState is what can be said of a sign-in in a word.
type SignInState string

// The states of a sign-in.
const (
	SignedIn       SignInState = "signed_in"
	SignInUnused   SignInState = "unused"        // no token was needed yet, or the last has ended
	SignInFailing  SignInState = "failing"       // for a while
	SignInRefused  SignInState = "misconfigured" // the operator has to see to it
	SignInRequired SignInState = "needs_login"   // a person has to sign in
)

// wanting reports whether there is no token until somebody does something.
func (s *SignInStatus) wanting() bool {
	return s != nil && (s.State == SignInRequired || s.State == SignInRefused)
}

// signIn is how the sign-in stands that p's calls are made with; nil if there is
// nothing to tell.
func (m *member) signIn(p upstream.Principal) *SignInStatus {
	switch {
	case m.Users != nil:
		return m.Users.SignIn(p)
	case m.SignIn != nil:
		return m.SignIn()
	}
	return nil
}

// needed reports whether the source as a whole needs somebody to sign in, or its
// configuration to be seen to.
func (m *member) needed() bool { return m.Users == nil && m.signIn(upstream.Principal{}).wanting() }

// operatorsTurn reports whether a failure for want of a sign-in says itself that
// it takes the operator.
func operatorsTurn(e *upstream.Error) bool {
	var said interface {
		SignIn() (person, operator bool, retry time.Duration)
	}
	if !errors.As(e.Err, &said) {
		return false
	}
	_, operator, _ := said.SignIn()
	return operator
}

// login returns what has to be done about a failure of p's call for want of a
// sign-in, as far as more is known than that.
func (m *member) login(e *upstream.Error, p upstream.Principal) (todo []string, page string) {
	if e.Kind != upstream.NeedsLogin {
		return nil, ""
	}
	const vain = "repeating the call before that will not help"
	if operatorsTurn(e) {
		return []string{vain}, ""
	}
	if m.Users != nil {
		if page = m.Users.Page(p); page != "" {
			return []string{"show the user this link, which is for this user alone and good for a few minutes: " + page +
				" - and make the call again when the user has signed in there", vain}, page
		}
	}
	if s := m.signIn(p); s != nil && s.Command != "" {
		return []string{"a person has to run: " + s.Command, vain}, ""
	}
	if m.Credential != "" {
		return []string{lookAt + m.Credential, vain}, ""
	}
	return nil, ""
}

// lookAt precedes the credential that a source refuses and nobody can renew who
// is asked.
const lookAt = "the operator has to look at "

// toldToAll returns the failure with what is known about its call, and what has to be
// done about a sign-in, where that is the same for every user.
func (f *failure) toldToAll(m *member) *upstream.Error {
	e, a := *f.err, &account{cause: f.err.Err, said: f.err.Public, reads: f.reads}
	if m.Users == nil {
		a.login, _ = m.login(&e, upstream.Principal{})
	}
	e.Err = a
	return &e
}
