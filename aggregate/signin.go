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

func (m *member) signIn() *SignInStatus {
	if m.SignIn == nil {
		return nil
	}
	return m.SignIn()
}

// login returns what has to be done about a failure for want of a sign-in, as far
// as more is known than that. An error may say itself that it takes the operator.
func (m *member) login(e *upstream.Error) []string {
	if e.Kind != upstream.NeedsLogin {
		return nil
	}
	const vain = "repeating the call before that will not help"
	var said interface {
		SignIn() (person, operator bool, retry time.Duration)
	}
	if errors.As(e.Err, &said) {
		if _, operator, _ := said.SignIn(); operator {
			return []string{vain}
		}
	}
	if s := m.signIn(); s != nil && s.Command != "" {
		return []string{"a person has to run: " + s.Command, vain}
	}
	return nil
}
