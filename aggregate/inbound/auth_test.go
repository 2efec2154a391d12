package inbound_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const publicURL = "https://mcp.example.com"

// users takes "Bearer NAME" for the user NAME, with some exceptions, and notes
// for which addresses it was asked.
type users struct {
	until time.Time

	mu        sync.Mutex
	resources []string
}

func (u *users) auth() *inbound.Auth {
	return &inbound.Auth{
		URL: publicURL, Servers: []string{"https://login.example.com"}, Scopes: []string{"mcp", "profile"},
		Authenticate: func(_ context.Context, r *http.Request, resources []string) (inbound.Caller, error) {
			u.mu.Lock()
			u.resources = resources
			u.mu.Unlock()
			switch name := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); name {
			case "":
				return inbound.Caller{}, &inbound.Refusal{Why: "a token is needed"}
			case "bad":
				return inbound.Caller{}, &inbound.Refusal{Code: inbound.InvalidToken, Why: `its "end" has come`}
			case "small":
				return inbound.Caller{}, &inbound.Refusal{Code: inbound.InsufficientScope, Why: "it lacks a scope"}
			case "two":
				return inbound.Caller{}, &inbound.Refusal{Code: inbound.InvalidRequest, Why: "two credentials"}
			case "down":
				return inbound.Caller{}, errors.New("no keys")
			case "nobody":
				return inbound.Caller{}, nil
			default:
				return inbound.Caller{Principal: upstream.NewPrincipal("https://login.example.com", name), Until: u.until}, nil
			}
		},
	}
}

func as(name string) string { return "Authorization: Bearer " + name }

// brief is for an answer that must not be a stream.
func brief(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience/4)
	t.Cleanup(cancel)
	return ctx
}

func TestChallenges(t *testing.T) {
	w := serve(t, newServer(t, newFake(), inbound.Options{Auth: (&users{}).auth()}))
	const scope = `scope="mcp profile"`
	metadata := func(path string) string {
		return `Bearer resource_metadata="` + publicURL + `/.well-known/oauth-protected-resource` + path + `", ` + scope
	}
	for _, c := range []struct {
		method, path, token string
		status              int
		challenge           string
	}{
		{"POST", "/mcp", "", 401, metadata("/mcp")},
		{"GET", "/mcp", "", 401, metadata("/mcp")},
		{"DELETE", "/mcp", "", 401, metadata("/mcp")},
		{"POST", "/u/crm/mcp", "", 401, metadata("/u/crm/mcp")},
		{"POST", "/u/none/mcp", "", 401, metadata("/u/none/mcp")}, // what there is remains unsaid
		{"GET", "/sse", "", 401, metadata("/sse")},
		{"POST", "/messages?session=x", "", 401, metadata("/sse")},
		{"POST", "/u/crm/messages", "", 401, metadata("/u/crm/sse")},
		{"POST", "/mcp?access_token=ann", "", 401, metadata("/mcp")},
		{"POST", "/mcp", "bad", 401, metadata("/mcp") + `, error="invalid_token", error_description="its \"end\" has come"`},
		{"POST", "/mcp", "small", 403, metadata("/mcp") + `, error="insufficient_scope", error_description="it lacks a scope"`},
		{"POST", "/mcp", "two", 400, metadata("/mcp") + `, error="invalid_request", error_description="two credentials"`},
		{"POST", "/mcp", "down", 503, ""},
		{"POST", "/mcp", "nobody", 403, ""},
		{"POST", "/u/none/mcp", "ann", 404, ""},
		{"POST", "/mcp", "ann", 200, ""},
	} {
		var headers []string
		if c.token != "" {
			headers = append(headers, as(c.token))
		}
		a, err := w.do(brief(t), c.method, c.path, initialize("2025-11-25"), headers...)
		if err != nil || a.status != c.status || a.header.Get("WWW-Authenticate") != c.challenge {
			t.Errorf("%s %s %s: %d %s %v", c.method, c.path, c.token, a.status, a.header.Get("WWW-Authenticate"), err)
		}
		if c.status >= 400 && !strings.HasPrefix(a.body, `{"jsonrpc":"2.0","id":null,"error":`) {
			t.Errorf("%s %s: %s", c.path, c.token, a.body)
		}
	}
}

// Where there is no place to sign in, clients are not sent anywhere.
func TestChallengeWithoutServers(t *testing.T) {
	auth := (&users{}).auth()
	auth.Servers, auth.Scopes = nil, nil
	w := serve(t, newServer(t, newFake(), inbound.Options{Auth: auth}))
	if a := w.post(initialize("2025-11-25")); a.status != 401 || a.header.Get("WWW-Authenticate") != `Bearer realm="bulkhead"` {
		t.Error(a)
	}
	if a, err := w.do(t.Context(), "GET", "/.well-known/oauth-protected-resource/mcp", ""); err != nil || a.status != 404 {
		t.Error(a, err)
	}
}

// RFC 9728, section 3.3: what the metadata are about is the address into which
// the well-known path was put.
func TestMetadata(t *testing.T) {
	w := serve(t, newServer(t, newFake(), inbound.Options{Auth: (&users{}).auth()}))
	for _, path := range []string{"", "/mcp", "/sse", "/u/crm/mcp", "/u/crm/sse", "/u/a%22b/mcp"} {
		a, err := w.do(t.Context(), "GET", "/.well-known/oauth-protected-resource"+path, "")
		var got map[string]any
		if err != nil || a.status != 200 || a.header.Get("Content-Type") != "application/json" || json.Unmarshal([]byte(a.body), &got) != nil {
			t.Fatal(path, a, err)
		}
		want := map[string]any{
			"resource": publicURL + path, "authorization_servers": []any{"https://login.example.com"},
			"scopes_supported": []any{"mcp", "profile"}, "bearer_methods_supported": []any{"header"}, "resource_name": "bulkhead",
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	for path, status := range map[string]int{"/messages": 404, "/u/crm": 404, "/u/crm/messages": 404, "/": 404} {
		if a, err := w.do(t.Context(), "GET", "/.well-known/oauth-protected-resource"+path, ""); err != nil || a.status != status {
			t.Errorf("%s: %d %v", path, a.status, err)
		}
	}
	if a, err := w.do(t.Context(), "POST", "/.well-known/oauth-protected-resource/mcp", ""); err != nil || a.status != 405 {
		t.Error(a, err)
	}
	if a, err := w.do(t.Context(), "GET", "/.well-known/oauth-protected-resource/mcp", "", "Host: evil.example"); err != nil || a.status != 403 {
		t.Error(a, err)
	}
}

// What is good for everything is good for a part, not the other way round.
func TestAudience(t *testing.T) {
	u := &users{}
	h := newServer(t, newFake(), inbound.Options{Auth: u.auth()}).Handler()
	all := []string{publicURL, publicURL + "/", publicURL + "/mcp", publicURL + "/sse"}
	part := []string{publicURL + "/u/crm/mcp", publicURL + "/u/crm/sse"}
	for path, want := range map[string][]string{"/mcp": all, "/sse": all, "/messages": all, "/u/crm/mcp": slices.Concat(all, part), "/u/crm/messages": slices.Concat(all, part)} {
		u.resources = nil
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "http://localhost"+path, nil))
		if !slices.Equal(u.resources, want) {
			t.Errorf("%s: %q", path, u.resources)
		}
	}
}

// Who is not on this machine is served if it can prove who it is, and local
// processes are nobody without.
func TestRemoteClients(t *testing.T) {
	f := newFake()
	h := newServer(t, f, inbound.Options{Auth: (&users{}).auth(), Hosts: []string{"mcp.example.com"}}).Handler()
	for _, c := range []struct {
		remote, token string
		status        int
	}{{"10.0.0.7:5", "ann", 200}, {"10.0.0.7:5", "", 401}, {"127.0.0.1:5", "", 401}, {"127.0.0.1:5", "bob", 200}} {
		r := httptest.NewRequest("POST", publicURL+"/mcp", strings.NewReader(modernCall("1", "echo", "{}")))
		for _, header := range modern("tools/call", "echo") {
			name, value, _ := strings.Cut(header, ": ")
			r.Header.Set(name, value)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+c.token)
		r.RemoteAddr = c.remote
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
		if want := upstream.NewPrincipal("https://login.example.com", c.token); c.status == 200 && f.request().Principal != want {
			t.Errorf("%+v: called by %v", c, f.request().Principal)
		}
	}
}

// A session's id is of no use to another principal, on any transport.
func TestSessionsAreTheirOwners(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{Auth: (&users{}).auth()}))
	a := w.post(initialize("2025-11-25"), as("ann"))
	session := "Mcp-Session-Id: " + a.header.Get("Mcp-Session-Id")
	own := w.post(ping("1"), session, as("ann"))
	w.want(own, 200, pong("1"))
	for _, c := range []struct{ method, body, accept string }{
		{"POST", ping("2"), "*/*"}, {"POST", initialized, "*/*"}, {"POST", cancelled("1"), "*/*"},
		{"POST", call("3", "echo", "{}"), "*/*"}, {"GET", "", "text/event-stream"}, {"DELETE", "", "*/*"},
	} {
		stolen, err1 := w.do(brief(t), c.method, "/mcp", c.body, session, as("bob"), "Accept: "+c.accept)
		unknown, err2 := w.do(brief(t), c.method, "/mcp", c.body, "Mcp-Session-Id: x", as("bob"), "Accept: "+c.accept)
		if err := errors.Join(err1, err2); err != nil || stolen.status != 404 || stolen.body != unknown.body {
			t.Errorf("%s %s: %d %s, %v", c.method, c.body, stolen.status, stolen.body, err)
		}
	}
	w.want(w.post(ping("4"), session, as("ann")), 200, pong("4")) // it was not ended

	next, _ := w.events("GET", "/sse", "", as("ann"))
	path, _ := next()
	if a, err := w.do(t.Context(), "POST", path, ping("5"), as("bob")); err != nil || a.status != 404 {
		t.Error(a, err)
	}
	if a, err := w.do(t.Context(), "POST", path, ping("6"), as("ann")); err != nil || a.status != 202 {
		t.Error(a, err)
	}
	if got, _ := next(); got != pong("6") {
		t.Error(got)
	}
	// Modern requests have no session: an id is ignored, and whoever calls is who it is.
	w.want(w.post(modernCall("7", "echo", "{}"), append(modern("tools/call", "echo"), session, as("bob"))...), 200)
	if got := f.request().Principal; got != upstream.NewPrincipal("https://login.example.com", "bob") {
		t.Error(got)
	}
}

// One principal's calls take no places of another's.
func TestPlacesOfAPrincipal(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{Auth: (&users{}).auth(), MaxInFlight: 2}))
	done := make(chan answer, 2)
	for range 2 {
		go func() {
			done <- w.post(modernCall("1", "block", "{}"), append(modern("tools/call", "block"), as("ann"))...)
		}()
	}
	f.awaitEntered(t, 2)
	echo := func(who string) answer {
		return w.post(modernCall("2", "echo", "{}"), append(modern("tools/call", "echo"), as(who))...)
	}
	w.want(echo("ann"), 200, "overloaded")
	if a := echo("bob"); strings.Contains(a.body, "overloaded") {
		t.Error(a)
	}
	close(f.release)
	for range 2 {
		w.want(<-done, 200, `"content":[]`)
	}
	if a := echo("ann"); strings.Contains(a.body, "overloaded") {
		t.Error(a)
	}
}
