package credentials

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
)

// origin is a scheme, host and port (RFC 6454, section 4) in lower case, the
// port always written.
type origin struct{ scheme, host, port string }

func (o origin) String() string {
	host := o.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return o.scheme + "://" + host + ":" + o.port
}

func originOf(u *url.URL) origin {
	o := origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	if o.port == "" {
		switch o.scheme {
		case "http":
			o.port = "80"
		case "https":
			o.port = "443"
		}
	}
	return o
}

func parseOrigin(raw string) (origin, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return origin{}, errors.New("an origin must be scheme://host or scheme://host:port") // raw may hold a password
	}
	o := originOf(u)
	if o.scheme != "http" && o.scheme != "https" {
		return origin{}, fmt.Errorf("origin %s: the scheme must be http or https", o)
	}
	if n, err := strconv.Atoi(o.port); err != nil || n < 1 || n > 65535 {
		return origin{}, fmt.Errorf("origin %s: the port must be a number from 1 to 65535", o)
	}
	return o, nil
}

var suffixForm = regexp.MustCompile(`^\.?[a-z0-9-]+(\.[a-z0-9-]+)+$`)

// checkSuffixes wants at least two labels: nobody is trusted with a whole
// top-level domain.
func checkSuffixes(suffixes []string) error {
	for _, s := range suffixes {
		if !suffixForm.MatchString(s) {
			return fmt.Errorf("the suffix %q must be the end of a host name in lower case, such as .example.com", s)
		}
	}
	return nil
}

// under reports whether o is https at its usual port, at a host that ends in one
// of the suffixes at the boundary of a label.
func (o origin) under(suffixes []string) bool {
	if o.scheme != "https" || o.port != "443" {
		return false
	}
	for _, s := range suffixes {
		s = strings.TrimPrefix(s, ".")
		if o.host == s || strings.HasSuffix(o.host, "."+s) {
			return true
		}
	}
	return false
}

// OriginError is a request or redirect that was refused because its target is
// none of the grant's origins. Nothing was sent.
type OriginError struct {
	Name   string // of the grant
	Target string // scheme://host:port
	Reason string
}

func (e *OriginError) Error() string {
	return fmt.Sprintf("%s: request to %s refused: %s", e.Name, e.Target, e.Reason)
}

// maxRedirects within one origin.
const maxRedirects = 5

// bound is the transport of one grant.
type bound struct {
	base    http.RoundTripper
	name    string
	origins map[origin]bool
	// suffixes of hosts that are allowed besides, see [Spec].
	suffixes []string
	attach   Attachment
	spent    bool // the grant was taken before
	scrub    atomic.Pointer[scrubber]
}

// allowed returns nil if a request to u may be sent.
func (t *bound) allowed(u *url.URL) error {
	if u == nil {
		return &OriginError{Name: t.name, Target: "nowhere", Reason: "it has no URL"}
	}
	o := originOf(u)
	reason := ""
	switch {
	case t.spent:
		reason = "its grant is in use by another client"
	case u.Opaque != "":
		reason = "an opaque URL may name another host"
	case !t.origins[o] && !o.under(t.suffixes):
		reason = "not an origin of this source"
	default:
		return nil
	}
	return &OriginError{Name: t.name, Target: o.String(), Reason: reason}
}

// RoundTrip sends a copy of req with the credential in its field. Whatever
// credentials req carries are someone else's and stay here. A token that the
// server refuses is replaced, and the request sent once more if it can be.
func (t *bound) RoundTrip(req *http.Request) (*http.Response, error) {
	err := t.allowed(req.URL)
	var token Token
	if err == nil && t.attach.source != nil {
		token, err = t.attach.source.Token(req.Context())
	}
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as RoundTripper demands; there is nobody to tell
		}
		return nil, err
	}
	resp, err := t.send(req, req.Body, token)
	if err != nil || t.attach.source == nil || !refusesToken(resp) {
		return resp, err
	}
	return t.again(req, resp, token)
}

func (t *bound) send(req *http.Request, body io.ReadCloser, token Token) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.Body = body
	if out.Header == nil {
		out.Header = http.Header{}
	}
	for name := range out.Header { // a map may hold names in any case
		for _, field := range [...]string{"Authorization", "Proxy-Authorization", "Cookie", "Referer", t.attach.field} {
			if strings.EqualFold(name, field) {
				delete(out.Header, name)
			}
		}
	}
	out.URL.User = nil // would become an Authorization field
	out.Host = ""      // what is dialled is what is asked for
	if t.attach.kind != "" {
		out.Header[t.attach.field] = []string{t.attach.value.reveal() + token.Access.reveal()}
	}
	resp, err := t.base.RoundTrip(out)
	if resp != nil {
		resp.Request = req // the copy holds the credential
	}
	if t.attach.kind == "" {
		return resp, err
	}
	resp, err = t.scrubber(token).response(resp, err)
	if err == nil && t.attach.source != nil && resp.Body != nil && resp.Body != http.NoBody && resp.StatusCode != http.StatusSwitchingProtocols {
		resp.Body = &answered{resp.Body, t.attach.source, token}
	}
	return resp, err
}

// scrubber returns what blanks the credential that a request was sent with.
func (t *bound) scrubber(token Token) *scrubber {
	secrets := t.attach.bare
	if t.attach.source != nil {
		secrets = []Secret{token.Access}
	}
	s := t.scrub.Load()
	if s == nil || s.of != secrets[0].p {
		s = newScrubber(secrets...)
		t.scrub.Store(s)
	}
	return s
}

// refusesToken reports whether an answer means that the token has to be another
// one. Only some servers say so as RFC 6750, section 3.1, has it; what says that
// it is about something else is believed.
func refusesToken(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	challenges := strings.ToLower(strings.Join(resp.Header.Values("WWW-Authenticate"), ","))
	return strings.Contains(challenges, "invalid_token") || !challengeError.MatchString(challenges)
}

var challengeError = regexp.MustCompile(`[\s,]error\s*=`)

// again answers a request whose token was refused: by a second try with another
// token, if there is one and the body can be had again. There is no third.
func (t *bound) again(req *http.Request, refused *http.Response, token Token) (*http.Response, error) {
	t.attach.source.Invalidate(token)
	body := req.Body
	if body != nil && body != http.NoBody {
		if req.GetBody == nil {
			return refused, nil
		}
		var err error
		if body, err = req.GetBody(); err != nil {
			return refused, nil //nolint:nilerr // then the first answer is the answer
		}
	}
	other, err := t.attach.source.Token(req.Context())
	if err != nil || other.Same(token) {
		if body != nil {
			_ = body.Close() // was never read
		}
		if err == nil {
			return refused, nil
		}
		_ = refused.Body.Close()
		return nil, err
	}
	_, _ = io.CopyN(io.Discard, refused.Body, 2<<10) // so that the connection can be used again
	_ = refused.Body.Close()
	return t.send(req, body, other)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the base.
func (t *bound) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// redirect follows redirects only within the origin they come from, and never
// one that would turn a call into a GET (301, 302 and 303 after a POST).
func (t *bound) redirect(req *http.Request, via []*http.Request) error {
	if err := t.allowed(req.URL); err != nil {
		return err
	}
	last := via[len(via)-1]
	refuse := func(reason string) error {
		return &OriginError{Name: t.name, Target: originOf(req.URL).String(), Reason: reason}
	}
	switch {
	case originOf(last.URL) != originOf(req.URL):
		return refuse("a redirect to another origin")
	case last.Method != req.Method:
		return refuse("a redirect that would turn " + last.Method + " into " + req.Method)
	case len(via) > maxRedirects:
		return refuse("too many redirects")
	}
	return nil
}
