package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

func send(t *testing.T, client *http.Client, method, url string, body io.Reader) (status int, text string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if strings.Contains(fmt.Sprint(resp.Request.Header), "tok") {
		t.Error("the answer carries the token back")
	}
	return resp.StatusCode, string(data), err
}

// own is a server that takes one token, and says so in its own way.
func own(t *testing.T, field, good, challenge string) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	return serve(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		if got := r.Header.Values(field); len(got) != 1 || got[0] != good {
			if challenge != "" {
				w.Header().Set("WWW-Authenticate", challenge)
			}
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, "no: %q", got)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s", r.Method, body)
	}), &asked
}

func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	unreplayable := func() io.Reader { return io.MultiReader(strings.NewReader("body")) }
	for name, c := range map[string]struct {
		attach    func(credentials.Source) credentials.Attachment
		field     string
		good      string
		challenge string
		tokens    []string
		body      func() io.Reader
		status    int
		requests  int64
		first     string // token of the next request
	}{
		"good":      {credentials.BearerFrom, "Authorization", "Bearer tok1", "", []string{"tok1"}, nil, 200, 1, "tok1"},
		"replaced":  {credentials.BearerFrom, "Authorization", "Bearer tok2", "", []string{"tok1", "tok2"}, nil, 200, 2, "tok2"},
		"said so":   {credentials.BearerFrom, "Authorization", "Bearer tok2", `Bearer realm="x", error="invalid_token"`, []string{"tok1", "tok2"}, nil, 200, 2, "tok2"},
		"challenge": {credentials.BearerFrom, "Authorization", "Bearer tok2", `Bearer resource_metadata="https://x/error=y"`, []string{"tok1", "tok2"}, nil, 200, 2, "tok2"},
		"two": {credentials.BearerFrom, "Authorization", "Bearer tok2", `Basic error="x", Bearer error="invalid_token"`, []string{"tok1", "tok2"}, nil, 200, 2,
			"tok2"},
		"about something else": {credentials.BearerFrom, "Authorization", "Bearer tok2", `Bearer error="insufficient_scope"`, []string{"tok1", "tok2"}, nil, 401, 1, "tok1"},
		"not twice":            {credentials.BearerFrom, "Authorization", "Bearer tok3", "", []string{"tok1", "tok2", "tok3"}, nil, 401, 2, "tok2"},
		"no other":             {credentials.BearerFrom, "Authorization", "Bearer tok2", "", []string{"tok1"}, nil, 401, 1, "tok1"},
		"body that comes once": {credentials.BearerFrom, "Authorization", "Bearer tok2", "", []string{"tok1", "tok2"}, unreplayable, 401, 1, "tok2"},
		"other field": {func(s credentials.Source) credentials.Attachment {
			return credentials.HeaderFrom("x-shopify-access-token", "", s)
		}, "X-Shopify-Access-Token", "tok2", "",
			[]string{"tok1", "tok2"}, nil, 200, 2, "tok2"},
		"other prefix": {func(s credentials.Source) credentials.Attachment {
			return credentials.HeaderFrom("Authorization", "token ", s)
		}, "Authorization", "token tok1", "",
			[]string{"tok1"}, nil, 200, 1, "tok1"},
	} {
		srv, asked := own(t, c.field, c.good, c.challenge)
		src := &fixed{c.tokens}
		client := grant(t, credentials.Spec{Origins: []string{srv.URL}, Attach: c.attach(src)}).Client(nil)
		var body io.Reader = strings.NewReader("body")
		if c.body != nil {
			body = c.body()
		}
		status, text, err := send(t, client, http.MethodPost, srv.URL, body)
		if err != nil || status != c.status || asked.Load() != c.requests || src.tokens[0] != c.first {
			t.Errorf("%s: %d %v after %d requests, then %s", name, status, err, asked.Load(), src.tokens[0])
		}
		if status == 200 && text != "POST body" {
			t.Errorf("%s: %s", name, text)
		}
		client.CloseIdleConnections()
	}
}

// base is a transport that takes one token only, and notes bodies.
type base struct {
	good   string
	bodies []string
}

func (b *base) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	b.bodies = append(b.bodies, string(body))
	status := http.StatusUnauthorized
	if req.Header.Get("Authorization") == b.good {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: &closed{Reader: strings.NewReader("")}, Request: req}, err
}

func TestBodyIsSentAgain(t *testing.T) {
	b := &base{good: "Bearer tok2"}
	client := grant(t, credentials.Spec{Origins: []string{"https://a.example"}, Attach: credentials.BearerFrom(&fixed{[]string{"tok1", "tok2"}})}).Client(b)
	status, _, err := send(t, client, http.MethodPost, "https://a.example/", strings.NewReader("body"))
	if err != nil || status != 200 || fmt.Sprint(b.bodies) != "[body body]" {
		t.Errorf("%d %v %q", status, err, b.bodies)
	}
}

// failing is a source without a token, or with one until it is refused.
type failing struct{ token string }

func (f *failing) Token(context.Context) (credentials.Token, error) {
	if f.token == "" {
		return credentials.Token{}, &credentials.TokenError{Name: "crm", Trouble: credentials.NeedsLogin}
	}
	return credentials.Token{Access: credentials.NewSecret(f.token)}, nil
}

func (f *failing) Invalidate(credentials.Token) { f.token = "" }

func TestNoToken(t *testing.T) {
	srv, asked := own(t, "Authorization", "Bearer other", "")
	for _, c := range []struct {
		token    string
		requests int64
	}{{"", 0}, {"tok1", 1}} {
		client := grant(t, credentials.Spec{Origins: []string{srv.URL}, Attach: credentials.BearerFrom(&failing{c.token})}).Client(nil)
		body := &closed{Reader: strings.NewReader("x")}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		e, ok := errors.AsType[*credentials.TokenError](err)
		if !ok || e.Trouble != credentials.NeedsLogin || asked.Swap(0) != c.requests || !body.done {
			t.Errorf("%q: %v, body closed: %v", c.token, err, body.done)
		}
		client.CloseIdleConnections()
	}
}

// Writes go out with the token of the write scopes, and with no other.
func TestScopeSets(t *testing.T) {
	var seen sync.Map
	srv := serve(t, httptest.NewServer, func(_ http.ResponseWriter, r *http.Request) { seen.Store(r.Header.Get("Authorization"), r.URL.Path) })
	spec := credentials.Spec{Origins: []string{srv.URL}, Attach: credentials.BearerFrom(&fixed{[]string{"tok-read"}}),
		Scopes: map[string]credentials.Attachment{"write": credentials.BearerFrom(&fixed{[]string{"tok-write"}})}}
	g := grant(t, spec)
	reads, writes := g.Client(nil), g.Scoped("write").Client(nil)
	again, unknown := g.Scoped("write").Client(nil), g.Scoped("admin").Client(nil)
	for path, client := range map[string]*http.Client{"/read": reads, "/write": writes} {
		if status, _, err := send(t, client, http.MethodGet, srv.URL+path, nil); err != nil || status != 200 {
			t.Errorf("%s: %d %v", path, status, err)
		}
		if got, _ := seen.Load("Bearer tok-" + path[1:]); got != path {
			t.Errorf("%s: %v", path, got)
		}
		client.CloseIdleConnections()
	}
	for name, client := range map[string]*http.Client{"taken twice": again, "unknown": unknown} {
		if _, _, err := send(t, client, http.MethodGet, srv.URL, nil); err == nil {
			t.Errorf("%s: allowed", name)
		}
	}
	if _, _, err := send(t, grant(t, spec).Scoped("write").Client(nil), http.MethodGet, "http://127.0.0.1:1", nil); err == nil || !strings.Contains(err.Error(), "not an origin") {
		t.Errorf("another origin: %v", err)
	}
	spec.Scopes["write"] = credentials.BearerFrom(nil)
	if _, err := credentials.NewGrant(spec); err == nil || !strings.Contains(err.Error(), "scopes write: there is no source") {
		t.Error(err)
	}
}

func TestFingerprintOfSources(t *testing.T) {
	src := func(id string) credentials.Source {
		return credentials.NewRefresher(credentials.SourceSpec{Name: "crm", ID: id})
	}
	print := func(a, write credentials.Attachment) string {
		return grant(t, credentials.Spec{Origins: []string{"https://a.example"}, Attach: a, Scopes: map[string]credentials.Attachment{"write": write}}).Fingerprint()
	}
	base := print(credentials.BearerFrom(src("1")), credentials.None())
	if print(credentials.BearerFrom(src("1")), credentials.None()) != base {
		t.Error("equal sources differ")
	}
	for name, got := range map[string]string{
		"id": print(credentials.BearerFrom(src("2")), credentials.None()), "field": print(credentials.HeaderFrom("X-Key", "Bearer ", src("1")), credentials.None()),
		"prefix":   print(credentials.HeaderFrom("Authorization", "", src("1")), credentials.None()),
		"write":    print(credentials.BearerFrom(src("1")), credentials.BearerFrom(src("2"))),
		"nameless": print(credentials.BearerFrom(&fixed{[]string{"x"}}), credentials.None()),
	} {
		if got == base {
			t.Errorf("%s makes no difference", name)
		}
	}
	if print(credentials.BearerFrom(&fixed{[]string{"x"}}), credentials.None()) == print(credentials.BearerFrom(&fixed{[]string{"y"}}), credentials.None()) {
		t.Error("two sources without a name are taken for one")
	}
}

// Ten thousand people with three sources each fit into 4 KiB for each source,
// tokens of a usual length included.
func TestSourcesAreSmall(t *testing.T) {
	const n, limit = 30_000, 4 << 10
	c := func(context.Context, credentials.Token) (credentials.Token, error) {
		return credentials.Token{Access: credentials.NewSecret(strings.Repeat("a", 900)), Refresh: credentials.NewSecret(strings.Repeat("r", 600)), Expiry: time.Now().Add(time.Hour), Scopes: []string{"read", "write"}}, nil
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	all := make([]*credentials.Refresher, n)
	for i := range all {
		all[i] = credentials.NewRefresher(credentials.SourceSpec{Name: "crm", ID: fmt.Sprintf("crm-%032d", i), Fetch: c})
		if _, err := all[i].Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	each := (heap() - before) / n
	runtime.KeepAlive(all)
	t.Logf("%d bytes each", each)
	if each > limit {
		t.Errorf("%d bytes each", each)
	}
}

// What our transport costs without a network below; an HTTP call on loopback
// takes 25 µs of CPU and more.
func BenchmarkAuthenticated(b *testing.B) {
	src := credentials.NewRefresher(credentials.SourceSpec{Name: "crm", ID: "crm-1", Fetch: func(context.Context, credentials.Token) (credentials.Token, error) {
		return credentials.Token{Access: credentials.NewSecret(strings.Repeat("a", 900)), Expiry: time.Now().Add(time.Hour)}, nil
	}})
	for name, attach := range map[string]credentials.Attachment{
		"none": credentials.None(), "fixed": credentials.Bearer(credentials.NewSecret(strings.Repeat("a", 900))), "token": credentials.BearerFrom(src),
	} {
		g, err := credentials.NewGrant(credentials.Spec{Name: "crm", Origins: []string{"https://a.example"}, Attach: attach})
		if err != nil {
			b.Fatal(err)
		}
		client := g.Client(nothing{})
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "https://a.example/", nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Transport.RoundTrip(req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type nothing struct{}

func (nothing) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
}

func BenchmarkToken(b *testing.B) {
	src := credentials.NewRefresher(credentials.SourceSpec{Name: "crm", ID: "crm-1", Fetch: func(context.Context, credentials.Token) (credentials.Token, error) {
		return credentials.Token{Access: credentials.NewSecret("a"), Expiry: time.Now().Add(time.Hour)}, nil
	}})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := src.Token(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Who reads an answer may find that it refuses the token; the next request then has
// another one.
func TestTokenRefusedByTheBody(t *testing.T) {
	type refusable interface {
		RefuseCredential(ctx context.Context) bool
	}
	refuse := func(a credentials.Attachment) (again, ok bool) {
		client := grant(t, credentials.Spec{Origins: []string{"https://a.example"}, Attach: a}).Client(&base{good: "Bearer tok1"})
		resp, err := client.Post("https://a.example/", "", strings.NewReader("body"))
		if err != nil {
			return false, false
		}
		defer resp.Body.Close()
		body, ok := resp.Body.(refusable)
		return ok && body.RefuseCredential(t.Context()), ok
	}
	for want, src := range map[string]*fixed{"tok2": {[]string{"tok1", "tok2"}}, "tok1": {[]string{"tok1"}}} {
		again, ok := refuse(credentials.BearerFrom(src))
		if !ok || again != (want == "tok2") || src.tokens[0] != want {
			t.Errorf("again %v, then %s, want %s", again, src.tokens[0], want)
		}
	}
	if again, ok := refuse(credentials.BearerFrom(&failing{"tok1"})); !again || !ok {
		t.Error("why there is no other token is not found out")
	}
	if _, ok := refuse(credentials.Bearer(credentials.NewSecret("tok1"))); ok {
		t.Error("a token that does not change can be replaced")
	}
}
