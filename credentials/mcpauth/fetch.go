package mcpauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	maxDocument = 256 << 10 // bytes; large servers write some 20 KiB
	maxDepth    = 16
	fetchLimit  = 10 * time.Second // one document
)

// errAbsent is a document that is not there: the next place may have it.
var errAbsent = errors.New("there is no such document")

// fetcher gets documents from strangers.
type fetcher struct {
	name   string // of the upstream
	client *http.Client
}

// send sends req, without following a redirect, and hands the answer to read. The
// error is transient: nobody has answered.
func (f *fetcher) send(req *http.Request, read func(*http.Response) error) error {
	ctx, cancel := context.WithTimeoutCause(req.Context(), fetchLimit, fmt.Errorf("no whole answer within %v", fetchLimit))
	defer cancel()
	own := &http.Client{Transport: f.client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := own.Do(req.WithContext(ctx)) //nolint:gosec // which addresses may be reached is for the client to know
	if err == nil {
		err = read(resp)
		_ = resp.Body.Close() // it was read, or is not wanted
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return f.trouble(credentials.Transient, fmt.Errorf("%s: %w", place(req.URL), plain(err)))
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	object []byte // the body; nil if it is no JSON object, or not a plain one
}

func (f *fetcher) exchange(req *http.Request) (reply, error) {
	var got reply
	err := f.send(req, func(resp *http.Response) error {
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
		if err != nil {
			return err
		}
		if s := resp.StatusCode; s >= 500 || s == http.StatusTooManyRequests || s == http.StatusRequestTimeout {
			return fmt.Errorf("HTTP status %d", s)
		}
		if len(body) > maxDocument || rawjson.Kind(body) != '{' || rawjson.Check(body, rawjson.Limits{Depth: maxDepth}) != nil {
			body = nil
		}
		got = reply{resp.StatusCode, resp.Header, body}
		return nil
	})
	return got, err
}

// get returns the document at a URL. Servers that answer every path with a page
// of theirs do not have it.
func (f *fetcher) get(ctx context.Context, from string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, fmt.Errorf("%.200q is no URL", from)
	}
	req.Header.Set("Accept", "application/json")
	got, err := f.exchange(req)
	switch {
	case err != nil:
		return nil, err
	case got.status/100 == 3:
		return nil, fmt.Errorf("%s answers with a redirect (HTTP %d), which is not followed", place(req.URL), got.status)
	case got.status != http.StatusOK:
		return nil, fmt.Errorf("%s: %w (HTTP %d)", place(req.URL), errAbsent, got.status)
	case got.object == nil:
		return nil, fmt.Errorf("%s: %w (no plain JSON object of at most %d KiB)", place(req.URL), errAbsent, maxDocument>>10)
	}
	return got.object, nil
}

// post sends a JSON text.
func (f *fetcher) post(ctx context.Context, to string, text []byte) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(text))
	if err != nil {
		return reply{}, f.trouble(credentials.Misconfigured, fmt.Errorf("%.200q is no URL", to))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	return f.exchange(req)
}

// anyOf returns what read finds at the first URL that has it. Trouble that passes
// ends the search: the next place may have what is not meant for us.
func anyOf[T any](urls []string, read func(url string) (T, error)) (T, error) {
	var found T
	var fault error
	for _, u := range urls {
		v, err := read(u)
		if err == nil {
			return v, nil
		}
		if _, transient := errors.AsType[*credentials.TokenError](err); transient {
			return found, err
		}
		switch {
		case fault == nil, errors.Is(fault, errAbsent) && !errors.Is(err, errAbsent):
			fault = err
		case errors.Is(fault, errAbsent):
			fault = fmt.Errorf("%w; %w", fault, err)
		}
	}
	return found, fault
}

func (f *fetcher) trouble(class credentials.Trouble, err error) *credentials.TokenError {
	return &credentials.TokenError{Name: f.name, Trouble: class, Err: err}
}

// plain returns what of a transport's error may be shown: it may quote what the
// other side has sent.
func plain(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	switch err.(type) { //nolint:errorlint // what is around these may hold anything
	case *net.OpError, *net.DNSError:
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%.300s", strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, err.Error()))
}

// place is a URL as it may be shown: whose it is, and no query.
func place(u *url.URL) string {
	return fmt.Sprintf("%.200q", (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
}

// list reads a member that is a list of strings: nil if it is no list, or
// longer than most.
func list(object []byte, name string, most int) (all []string, there bool) {
	v, there := rawjson.Get(object, name)
	if rawjson.Kind(v) != '[' {
		return nil, there
	}
	for e := range rawjson.Elements(v) {
		if s := rawjson.String(e); s != "" {
			all = append(all, s)
		}
		if len(all) > most {
			return nil, true
		}
	}
	return all, true
}

func flag(object []byte, name string) bool {
	v, _ := rawjson.Get(object, name)
	return string(bytes.TrimSpace(v)) == "true"
}

func text(object []byte, name string) string {
	s, _ := rawjson.GetString(object, name)
	return s
}

// address checks a URL that was given to us: https, or http on this machine if
// what it is for is on this machine too.
func address(raw string, local bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil, u.Hostname() == "", u.Opaque != "", len(raw) > 2048:
		return nil, fmt.Errorf("%.200q is not of the form https://host/path", raw)
	case u.User != nil, strings.Contains(raw, "#"):
		return nil, errors.New("a URL must have neither user information nor fragment")
	case u.Scheme == "https", u.Scheme == "http" && local && onThisMachine(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("%s must be https", place(u))
}

func onThisMachine(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// canonical writes scheme and host in lower case and leaves out a default port
// and the slash at the end: that is how two URLs of a server are compared.
func canonical(u *url.URL) string {
	host := strings.ToLower(u.Host)
	for scheme, port := range map[string]string{"https": ":443", "http": ":80"} {
		if u.Scheme == scheme {
			host = strings.TrimSuffix(host, port)
		}
	}
	s := strings.ToLower(u.Scheme) + "://" + host + strings.TrimSuffix(u.EscapedPath(), "/")
	if u.RawQuery != "" {
		s += "?" + u.RawQuery
	}
	return s
}

func originOf(u *url.URL) string {
	return canonical(&url.URL{Scheme: u.Scheme, Host: u.Host})
}
