package credentials_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// transport dials own for its own address and strange for every other one,
// plain or TLS, and counts the strange dials.
func transport(t *testing.T, own, plain, secure *httptest.Server) (*http.Transport, *atomic.Int64) {
	t.Helper()
	var strange atomic.Int64
	dialer := &net.Dialer{}
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the test's own server
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == own.Listener.Addr().String() {
				return dialer.DialContext(ctx, network, addr)
			}
			strange.Add(1)
			return dialer.DialContext(ctx, network, plain.Listener.Addr().String())
		},
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			strange.Add(1)
			return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, network, secure.Listener.Addr().String()) //nolint:gosec // as above
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr, &strange
}

func serve(t *testing.T, start func(http.Handler) *httptest.Server, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := start(h)
	t.Cleanup(s.Close)
	return s
}

// No redirect takes a request, and with it a credential, to another origin. The
// plain client of the positive control is taken to every one.
func TestRedirectMatrix(t *testing.T) {
	var hits atomic.Int64
	second := func(http.ResponseWriter, *http.Request) { hits.Add(1) }
	plain, secure := serve(t, httptest.NewServer, second), serve(t, httptest.NewTLSServer, second)
	own := serve(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		var code int
		if _, err := fmt.Sscan(r.URL.Query().Get("code"), &code); err != nil {
			return
		}
		w.Header().Set("Location", r.URL.Query().Get("to"))
		w.WriteHeader(code)
	})
	addr := own.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	tr, strange := transport(t, own, plain, secure)
	bound := grant(t, credentials.Spec{Origins: []string{own.URL}, Attach: credentials.Header("X-Api-Key", credentials.NewSecret("k"))}).Client(tr)
	noPolicy := *bound // an adapter that drops the redirect policy
	noPolicy.CheckRedirect = nil

	targets := map[string]string{
		"port": "http://127.0.0.1:1/", "no port": "http://127.0.0.1/", "host": "http://other.example:" + port + "/", "name": "http://localhost:" + port + "/",
		"subdomain": "http://sub." + addr + "/", "scheme": "https://" + addr + "/", "relative": "//other.example:" + port + "/", "userinfo": "http://" + addr + "@other.example/",
	}
	for name, to := range targets {
		for _, code := range []int{301, 302, 303, 307, 308} {
			for _, method := range []string{"GET", "POST", "DELETE"} {
				do := func(c *http.Client) error {
					req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("%s/?code=%d&to=%s", own.URL, code, url.QueryEscape(to)), strings.NewReader("body"))
					if err != nil {
						t.Fatal(err)
					}
					resp, err := c.Do(req)
					if err == nil {
						_ = resp.Body.Close()
					}
					return err
				}
				for _, client := range []*http.Client{bound, &noPolicy} {
					err := do(client)
					if oe, ok := errors.AsType[*credentials.OriginError](err); !ok || oe.Name != "crm" {
						t.Errorf("%s %s %d: %v", method, name, code, err)
					}
				}
				if hits.Load() != 0 || strange.Load() != 0 {
					t.Fatalf("%s %s %d reached another origin", method, name, code)
				}
				if err := do(&http.Client{Transport: tr}); err != nil || hits.Load() != 1 {
					t.Errorf("positive control %s %s %d: %v, %d hits", method, name, code, err, hits.Load())
				}
				hits.Store(0)
				strange.Store(0)
				tr.CloseIdleConnections()
			}
		}
	}
}

func TestRedirectsWithinTheOrigin(t *testing.T) {
	own := serve(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
		case "/once", "/see-other":
			code := map[string]int{"/once": http.StatusPermanentRedirect, "/see-other": http.StatusSeeOther}[r.URL.Path]
			http.Redirect(w, r, "/end", code)
		default:
			body, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%s %s %s %s", r.Method, body, r.Header.Get("Authorization"), r.Header.Get("Referer"))
		}
	})
	client := grant(t, credentials.Spec{Origins: []string{own.URL}, Attach: credentials.Bearer(credentials.NewSecret("t"))}).Client(nil)
	defer client.CloseIdleConnections()
	post := func(path string) (string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, own.URL+path, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close() //nolint:errcheck // a test
		data, err := io.ReadAll(resp.Body)
		return string(data), err
	}
	if got, err := post("/once"); err != nil || got != "POST body Bearer t " {
		t.Errorf("%q %v", got, err)
	}
	if _, err := post("/see-other"); err == nil || !strings.Contains(err.Error(), "turn POST into GET") {
		t.Errorf("303: %v", err)
	}
	if _, err := post("/loop"); err == nil || !strings.Contains(err.Error(), "too many redirects") {
		t.Errorf("loop: %v", err)
	}
}

func TestCredentialInItsFieldOnly(t *testing.T) {
	var got http.Header
	var host string
	own := serve(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		got, host = r.Header.Clone(), r.Host
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
	})
	s := credentials.NewSecret
	for name, c := range map[string]struct {
		attach credentials.Attachment
		field  string
		want   string
	}{
		"none":   {credentials.None(), "", ""},
		"bearer": {credentials.Bearer(s("t")), "Authorization", "Bearer t"},
		"basic":  {credentials.Basic("Aladdin", s("open sesame")), "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		"header": {credentials.Header("x-api-key", s("key 42")), "X-Api-Key", "key 42"},
	} {
		client := grant(t, credentials.Spec{Origins: []string{strings.ToUpper(own.URL[:4]) + own.URL[4:]}, Attach: c.attach}).Client(nil)
		if client.Jar != nil {
			t.Error("there is a cookie jar")
		}
		for range 2 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(own.URL, "://", "://u:foreign@", 1), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "foreign.example"
			req.Header = http.Header{"Authorization": {"foreign"}, "authorization": {"foreign"}, "Proxy-Authorization": {"foreign"}, "Cookie": {"a=foreign"},
				"Referer": {"foreign"}, "Accept": {"x/y"}}
			if c.field != "" {
				req.Header[strings.ToLower(c.field)] = []string{"foreign"}
			}
			before := fmt.Sprint(req.Header, req.URL, req.Host)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if after := fmt.Sprint(req.Header, req.URL, req.Host); after != before {
				t.Errorf("%s: the caller's request changed from %s to %s", name, before, after)
			}
			if c.want != "" && strings.Contains(fmt.Sprint(resp.Request.Header), c.want) {
				t.Errorf("%s: the response carries the credential back", name)
			}
			if text := fmt.Sprint(got); strings.Contains(text, "foreign") || host != own.Listener.Addr().String() || got.Get("Accept") != "x/y" {
				t.Errorf("%s: arrived %s at host %s", name, text, host)
			}
			for _, field := range []string{"Authorization", "X-Api-Key"} {
				values := got.Values(field)
				if field == c.field && (len(values) != 1 || values[0] != c.want) || field != c.field && len(values) != 0 {
					t.Errorf("%s: %s = %q", name, field, values)
				}
			}
		}
		client.CloseIdleConnections()
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	var hits atomic.Int64
	count := func(http.ResponseWriter, *http.Request) { hits.Add(1) }
	own, plain, secure := serve(t, httptest.NewServer, count), serve(t, httptest.NewServer, count), serve(t, httptest.NewTLSServer, count)
	tr, strange := transport(t, own, plain, secure)
	g := grant(t, credentials.Spec{Origins: []string{own.URL}, Attach: credentials.Bearer(credentials.NewSecret("t"))})
	client, again := g.Client(tr), g.Client(tr)
	var zero credentials.Grant
	addr := own.Listener.Addr().String()
	for name, c := range map[string]struct {
		client *http.Client
		url    *url.URL
	}{
		"other host":   {client, &url.URL{Scheme: "http", Host: "other.example"}},
		"other port":   {client, &url.URL{Scheme: "http", Host: "127.0.0.1"}},
		"other scheme": {client, &url.URL{Scheme: "https", Host: addr}},
		"dot":          {client, &url.URL{Scheme: "http", Host: strings.Replace(addr, ":", ".:", 1)}},
		"opaque":       {client, &url.URL{Scheme: "http", Host: addr, Opaque: "//other.example/"}},
		"taken twice":  {again, &url.URL{Scheme: "http", Host: addr}},
		"zero grant":   {zero.Client(tr), &url.URL{Scheme: "http", Host: addr}},
	} {
		body := &closed{Reader: strings.NewReader("x")}
		req := (&http.Request{Method: http.MethodPost, URL: c.url, Header: http.Header{}, Body: body}).WithContext(t.Context())
		resp, err := c.client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if _, ok := errors.AsType[*credentials.OriginError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
		if name == "taken twice" && !strings.Contains(fmt.Sprint(err), "in use by another client") {
			t.Errorf("%s: %v", name, err)
		}
		if !body.done {
			t.Errorf("%s: the body stays open", name)
		}
	}
	if hits.Load() != 0 || strange.Load() != 0 {
		t.Errorf("%d requests and %d connections were made", hits.Load(), strange.Load())
	}
}

type closed struct {
	io.Reader
	done bool
}

func (c *closed) Close() error { c.done = true; return nil }

// Two grants over one base transport, in parallel: neither server ever sees
// the other's credential.
func TestTwoGrantsAtOnce(t *testing.T) {
	var own [2]*httptest.Server
	var seen [2]sync.Map
	for i := range own {
		own[i] = serve(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
			seen[i].Store(r.Header.Get("Authorization"), true)
			http.Redirect(w, r, own[1-i].URL, http.StatusTemporaryRedirect)
		})
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	var wg sync.WaitGroup
	for i := range own {
		client := grant(t, credentials.Spec{Origins: []string{own[i].URL}, Attach: credentials.Bearer(credentials.NewSecret(fmt.Sprint(i)))}).Client(tr)
		shared, err := http.NewRequestWithContext(t.Context(), http.MethodGet, own[i].URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			wg.Go(func() {
				for range 25 {
					resp, err := client.Do(shared) // one request, from many goroutines
					if err == nil {
						_ = resp.Body.Close()
						t.Error("followed a redirect to the other grant's origin")
					}
				}
			})
		}
	}
	wg.Wait()
	for i := range own {
		n := 0
		seen[i].Range(func(key, _ any) bool {
			n++
			if key != fmt.Sprintf("Bearer %d", i) {
				t.Errorf("server %d saw %v", i, key)
			}
			return true
		})
		if n != 1 {
			t.Errorf("server %d saw %d credentials", i, n)
		}
	}
}

// Hosts that a source names with its token are allowed by the end of their names
// only, over https at the usual port.
func TestSuffixes(t *testing.T) {
	var asked []string
	base := roundTrip(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.Host+" "+r.Header.Get("Authorization"))
		return httptest.NewRecorder().Result(), nil
	})
	client := grant(t, credentials.Spec{Suffixes: []string{".my.example.com", "force.example"}, Attach: credentials.Bearer(credentials.NewSecret("k"))}).Client(base)
	for _, u := range []string{"https://a.my.example.com/x", "https://B.C.my.example.com:443/x", "https://force.example/"} {
		if resp, err := client.Get(u); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %v", u, err)
		}
	}
	for _, u := range []string{
		"http://a.my.example.com/x", "https://a.my.example.com:8443/x", "https://evilmy.example.com/", "https://my.example.com.evil.example/", "https://evilforce.example/",
		"https://example.com/", "https://a.my.example.com./", "https://a.my.example.com%2eevil.example/",
	} {
		if _, err := client.Get(u); err == nil {
			t.Errorf("%s is asked", u)
		}
	}
	if len(asked) != 3 || asked[0] != "a.my.example.com Bearer k" {
		t.Errorf("asked %q", asked)
	}
	for _, s := range []string{"com", ".com", "", "*.example.com", ".Example.com", "example.com/"} {
		if _, err := credentials.NewGrant(credentials.Spec{Suffixes: []string{s}}); err == nil {
			t.Errorf("the suffix %q is taken", s)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
