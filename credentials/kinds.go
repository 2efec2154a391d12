package credentials

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/url"
	"strings"
	"time"
)

// ClientCredentials gets tokens of the client's own (RFC 6749, section 4.4).
// Nobody signs in, so what would ask for that is the operator's to mend.
func ClientCredentials(e *Endpoint, scopes []string) Fetch {
	return func(ctx context.Context, _ Token) (Token, error) {
		t, err := e.grant(ctx, scoped(url.Values{"grant_type": {"client_credentials"}}, scopes), scopes)
		t.Refresh = Secret{} // RFC 6749, section 4.4.3: there should be none
		return t, operators(err)
	}
}

// RefreshToken goes on with what a person's signing in has brought ([CodeFlow],
// [DeviceFlow]); without that it says that somebody has to sign in. The refresh
// token is the last one that the server gave (RFC 6749, section 6). scopes are
// those of the signing in; they are not sent, the server knows them.
func RefreshToken(e *Endpoint, scopes []string) Fetch {
	return func(ctx context.Context, last Token) (Token, error) {
		if last.Refresh.IsZero() {
			return Token{}, &TokenError{Name: e.Name, Trouble: NeedsLogin, Err: errors.New("nobody has signed in, or the signing in has ended")}
		}
		t, err := e.grant(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {last.Refresh.reveal()}}, scopes)
		if err != nil {
			return Token{}, err
		}
		if t.Refresh.IsZero() {
			t.Refresh = last.Refresh
		}
		for name, v := range last.Values { // some servers say these once only
			if _, ok := t.Values[name]; !ok {
				if t.Values == nil {
					t.Values = map[string]string{}
				}
				t.Values[name] = v
			}
		}
		return t, nil
	}
}

// Assertion is what a [JWTBearer] claims (RFC 7523, section 3).
type Assertion struct {
	Key      *Key
	Issuer   string
	Subject  string        // "" is Issuer
	Audience string        // "" is the token URL
	TTL      time.Duration // 0 is 5 min, at most 1 h
	Claims   map[string]any
	// ScopeClaim puts the scopes into the assertion as "scope", where the server
	// wants them there (Google).
	ScopeClaim bool
}

// Check tells what is wrong with it before anything is sent.
func (a Assertion) Check() error {
	switch {
	case a.Key == nil:
		return errors.New("there is no key to sign with")
	case a.Issuer == "":
		return errors.New("the issuer of the assertion is empty")
	}
	return nil
}

// JWTBearer gets tokens for assertions signed by us (RFC 7523, section 2.1). The
// endpoint's client need not be one that authenticates; where it has no id, none
// is sent.
func JWTBearer(e *Endpoint, a Assertion, scopes []string) Fetch {
	return func(ctx context.Context, _ Token) (Token, error) {
		now := time.Now()
		claims := map[string]any{}
		maps.Copy(claims, a.Claims)
		claims["iss"], claims["sub"], claims["aud"] = a.Issuer, a.Subject, a.Audience
		if a.Subject == "" {
			claims["sub"] = a.Issuer
		}
		if a.Audience == "" {
			claims["aud"] = e.URL
		}
		ttl := a.TTL
		if ttl <= 0 {
			ttl = 5 * time.Minute
		}
		claims["iat"], claims["exp"], claims["jti"] = now.Unix(), now.Add(min(ttl, time.Hour)).Unix(), rand.Text()
		form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}}
		if a.ScopeClaim {
			claims["scope"] = strings.Join(scopes, " ")
		} else {
			form = scoped(form, scopes)
		}
		assertion, err := "", a.Check()
		if err == nil {
			assertion, err = a.Key.sign(claims)
		}
		if err != nil {
			return Token{}, &TokenError{Name: e.Name, Trouble: Misconfigured, Err: err}
		}
		form.Set("assertion", assertion)
		t, err := e.grant(ctx, form, scopes)
		t.Refresh = Secret{}
		return t, operators(err)
	}
}

// Exchange is what a [TokenExchange] gives away and wants (RFC 8693, section
// 2.1). Audience and resource are parameters of the [Endpoint].
type Exchange struct {
	Subject     Source
	SubjectType string // "" is an access token; else a URN
	Wanted      string // requested_token_type; "" leaves it to the server
	Actor       Source // nil if nobody acts for the subject
}

const accessTokenType = "urn:ietf:params:oauth:token-type:access_token" //nolint:gosec // a name, no token

// elsewhere is trouble that ends when another source has another token, so that
// it is worth another try.
type elsewhere struct{ error }

func (e elsewhere) Unwrap() error { return e.error }

// TokenExchange gets tokens for those of another source. A subject token that
// the server refuses is fetched anew once.
func TokenExchange(e *Endpoint, x Exchange, scopes []string) Fetch {
	return func(ctx context.Context, _ Token) (Token, error) {
		subject, err := x.Subject.Token(ctx)
		if err != nil {
			return Token{}, elsewhere{err}
		}
		t, err := x.swap(ctx, e, subject, scopes)
		if te, ok := errors.AsType[*TokenError](err); !ok || te.Code != "invalid_grant" && te.Code != "invalid_request" { // the latter by RFC 8693, section 2.2.2
			return t, err
		}
		x.Subject.Invalidate(subject)
		if other, otherErr := x.Subject.Token(ctx); otherErr == nil && !other.Same(subject) {
			t, err = x.swap(ctx, e, other, scopes)
		}
		if err != nil {
			return Token{}, elsewhere{err}
		}
		return t, nil
	}
}

func (x Exchange) swap(ctx context.Context, e *Endpoint, subject Token, scopes []string) (Token, error) {
	form := scoped(url.Values{
		"grant_type":         {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token":      {subject.Access.reveal()},
		"subject_token_type": {accessTokenType},
	}, scopes)
	if x.SubjectType != "" {
		form.Set("subject_token_type", x.SubjectType)
	}
	if x.Wanted != "" {
		form.Set("requested_token_type", x.Wanted)
	}
	if x.Actor != nil {
		actor, err := x.Actor.Token(ctx)
		if err != nil {
			return Token{}, elsewhere{err}
		}
		form.Set("actor_token", actor.Access.reveal())
		form.Set("actor_token_type", accessTokenType)
	}
	t, err := e.grant(ctx, form, scopes)
	t.Refresh = Secret{} // the subject's token is asked for again instead
	return t, err
}

// scoped adds scopes to a request; without any the server decides.
func scoped(form url.Values, scopes []string) url.Values {
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	return form
}

// operators makes what is a person's trouble elsewhere the operator's.
func operators(err error) error {
	if e, ok := errors.AsType[*TokenError](err); ok && e.Trouble == NeedsLogin {
		own := *e
		own.Trouble = Misconfigured
		return &own
	}
	return err
}
