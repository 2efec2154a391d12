package credentials

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Token is what one authorization server has given for one credential. Its
// formatted text gives nothing away.
type Token struct {
	Access  Secret
	Refresh Secret    // zero if there is none
	Expiry  time.Time // when Access ends; a source sets it even if the server does not say
	Scopes  []string  // as granted
	// Values are members of the response that the operator asked for by name,
	// such as Salesforce's instance_url. They are no secrets.
	Values map[string]string
}

// Same reports whether both are the same access token.
func (t Token) Same(u Token) bool { return t.Access.reveal() == u.Access.reveal() }

// equal reports whether both came from one answer.
func (t Token) equal(u Token) bool {
	return t.Same(u) && t.Refresh.reveal() == u.Refresh.reveal()
}

// Source gives the token of one credential: of one upstream, with one set of
// scopes, for one subject. It is safe for concurrent use.
type Source interface {
	// Token returns a token that is good for a request now. It returns when ctx
	// ends; what it has begun for others goes on. The error is a *[TokenError].
	Token(ctx context.Context) (Token, error)
	// Invalidate says that the server has refused used. The next Token returns
	// another one, unless that is what it returns already.
	Invalidate(used Token)
}

// Trouble says what is to be done about a token that cannot be had.
type Trouble uint8

// The classes of trouble.
const (
	// Transient trouble passes: no network, 5xx, 429. The next try is not before
	// RetryAfter.
	Transient Trouble = iota
	// NeedsLogin is trouble that only a person can end, by signing in: consent
	// that was never given or was revoked (invalid_grant).
	NeedsLogin
	// Misconfigured is trouble that only the operator can end: invalid_client,
	// invalid_scope, a key that cannot be read.
	Misconfigured
)

func (t Trouble) String() string {
	switch t {
	case NeedsLogin:
		return "needs login"
	case Misconfigured:
		return "misconfigured"
	}
	return "transient"
}

// TokenError is a token that could not be had. It holds codes and statuses, never
// what a server wrote beside them: that may repeat the request.
type TokenError struct {
	Name       string // of the upstream
	Trouble    Trouble
	Status     int           // of the HTTP answer; 0 if there was none
	Code       string        // OAuth error code (RFC 6749, section 5.2), "unknown" if it is none that we know; "" if there was none
	RetryAfter time.Duration // Transient only
	Err        error         // the cause where there was no answer
}

func (e *TokenError) Error() string {
	s := e.Name + ": no token: " + e.Trouble.String()
	if e.Code != "" {
		s += ": " + e.Code
	}
	if e.Status != 0 {
		s += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *TokenError) Unwrap() error { return e.Err }

// SignIn tells what to do about it to those who do not know this package, such
// as adapters: whether a person has to sign in, whether the operator has to see
// to it, and otherwise when to try again.
func (e *TokenError) SignIn() (person, operator bool, retry time.Duration) {
	return e.Trouble == NeedsLogin, e.Trouble == Misconfigured, e.RetryAfter
}

// Store keeps the tokens that must outlive the process. Of each there is one,
// under the id of its credential; a store binds what it writes to that id.
type Store interface {
	// Load returns the token kept under id; [ErrNoToken] if there is none.
	Load(ctx context.Context, id string) (Token, error)
	// Save replaces it, durably: it has returned before anybody is given the
	// token.
	Save(ctx context.Context, id string, t Token) error
	// Delete forgets it; it is no error if there is none.
	Delete(ctx context.Context, id string) error
	// Lock keeps other processes from refreshing the same credential, until
	// unlock is called. It returns when ctx ends.
	Lock(ctx context.Context, id string) (unlock func(), err error)
}

// ErrNoToken is what a [Store] answers for what it has not.
var ErrNoToken = errors.New("credentials: no token is stored")

// Lasting is how long a person's token is taken to be good to which the server has
// given neither an end nor a way to renew it, such as those of GitHub's OAuth apps
// and of Slack without rotation: until it is refused.
const Lasting = 10 * 365 * 24 * time.Hour

func lasting(t Token) Token {
	if !t.Access.IsZero() && t.Refresh.IsZero() && t.Expiry.IsZero() {
		t.Expiry = time.Now().Round(0).Add(Lasting)
	}
	return t
}
