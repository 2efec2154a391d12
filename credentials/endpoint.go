package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Endpoint is how one client speaks to one authorization server's token
// endpoint (RFC 6749, section 3.2). Redirects are not followed, whatever Client
// would do: one would take the client's secret along. At most 64 KiB of an
// answer are read, and no word of it gets into an error but a known code.
type Endpoint struct {
	Name     string       // of the upstream, for errors
	URL      string       // https, or http on this machine
	Client   *http.Client // not a grant's: that takes away what the client signs in with
	ClientID string
	Auth     ClientAuth
	Params   url.Values        // sent with every token request, such as audience or resource (RFC 8707)
	Secrets  map[string]Secret // parameters that are secrets, sent alike
	JSON     bool              // send JSON, where a server wants that (Notion)
	// Member is the member of the answer that holds the token; "" is the answer
	// itself. Slack has users' tokens in authed_user.
	Member string
	Values []string // members of the answer to keep as [Token].Values
	// Accept are scopes that may be granted though nobody asked for them, such
	// as the long names that a server has for short ones; "*" is any.
	Accept []string
}

const maxAnswer = 64 << 10

// Check tells what is wrong with the endpoint before anything is sent.
func (e *Endpoint) Check() error {
	if err := CheckURL(e.URL); err != nil {
		return fmt.Errorf("the token URL %w", err)
	}
	if e.Client == nil || e.Client.Transport == nil { // the default transport is everybody's
		return errors.New("the token endpoint has no HTTP client of its own")
	}
	return e.Auth.check(e.ClientID)
}

// CheckURL tells what is wrong with a URL of an authorization server: it must be
// https, or http on this machine, with neither user information nor fragment
// (RFC 6749, sections 3.1 and 3.2). It does not repeat the URL.
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil, u.Hostname() == "", u.Opaque != "":
		return errors.New("is not of the form https://host/path")
	case u.User != nil, u.Fragment != "":
		return errors.New("must have neither user information nor fragment")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return errors.New("must be https; http is for this machine only")
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// grant asks for a token by the grant that form describes.
func (e *Endpoint) grant(ctx context.Context, form url.Values, scopes []string) (Token, error) {
	for name, values := range e.Params {
		if !form.Has(name) {
			form[name] = values
		}
	}
	for name, v := range e.Secrets {
		if !form.Has(name) {
			form.Set(name, v.reveal())
		}
	}
	answer, err := e.post(ctx, e.URL, form)
	if err != nil {
		return Token{}, err
	}
	return e.token(answer, scopes)
}

// post sends form with the client's authentication to a URL of its server and
// returns the members of the answer.
func (e *Endpoint) post(ctx context.Context, to string, form url.Values) (members, error) {
	got, err := e.send(ctx, to, form)
	if err != nil {
		return nil, err
	}
	answer := parse(got.header.Get("Content-Type"), got.body)
	code := answer.text("error")
	if got.status/100 != 2 && code == "" {
		code = hubspotCode(answer)
	}
	if got.status/100 != 2 || code != "" {
		return nil, refused(e.Name, got, code)
	}
	if answer == nil {
		return nil, &TokenError{Name: e.Name, Status: got.status, Err: errors.New("the answer is neither JSON nor a form")}
	}
	return answer, nil
}

func (e *Endpoint) send(ctx context.Context, to string, form url.Values) (reply, error) {
	misconfigured := func(err error) (reply, error) {
		return reply{}, &TokenError{Name: e.Name, Trouble: Misconfigured, Err: err}
	}
	if err := CheckURL(to); err != nil {
		return misconfigured(fmt.Errorf("the URL %w", err))
	}
	header, err := e.Auth.apply(e.ClientID, e.URL, form)
	if err != nil {
		return misconfigured(err)
	}
	body, kind := []byte(form.Encode()), "application/x-www-form-urlencoded"
	if e.JSON {
		flat := map[string]string{}
		for name := range form {
			flat[name] = form.Get(name)
		}
		if body, err = json.Marshal(flat); err != nil {
			return misconfigured(errors.New("the request cannot be written as JSON"))
		}
		kind = "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return misconfigured(errors.New("the URL cannot be asked"))
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Accept", "application/json")
	if header != "" {
		req.Header.Set("Authorization", header)
	}
	got, err := exchange(e.Client, req)
	if err != nil {
		return reply{}, &TokenError{Name: e.Name, Err: err}
	}
	return got, nil
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// exchange sends req without following a redirect and reads the answer. The
// error repeats nothing of either.
func exchange(client *http.Client, req *http.Request) (reply, error) {
	own := &http.Client{Transport: client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := own.Do(req)
	if err != nil {
		return reply{}, quiet(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return reply{}, quiet(err)
	case len(data) > maxAnswer:
		return reply{}, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return reply{resp.StatusCode, resp.Header, data}, nil
}

// quiet returns what of a transport's error gives nothing away: a URL may hold
// a key, and an error about a malformed answer quotes it.
func quiet(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	switch e := err.(type) { //nolint:errorlint // an error around these may hold anything
	case *net.OpError, *net.DNSError, *OriginError:
		return e
	case interface{ Safe() bool }: // a transport's own, that repeats nothing of a request or an answer
		if e.Safe() {
			return err
		}
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, io.EOF} {
		if errors.Is(err, known) {
			return known
		}
	}
	if strings.HasPrefix(err.Error(), "tls: ") || strings.HasPrefix(err.Error(), "x509: ") {
		return err
	}
	return errors.New("the connection failed, or the answer is no HTTP")
}

// members are those of an answer, as JSON text.
type members map[string]json.RawMessage

// parse reads a JSON object, or the form that some servers answer with. It
// returns nil if data is neither.
func parse(contentType string, data []byte) members {
	var m members
	if json.Unmarshal(data, &m) == nil {
		return m
	}
	kind, _, _ := mime.ParseMediaType(contentType) // "" is none of these
	if kind != "application/x-www-form-urlencoded" && kind != "text/plain" {
		return nil
	}
	form, err := url.ParseQuery(string(data))
	if err != nil || !form.Has("access_token") && !form.Has("error") {
		return nil
	}
	m = members{}
	for name := range form {
		m[name], _ = json.Marshal(form.Get(name)) // a string can be written
	}
	return m
}

// text returns a member that is a string, and "" for others.
func (m members) text(name string) string {
	var s string
	if json.Unmarshal(m[name], &s) != nil {
		return ""
	}
	return s
}

// seconds returns a member that is a number of seconds, or a string of one, and
// 0 for what makes no sense.
func (m members) seconds(name string) time.Duration {
	raw := m[name]
	if s := m.text(name); s != "" {
		raw = json.RawMessage(s)
	}
	var n float64
	if json.Unmarshal(raw, &n) != nil || n < 0 || n > 10*365*24*3600 {
		return 0
	}
	return time.Duration(n * float64(time.Second))
}

// token reads a successful answer (RFC 6749, section 5.1).
func (e *Endpoint) token(answer members, asked []string) (Token, error) {
	refuse := func(class Trouble, reason string) (Token, error) {
		return Token{}, &TokenError{Name: e.Name, Trouble: class, Err: errors.New(reason)}
	}
	if e.Member != "" {
		var inner members
		if json.Unmarshal(answer[e.Member], &inner) != nil || inner == nil {
			return refuse(Misconfigured, "the answer has no object "+e.Member)
		}
		answer = inner
	}
	access := answer.text("access_token")
	if access == "" {
		return refuse(Transient, "the answer has no access_token")
	}
	switch strings.ToLower(answer.text("token_type")) { // all others are sent as Bearer, whatever they are called
	case "dpop", "mac", "pop", "n_a":
		return refuse(Misconfigured, "the token is of a type that cannot be sent as a bearer token")
	}
	t := Token{Access: NewSecret(access), Scopes: slices.Clone(asked)}
	if refresh := answer.text("refresh_token"); refresh != "" {
		t.Refresh = NewSecret(refresh)
	}
	if ttl := answer.seconds("expires_in"); ttl > 0 {
		t.Expiry = time.Now().Round(0).Add(ttl)
	}
	if granted := strings.FieldsFunc(answer.text("scope"), func(c rune) bool { return c == ' ' || c == ',' }); len(granted) > 0 {
		if extra := beyond(granted, asked, e.Accept); extra > 0 {
			return refuse(Misconfigured, fmt.Sprintf("the server granted %d scopes that nobody asked for; the token is not used", extra))
		}
		t.Scopes = granted
	}
	for _, name := range e.Values {
		if v := answer.text(name); v != "" {
			if t.Values == nil {
				t.Values = map[string]string{}
			}
			t.Values[name] = v
		}
	}
	return t, nil
}

// beyond counts what was granted beyond what was asked. Who asks for nothing
// gets what the server thinks right.
func beyond(granted, asked, accept []string) (n int) {
	if len(asked) == 0 || slices.Contains(accept, "*") {
		return 0
	}
	var flat []string // servers that part scopes by commas are asked that way
	for _, s := range asked {
		flat = append(flat, strings.Split(s, ",")...)
	}
	for _, s := range granted {
		if !slices.Contains(flat, s) && !slices.Contains(accept, s) {
			n++
		}
	}
	return n
}
