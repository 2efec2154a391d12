package credentials_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// A mark is a secret that says whose it is: of which upstream, which principal,
// and what it is for.
type mark struct{ upstream, principal, field string }

var markForm = regexp.MustCompile(`c4n\.(u\d+)\.(p\d+)\.([a-z]+)\.[A-Z2-7]{26}`)

func (m mark) make() string {
	return fmt.Sprintf("c4n.%s.%s.%s.%s", m.upstream, m.principal, m.field, rand.Text())
}

// marks returns the secrets in a text, whole ones and those of Basic.
func marks(text string) (found []mark) {
	for word := range strings.FieldsSeq(text) {
		if plain, err := base64.StdEncoding.DecodeString(strings.Trim(word, "[]")); err == nil {
			text += " " + string(plain)
		}
	}
	for _, m := range markForm.FindAllStringSubmatch(text, -1) {
		found = append(found, mark{m[1], m[2], m[3]})
	}
	return found
}

const matrixUpstreams, matrixPrincipals, matrixCalls = 8, 6, 6000

// matrix is everybody's servers, and what came where it should not.
type matrix struct {
	t     *testing.T
	apis  [matrixUpstreams]*httptest.Server
	auth  [matrixUpstreams]*httptest.Server
	store *credentials.FileStore

	mu      sync.Mutex
	seen    map[mark]int
	strange []string
	live    map[mark]string // refresh tokens that are good, by field "refresh"
	reused  int
}

// arrived notes what secrets a request has, which must all be of whom it is for,
// and each in a field that is for it.
func (m *matrix) arrived(r *http.Request, body, upstream, principal string, place map[string]func() string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rest := body + " " + r.URL.String() + " " + fmt.Sprint(r.Header)
	for field, value := range place {
		text := value()
		for _, got := range marks(text) {
			if got == (mark{upstream, principal, field}) {
				m.seen[got]++
				rest = strings.Replace(rest, text, "", 1)
			}
		}
	}
	for _, got := range marks(rest) {
		m.strange = append(m.strange, fmt.Sprintf("%v in a request for %s of %s: %.300s", got, upstream, principal, rest))
	}
}

// api refuses some tokens, sends some elsewhere, and repeats others.
func (m *matrix) api(u int, w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	principal, what, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	field := "Authorization"
	if u == 1 {
		field = "X-Api-Key"
	}
	value := func() string { return r.Header.Get(field) }
	m.arrived(r, string(data), fmt.Sprint("u", u), principal, map[string]func() string{"access": value, "fixed": value})
	switch what {
	case "refused":
		w.WriteHeader(http.StatusUnauthorized)
	case "elsewhere":
		http.Redirect(w, r, m.apis[(u+1)%matrixUpstreams].URL+"/"+principal+"/ok", []int{301, 302, 303, 307, 308}[len(data)%5])
	case "broken":
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "X")
	}
}

// token is a token endpoint: of the principal who is the client, and of the
// upstream whose it is.
func (m *matrix) token(u int, w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	upstream := fmt.Sprint("u", u)
	principal := r.PostForm.Get("client_id")
	if principal == "" {
		principal, _, _ = r.BasicAuth()
	}
	form := func(name string) func() string { return func() string { return r.PostForm.Get(name) } }
	m.arrived(r, r.PostForm.Encode(), upstream, principal, map[string]func() string{
		"secret":  func() string { return r.Header.Get("Authorization") + r.PostForm.Get("client_secret") },
		"refresh": form("refresh_token"), "subject": form("subject_token"),
	})
	refresh := mark{upstream, principal, "refresh"}
	next := refresh.make()
	m.mu.Lock()
	if r.PostForm.Get("grant_type") == "refresh_token" {
		if m.live[refresh] != r.PostForm.Get("refresh_token") {
			m.reused++
		}
		m.live[refresh] = next
	}
	m.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"access_token":%q,"refresh_token":%q,"expires_in":1}`, mark{upstream, principal, "access"}.make(), next)
}

// attach is how principal p signs in to upstream u: each upstream has its kind.
func (m *matrix) attach(u, p int) (credentials.Attachment, []mark) {
	of := func(field string) mark { return mark{fmt.Sprint("u", u), fmt.Sprint("p", p), field} }
	secret := func(field string) credentials.Secret { return credentials.NewSecret(of(field).make()) }
	e := &credentials.Endpoint{Name: of("").upstream, URL: m.auth[u].URL, ClientID: of("").principal, Client: &http.Client{Transport: &http.Transport{}}}
	m.t.Cleanup(e.Client.CloseIdleConnections)
	spec := credentials.SourceSpec{Name: of("").upstream, ID: credentials.Identity{
		Upstream: of("").upstream, Subject: of("").principal, Issuer: m.auth[u].URL, ClientID: "shared"}.ID()}
	fields := []mark{of("access")}
	switch u {
	case 0:
		return credentials.Bearer(secret("fixed")), []mark{of("fixed")}
	case 1:
		return credentials.Header("X-Api-Key", secret("fixed")), []mark{of("fixed")}
	case 2:
		return credentials.Basic("reports", secret("fixed")), []mark{of("fixed")}
	case 3:
		e.Auth = credentials.BasicClient(secret("secret"))
		spec.Fetch = credentials.ClientCredentials(e, nil)
		fields = append(fields, of("secret"))
	case 4:
		e.Auth = credentials.PostClient(secret("secret"))
		spec.Fetch = credentials.TokenExchange(e, credentials.Exchange{Subject: credentials.Fixed(secret("subject"))}, nil)
		fields = append(fields, of("secret"), of("subject"))
	case 5:
		_, key := keys()
		spec.Fetch = credentials.JWTBearer(e, credentials.Assertion{Key: parsed(m.t, pkcs8(m.t, key), ""), Issuer: "me"}, nil)
	default:
		spec.Fetch, spec.Store = credentials.RefreshToken(e, nil), m.store
		first := of("refresh").make()
		m.live[of("refresh")] = first
		if err := m.store.Save(m.t.Context(), spec.ID, credentials.Token{Refresh: credentials.NewSecret(first)}); err != nil {
			m.t.Fatal(err)
		}
		fields = append(fields, of("refresh"))
	}
	return credentials.BearerFrom(source(m.t, spec)), fields
}

// Eight upstreams, each with another kind of credential, for six principals
// each, all over one pool of connections: thousands of calls beside each other,
// refused, sent elsewhere, broken off and given up, with tokens that live for a
// second. No secret gets into a request of another principal or upstream, or
// into another field; and each got where it belongs.
func TestPrincipalsAreApart(t *testing.T) {
	m := &matrix{t: t, seen: map[mark]int{}, live: map[mark]string{}}
	dir := filepath.Join(t.TempDir(), "tokens")
	m.store = openStore(t, dir, newKey(t))
	for u := range matrixUpstreams {
		m.apis[u] = serve(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) { m.api(u, w, r) })
		m.auth[u] = serve(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) { m.token(u, w, r) })
	}
	shared := &http.Transport{MaxIdleConnsPerHost: 32} // worse than what is built
	t.Cleanup(shared.CloseIdleConnections)
	var clients [matrixUpstreams][matrixPrincipals]*http.Client
	var wanted []mark
	prints := map[string]string{}
	for u := range clients {
		for p := range clients[u] {
			attach, fields := m.attach(u, p)
			g := grant(t, credentials.Spec{Name: fmt.Sprint("u", u), Origins: []string{m.apis[u].URL}, Attach: attach})
			if before, twice := prints[g.Fingerprint()]; twice {
				t.Errorf("%d/%d has the fingerprint of %s", u, p, before)
			}
			prints[g.Fingerprint()] = fmt.Sprintf("%d/%d", u, p)
			clients[u][p] = g.Client(shared)
			wanted = append(wanted, fields...)
		}
	}
	said := callAll(t, m, &clients)
	for _, got := range marks(said) {
		t.Errorf("an error says a secret: %v", got)
	}
	for _, text := range m.strange[:min(len(m.strange), 10)] {
		t.Error(text)
	}
	for _, w := range wanted {
		if m.seen[w] == 0 {
			t.Errorf("%v was never seen in its place", w)
		}
	}
	if m.reused > 0 {
		t.Errorf("%d refresh tokens were used twice", m.reused)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 2*matrixPrincipals {
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil || strings.Contains(string(data), "c4n.") {
			t.Errorf("%s: %v", f.Name(), err)
		}
	}
}

// callAll makes all calls and returns what their errors say.
func callAll(t *testing.T, m *matrix, clients *[matrixUpstreams][matrixPrincipals]*http.Client) string {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var said strings.Builder
	for worker := range 24 {
		wg.Go(func() {
			for i := worker; i < matrixCalls; i += 24 {
				u, p := i%matrixUpstreams, i/matrixUpstreams%matrixPrincipals
				what := []string{"ok", "ok", "refused", "elsewhere", "broken"}[i/(matrixUpstreams*matrixPrincipals)%5]
				ctx, cancel := context.WithCancel(t.Context())
				if i%17 == 0 {
					cancel() // gives up before it begins
				}
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/p%d/%s", m.apis[u].URL, p, what), strings.NewReader(strings.Repeat("x", i%7)))
				if err != nil {
					t.Error(err)
				}
				resp, err := clients[u][p].Do(req)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
				_, outside := errors.AsType[*credentials.OriginError](err)
				if what == "elsewhere" && i%17 != 0 && !outside {
					t.Errorf("a redirect to another upstream: %v", err)
				}
				mu.Lock()
				fmt.Fprintf(&said, "%v %+v %#v\n", err, err, err)
				mu.Unlock()
				cancel()
			}
		})
	}
	wg.Wait()
	return said.String()
}

// The matrix finds what it is there to find.
func TestMatrixSees(t *testing.T) {
	m := &matrix{t: t, seen: map[mark]int{}}
	mine, other := mark{"u1", "p1", "fixed"}, mark{"u1", "p2", "fixed"}
	for name, c := range map[string]struct {
		field, value, body string
		strange            bool
	}{
		"own":             {"Authorization", "Bearer " + mine.make(), "", false},
		"own, basic":      {"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+mine.make())), "", false},
		"other":           {"Authorization", "Bearer " + other.make(), "", true},
		"other, basic":    {"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+other.make())), "", true},
		"another field":   {"X-Other", mine.make(), "", true},
		"body":            {"Accept", "x/y", "text " + mine.make(), true},
		"field and body":  {"Authorization", mine.make(), mine.make(), true},
		"another purpose": {"Authorization", "Bearer " + mark{"u1", "p1", "refresh"}.make(), "", true},
	} {
		m.strange = nil
		req := httptest.NewRequest(http.MethodPost, "/p1/ok", nil)
		req.Header.Set(c.field, c.value)
		m.arrived(req, c.body, "u1", "p1", map[string]func() string{"fixed": func() string { return req.Header.Get("Authorization") }})
		if (len(m.strange) > 0) != c.strange {
			t.Errorf("%s: %q", name, m.strange)
		}
	}
	if m.seen[mine] != 3 {
		t.Errorf("seen %d times", m.seen[mine])
	}
}
