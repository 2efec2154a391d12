package credentials

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
)

// Attachment is how a credential is put into a request. The zero value puts
// none.
type Attachment struct {
	kind, field string
	value       Secret   // the whole field value; of a token source, what stands before the token
	bare        []Secret // what of value is secret, as the server may repeat it
	source      Source   // of tokens; nil if the value is fixed
	id          string   // of source
	user        string   // of basic
	err         error
}

// None attaches nothing.
func None() Attachment { return Attachment{} }

// Bearer attaches token as RFC 6750, section 2.1, says.
func Bearer(token Secret) Attachment {
	a := Header("Authorization", NewSecret("Bearer "+token.reveal()))
	a.kind, a.bare = "bearer", []Secret{token}
	if token.IsZero() {
		a.err = errors.New("the token is empty")
	}
	return a
}

// Basic attaches user and password as RFC 7617, section 2, says.
func Basic(user string, password Secret) Attachment {
	pair := base64.StdEncoding.EncodeToString([]byte(user + ":" + password.reveal()))
	a := Header("Authorization", NewSecret("Basic "+pair))
	a.kind, a.bare, a.user = "basic", []Secret{NewSecret(pair), password}, user
	if user == "" || strings.Contains(user, ":") {
		a.err = errors.New("the user name is empty or contains a colon")
	}
	return a
}

var fieldName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // RFC 9110, section 5.6.2

// Header attaches value as the header field of this name.
func Header(name string, value Secret) Attachment {
	a := Attachment{kind: "header", field: http.CanonicalHeaderKey(name), value: value, bare: []Secret{value}}
	switch {
	case !fieldName.MatchString(name):
		a.err = fmt.Errorf("%q is no name for a header field", name)
	case !validFieldValue(value.reveal()):
		a.err = errors.New("the credential is empty or has characters that a header field cannot carry, such as a line break")
	}
	return a
}

// BearerFrom attaches the token that source has at the time of each request.
func BearerFrom(source Source) Attachment {
	return HeaderFrom("Authorization", "Bearer ", source)
}

// HeaderFrom attaches prefix and the token that source has at the time of each
// request as the header field of this name.
func HeaderFrom(name, prefix string, source Source) Attachment {
	a := Header(name, NewSecret(prefix+"token"))
	a.kind, a.value, a.source = "token", NewSecret(prefix), source
	switch s := source.(type) {
	case nil:
		a.err = errors.New("there is no source for the token")
	case interface{ ID() string }:
		a.id = s.ID()
	default:
		a.id = rand.Text() // equal to itself only
	}
	return a
}

// validFieldValue checks bytes, not characters: a field value is bytes.
func validFieldValue(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return v != "" && v == strings.Trim(v, " \t")
}

// Spec is what a grant allows.
type Spec struct {
	Name    string   // of the upstream, for errors
	Origins []string // scheme://host[:port] of http or https; none allows no request
	// Suffixes allow the https origins besides, at the usual port, whose host ends
	// in one of them at the boundary of a label: for sources that say with the token
	// where they are.
	Suffixes []string
	Attach   Attachment
	Scopes   map[string]Attachment // instead of Attach, for requests that need other scopes; see [Grant.Scoped]
	Env      map[string]Secret     // of children, on top of the sealed environment
	Dir      string                // working directory of children; "" is ours
	// Database is the address for [Grant.OpenDB]: a URL, or sqlite: and a path. It
	// may have user and password in it; else Attach is [Basic] or nothing. A grant
	// for a database has no origins.
	Database Secret
}

// Grant is one upstream's permission to authenticate. Adapters hold what it
// makes, never the grant. The zero value allows no request and gives children
// the sealed environment only. A grant must not be copied.
type Grant struct {
	spec     Spec
	origins  map[origin]bool
	scoped   map[string]*Grant
	database *database   // nil if it is for none
	taken    atomic.Bool // Client or OpenDB was called
}

// NewGrant checks spec and seals it. Later changes to spec have no effect.
func NewGrant(spec Spec) (*Grant, error) {
	g := &Grant{spec: spec, origins: map[origin]bool{}}
	g.spec.Origins = slices.Clone(spec.Origins)
	g.spec.Suffixes = slices.Clone(spec.Suffixes)
	g.spec.Env = maps.Clone(spec.Env)
	fail := func(err error) (*Grant, error) {
		return nil, fmt.Errorf("credentials of %s: %w", spec.Name, err)
	}
	for _, raw := range spec.Origins {
		o, err := parseOrigin(raw)
		if err != nil {
			return fail(err)
		}
		g.origins[o] = true
	}
	if err := checkSuffixes(spec.Suffixes); err != nil {
		return fail(err)
	}
	if err := g.attach(spec); err != nil {
		return fail(err)
	}
	g.spec.Scopes = nil
	for set, attach := range spec.Scopes {
		if err := attach.check(len(g.origins) + len(spec.Suffixes)); err != nil {
			return fail(fmt.Errorf("scopes %s: %w", set, err))
		}
		own := g.spec
		own.Attach = attach
		if g.scoped == nil {
			g.scoped = map[string]*Grant{}
		}
		g.scoped[set] = &Grant{spec: own, origins: g.origins}
	}
	for name, v := range spec.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(v.reveal(), 0) {
			return fail(fmt.Errorf("the environment variable %q has a name or value that no process can be given", name))
		}
	}
	return g, nil
}

// attach checks that the credential fits where it may go.
func (g *Grant) attach(spec Spec) (err error) {
	if spec.Database.IsZero() {
		return spec.Attach.check(len(g.origins) + len(spec.Suffixes))
	}
	if len(g.origins) > 0 || len(spec.Suffixes) > 0 || len(spec.Scopes) > 0 {
		return errors.New("a database has no origins beside it, and no scopes")
	}
	g.database, err = newDatabase(spec.Database, spec.Attach)
	return err
}

func (a Attachment) check(origins int) error {
	if a.err == nil && a.kind != "" && origins == 0 {
		return errors.New("a credential without an origin to send it to")
	}
	return a.err
}

// Scoped returns the grant for requests that need the scopes of this set: same
// origins, another credential. There is one of each; it is no error to ask
// again. Of a set that [Spec] does not name it is one that allows nothing.
func (g *Grant) Scoped(set string) *Grant {
	if s := g.scoped[set]; s != nil {
		return s
	}
	return &Grant{spec: Spec{Name: g.spec.Name}}
}

// Client returns a client that sends requests over base (nil is a transport of
// its own, without a proxy) to the grant's origins, with its credential, and
// refuses all others before a connection is made, redirects included. It has no
// cookie jar and no timeout. A second call returns a client that refuses every
// request: one grant serves one upstream.
func (g *Grant) Client(base http.RoundTripper) *http.Client {
	if base == nil {
		base = &http.Transport{} // the default one is everybody's
	}
	t := &bound{base: base, name: g.spec.Name, origins: g.origins, suffixes: g.spec.Suffixes, attach: g.spec.Attach}
	if !g.taken.CompareAndSwap(false, true) {
		t.origins, t.suffixes, t.attach, t.spent = nil, nil, Attachment{}, true
	}
	return &http.Client{Transport: t, CheckRedirect: t.redirect}
}

// Command returns an unstarted command that runs until ctx ends, in the grant's
// directory and with a sealed environment: the search path, home, locale,
// time zone and temporary directory of this process, what the grant names, and
// nothing else. It may be called again, to restart a child.
func (g *Grant) Command(ctx context.Context, name string, arg ...string) *exec.Cmd {
	cmd := command(ctx, g.spec.Env, name, arg...)
	cmd.Dir = g.spec.Dir
	return cmd
}

// processKey makes fingerprints useless outside this process.
var processKey = []byte(rand.Text())

// Fingerprint identifies what the grant allows, by which caches, pools and
// quotas are kept apart: equal grants have equal fingerprints within one
// process. It gives nothing away: it is a hash under a key that dies with the
// process.
func (g *Grant) Fingerprint() string {
	h := hmac.New(sha256.New, processKey)
	write := func(parts ...string) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(parts))))
		for _, p := range parts {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
			h.Write([]byte(p))
		}
	}
	a := g.spec.Attach
	write(g.spec.Name, g.spec.Dir, a.kind, a.field, a.value.reveal(), a.id, g.spec.Database.reveal())
	for _, set := range slices.Sorted(maps.Keys(g.scoped)) {
		write(set, g.scoped[set].Fingerprint())
	}
	var origins []string
	for o := range g.origins {
		origins = append(origins, o.String())
	}
	slices.Sort(origins)
	write(origins...)
	write(g.spec.Suffixes...)
	var env []string
	for _, name := range slices.Sorted(maps.Keys(g.spec.Env)) {
		env = append(env, name, g.spec.Env[name].reveal())
	}
	write(env...)
	return hex.EncodeToString(h.Sum(nil)[:16])
}
