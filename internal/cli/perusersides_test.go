package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// echo answers with the credential of each request, in the form of every kind.
func echo(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the client may be gone
		w.Header().Set("Content-Type", "application/json")
		who, _ := json.Marshal(r.Header.Get("Authorization")) // a string always marshals
		_, _ = fmt.Fprintf(w, `{"who":%s,"data":{"who":%s}}`, who, who)
	}))
	t.Cleanup(s.Close)
	return s
}

// shared returns upstreams of every kind that keeps no session, each with a tool
// called get.
func shared(t *testing.T, at string) map[string]config.Upstream {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	out := make(map[string]config.Upstream)
	for _, kind := range []string{"rest", "openapi", "graphql"} {
		u := personal("authorization_code", at)
		u.Kind = kind
		out[kind] = u
	}
	u := out["rest"]
	u.REST.Definition = config.File{Path: write("d.toml", "base_url = \"https://x.example.com\"\n[action.get]\nmethod = \"GET\"\npath = \"/x\"\n")}
	out["rest"] = u
	u = out["openapi"]
	u.OpenAPI.Document = config.File{Path: write("openapi.json", `{"openapi":"3.0.3","info":{"title":"x","version":"1"},"servers":[{"url":"`+at+`"}],"paths":{"/x":{"get":{"operationId":"get","responses":{"200":{"description":"it"}}}}}}`)}
	u.OpenAPI.Operations = []string{"*"}
	out["openapi"] = u
	u = out["graphql"]
	u.GraphQL.Documents = []config.File{{Path: write("q.graphql", "query get { who }")}}
	out["graphql"] = u
	return out
}

func TestEachUserHasAClient(t *testing.T) {
	for kind, u := range shared(t, echo(t).URL) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := &wiring{cfg: &config.Config{}, log: slog.New(slog.DiscardHandler), shelf: &tokenShelf{turn: make(chan struct{}, 1), store: &credentials.MemoryStore{}}}
			var operators atomic.Pointer[signIn]
			a, err := w.adapter(t.Context(), u, &operators)
			if err != nil {
				t.Fatal(err)
			}
			watching, stop := context.WithCancel(t.Context())
			changed := make(chan struct{}, 10)
			var running sync.WaitGroup
			running.Go(func() {
				_ = a.(upstream.Watcher).Watch(watching, upstream.Events{Changed: func(upstream.List) { changed <- struct{}{} }})
			})
			<-changed
			if tools, err := a.Tools(t.Context()); err != nil || len(tools) != 1 || tools[0].Name != "get" {
				t.Errorf("nobody is signed in: %v %v", tools, err)
			}
			call := func(who upstream.Principal) (string, *upstream.Error) {
				res, err := a.Call(t.Context(), get(who))
				if err != nil {
					return "", upstream.AsError("", "", err)
				}
				return string(res.Raw), nil
			}
			for _, who := range []upstream.Principal{upstream.NewPrincipal("https://login", "carol"), {}} {
				if got, err := call(who); err == nil || err.Sent || who.Valid() && err.Kind != upstream.NeedsLogin {
					t.Errorf("%v: %s %v", who, got, err)
				}
			}
			found, _ := w.users.find("crm")
			own := found.(*accounts)
			tokens := map[upstream.Principal]string{alice: "token-a", bob: "token-b", upstream.Local(): "token-o"}
			for who, token := range tokens {
				put(t, own, who, token)
			}
			var calls sync.WaitGroup
			for range 20 {
				for who, token := range tokens {
					calls.Go(func() {
						if got, err := call(who); err != nil || !strings.Contains(got, "Bearer "+token) {
							t.Errorf("%v: %s %v", who, got, err)
						}
					})
				}
			}
			calls.Wait()
			if _, err := own.Disconnect(t.Context(), bob); err != nil {
				t.Fatal(err)
			}
			if got, err := call(bob); err == nil || err.Kind != upstream.NeedsLogin || err.Sent {
				t.Errorf("disconnected: %s %v", got, err)
			}
			if got, err := call(alice); err != nil || !strings.Contains(got, "token-a") {
				t.Errorf("the other one: %s %v", got, err)
			}
			stop()
			running.Wait()
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			if got, err := call(alice); err == nil || err.Sent {
				t.Errorf("closed: %s %v", got, err)
			}
		})
	}
}

// Where a source is, is each user's own too; and of who has left there is nothing.
func TestWhereAUsersSourceIs(t *testing.T) {
	u := shared(t, echo(t).URL)["rest"]
	w := &wiring{cfg: &config.Config{}, log: slog.New(slog.DiscardHandler), shelf: &tokenShelf{turn: make(chan struct{}, 1), store: &credentials.MemoryStore{}}}
	h, err := eachUser(t.Context(), w, u)
	if err != nil {
		t.Fatal(err)
	}
	defer h.release()
	for _, who := range []upstream.Principal{alice, bob} {
		s, release, err := h.users.use(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		_, at := who.Parts()
		tok := credentials.Token{Access: credentials.NewSecret(at), Expiry: time.Now().Add(time.Hour), Values: map[string]string{"instance_url": at}}
		if err := h.users.store.Save(t.Context(), s.sets[0].tokens.ID(), tok); err != nil {
			t.Fatal(err)
		}
		release()
	}
	for _, who := range []upstream.Principal{alice, bob, alice} {
		c := get(who)
		leave, err := h.users.enter(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		_, want := who.Parts()
		if at, err := h.value(t.Context(), c, "instance_url"); err != nil || at != want {
			t.Errorf("%s is at %s: %v", want, at, err)
		}
		leave()
		if at, err := h.value(t.Context(), c, "instance_url"); err == nil || h.clientFor(c) != nobodysClient {
			t.Errorf("after the call %s is at %s", want, at)
		}
	}
	c := get(bob)
	leave, err := h.users.enter(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	h.users.sides.Drop(t.Context(), subjectOf(bob))
	for _, c := range []*upstream.Call{c, get(upstream.Local()), get(upstream.Principal{})} {
		if at, err := h.value(t.Context(), c, "instance_url"); err == nil || h.clientFor(c) != nobodysClient {
			t.Errorf("%v is at %s", c.Principal, at)
		}
	}
}

// Whoever connects another account while a call is under way: the call ends with
// the account that it began with, and the next begins with the other.
func TestACallKeepsItsAccount(t *testing.T) {
	at := echo(t).URL
	w := &wiring{cfg: &config.Config{}, log: slog.New(slog.DiscardHandler), shelf: &tokenShelf{turn: make(chan struct{}, 1), store: &credentials.MemoryStore{}}}
	h, err := eachUser(t.Context(), w, shared(t, at)["rest"])
	if err != nil {
		t.Fatal(err)
	}
	defer h.release()
	calls := map[string]*upstream.Call{}
	for _, token := range []string{"token-1", "token-2"} {
		h.users.held.Retire(t.Context(), subjectOf(alice))
		h.users.sides.Retire(t.Context(), subjectOf(alice))
		put(t, h.users.accounts, alice, token)
		c := get(alice)
		leave, err := h.users.enter(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
		calls[token] = c
		for token, c := range calls {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
			resp, err := h.clientFor(c).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if !strings.Contains(string(got), "Bearer "+token) {
				t.Errorf("%s, want %s", got, token)
			}
		}
	}
}
