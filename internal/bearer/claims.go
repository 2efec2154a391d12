package bearer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	leeway      = time.Minute // between the authorization server's clock and ours
	maxSubject  = 255         // bytes (OpenID Connect Core, section 2)
	maxAudience = 100         // values
	maxDepth    = 32
)

// good is a token that was verified.
type good struct {
	by       upstream.Principal
	audience []string
	lacks    string    // a scope that it would need; "" if it has all
	until    time.Time // with the leeway
	again    time.Time // when it is to be verified again
}

// read checks the claims of a token whose signature is to be checked yet.
func (j *JWT) read(text json.RawMessage, now time.Time) (*good, error) {
	if rawjson.Kind(text) != '{' || rawjson.Check(text, rawjson.Limits{Depth: maxDepth}) != nil {
		return nil, invalid("the claims of the token are no JSON object, or not a plain one")
	}
	if issuer, _ := rawjson.GetString(text, "iss"); issuer != j.opt.Issuer {
		return nil, invalid("the token is of another issuer")
	}
	ends, there, ok := instant(text, "exp")
	switch {
	case !there || !ok:
		return nil, invalid("the token does not say when it ends (exp)")
	case !now.Before(ends.Add(leeway)):
		return nil, invalid("the token has expired")
	}
	begins, there, ok := instant(text, "nbf")
	switch {
	case there && !ok:
		return nil, invalid("the token does not say when it begins (nbf)")
	case there && now.Add(leeway).Before(begins):
		return nil, invalid("the token is not good yet")
	}
	if _, bound := rawjson.Get(text, "cnf"); bound {
		return nil, invalid("the token is bound to a key (cnf), of which a bearer proves nothing")
	}
	g := &good{until: ends.Add(leeway)}
	subject, _ := rawjson.GetString(text, j.opt.Subject)
	if !sound(subject) {
		return nil, invalid(fmt.Sprintf("the token does not say who it is about (%s)", plain(j.opt.Subject)))
	}
	g.by = upstream.NewPrincipal(j.opt.Issuer, subject)
	if g.audience = words(text, "aud", false); len(g.audience) == 0 {
		return nil, invalid("the token does not say what it is for (aud)")
	}
	// RFC 9068, section 2.2.3; scp is what some authorization servers call it.
	scopes := append(words(text, "scope", true), words(text, "scp", true)...)
	for _, s := range j.opt.Scopes {
		if !slices.Contains(scopes, s) {
			g.lacks = s
		}
	}
	if g.again = now.Add(verifyAgain); g.until.Before(g.again) {
		g.again = g.until
	}
	return g, nil
}

// sound reports whether a subject can stand for somebody, in logs too.
func sound(subject string) bool {
	return subject != "" && len(subject) <= maxSubject && utf8.ValidString(subject) &&
		strings.IndexFunc(subject, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// instant reads a NumericDate (RFC 7519, section 2).
func instant(text json.RawMessage, name string) (at time.Time, there, ok bool) {
	raw, there := rawjson.Get(text, name)
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || seconds < 0 || seconds > 1<<40 { // some 35,000 years
		return at, there, false
	}
	return time.UnixMilli(int64(seconds * 1000)), there, true
}

// words reads a claim that is a string or a list of strings; split takes a
// string for several with spaces in between.
func words(text json.RawMessage, name string, split bool) (all []string) {
	raw, _ := rawjson.Get(text, name)
	switch rawjson.Kind(raw) {
	case '"':
		if s := rawjson.String(raw); split {
			return strings.Fields(s)
		} else if s != "" {
			return []string{s}
		}
	case '[':
		for e := range rawjson.Elements(raw) {
			if s := rawjson.String(e); rawjson.Kind(e) == '"' && s != "" && len(all) < maxAudience {
				all = append(all, s)
			}
		}
	}
	return all
}
