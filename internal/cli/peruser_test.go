package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

var (
	alice = upstream.NewPrincipal("https://login", "alice")
	bob   = upstream.NewPrincipal("https://login", "bob")
)

// personal is an upstream that users sign in to for themselves.
func personal(kind, at string) config.Upstream {
	return config.Upstream{Name: "crm", Kind: "mcp", URL: at, Auth: config.Auth{
		Type: kind, Per: "user", TokenURL: "http://127.0.0.1:9/token", AuthorizationURL: "http://127.0.0.1:9/authorize", ClientID: "me", ClientAuth: "none", Scopes: []string{"read"},
	}}
}

func newPerUser(t *testing.T, u config.Upstream, store credentials.Store) *perUser {
	t.Helper()
	w := &wiring{log: slog.New(slog.DiscardHandler), shelf: &tokenShelf{turn: make(chan struct{}, 1), store: store}}
	p, err := w.perUser(t.Context(), u, mcpserver.Options{ID: "crm", Log: w.log, Era: mcpserver.Legacy})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// put gives a user a token.
func put(t *testing.T, p *accounts, who upstream.Principal, token string) {
	t.Helper()
	s, release, err := p.use(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := p.store.Save(t.Context(), s.sets[0].tokens.ID(), credentials.Token{Access: credentials.NewSecret(token), Expiry: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
}

// userSource is an MCP server that keeps sessions, and whose each is.
type userSource struct {
	*httptest.Server
	mu       sync.Mutex
	sessions map[string]string
	crossed  []string
	lists    map[string]int
}

func newUserSource(t *testing.T) *userSource {
	t.Helper()
	s := &userSource{sessions: map[string]string{}, lists: map[string]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *userSource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m struct {
		ID     json.RawMessage
		Method string
	}
	_ = json.NewDecoder(r.Body).Decode(&m) // what is no message has no method
	who, session := r.Header.Get("Authorization"), r.Header.Get("Mcp-Session-Id")
	s.mu.Lock()
	defer s.mu.Unlock()
	if session != "" && s.sessions[session] != who {
		s.crossed = append(s.crossed, who)
	}
	result := ""
	switch m.Method {
	case "initialize":
		session = fmt.Sprint("s", len(s.sessions))
		s.sessions[session] = who
		w.Header().Set("Mcp-Session-Id", session)
		result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"resources":{},"prompts":{}},"serverInfo":{"name":"x","version":"1"}}`
	case "tools/list":
		s.lists[who]++
		result = `{"tools":[{"name":"get","inputSchema":{"type":"object"}}]}`
	case "resources/list":
		result = `{"resources":[{"uri":"crm://` + strings.TrimPrefix(who, "Bearer ") + `","name":"private"}]}`
	case "prompts/list":
		result = `{"prompts":[{"name":"ask"}]}`
	case "tools/call":
		result = `{"content":[{"type":"text","text":"` + strings.TrimPrefix(who, "Bearer ") + `"}]}`
	case "ping":
		result = `{}`
	default:
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result) // the client may be gone
}

func get(who upstream.Principal) *upstream.Call {
	return &upstream.Call{Principal: who, Op: upstream.CallTool, Upstream: "crm", Name: "get", Tool: &upstream.Tool{Name: "get"}, Exposed: "crm_get",
		Params: []byte(`{"name":"crm_get","arguments":{}}`), Timing: &upstream.Timing{}}
}

func TestEachUserHasAConnection(t *testing.T) {
	s := newUserSource(t)
	p := newPerUser(t, personal("authorization_code", s.URL), &credentials.MemoryStore{})
	watching, stop := context.WithCancel(t.Context())
	changed := make(chan upstream.List, 100)
	var w sync.WaitGroup
	w.Go(func() { _ = p.Watch(watching, upstream.Events{Changed: func(l upstream.List) { changed <- l }}) })
	defer w.Wait()
	defer stop()
	<-changed // nobody is there, which everybody may know at once
	if _, err := p.Tools(t.Context()); upstream.AsError("", "", err).Kind != upstream.NeedsLogin || p.Health().State != upstream.Connecting {
		t.Errorf("%v, %v", err, p.Health())
	}
	call := func(who upstream.Principal) (string, *upstream.Error) {
		res, err := p.Call(t.Context(), get(who))
		if err != nil {
			return "", upstream.AsError("", "", err)
		}
		return string(res.Raw), nil
	}
	for _, who := range []upstream.Principal{alice, upstream.Local(), {}} {
		if _, err := call(who); err == nil || err.Sent || who.Valid() && err.Kind != upstream.NeedsLogin || len(s.sessions) > 0 {
			t.Errorf("%v: %v", who, err)
		}
	}
	put(t, p.accounts, alice, "token-a")
	put(t, p.accounts, bob, "token-b")
	if err := p.Await(t.Context(), bob); err != nil { // what another process has stored
		t.Fatal(err)
	}
	p.Visit(bob)
	<-changed
	if tools, err := p.Tools(t.Context()); err != nil || len(tools) != 1 || s.lists["Bearer token-b"] == 0 {
		t.Errorf("%v %v %v", tools, err, s.lists)
	}
	if items, err := p.Items(t.Context(), upstream.Resources); err != nil || len(items) > 0 {
		t.Errorf("one user's resources are everybody's: %v %v", items, err)
	}
	if items, err := p.Items(t.Context(), upstream.Prompts); err != nil || len(items) != 1 {
		t.Errorf("%v %v", items, err)
	}
	if err := p.Await(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			for who, token := range map[upstream.Principal]string{alice: "token-a", bob: "token-b"} {
				if got, err := call(who); err != nil || !strings.Contains(got, `"`+token+`"`) {
					t.Errorf("%v: %s %v", who, got, err)
				}
			}
		})
	}
	calls.Wait()
	if n := p.links.Len(); n != 2 {
		t.Errorf("%d connections", n)
	}
	if _, err := p.Disconnect(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	if _, err := call(bob); err == nil || err.Kind != upstream.NeedsLogin {
		t.Errorf("disconnected: %v", err)
	}
	if got, err := call(alice); err != nil || !strings.Contains(got, "token-a") {
		t.Errorf("the other one: %s %v", got, err)
	}
	if st := p.SignIn(alice); st.State != aggregate.SignedIn || st.Command != "" {
		t.Errorf("%+v", st)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.crossed) > 0 {
		t.Errorf("a session was used by %v", s.crossed)
	}
}

// The operator's own login serves the local principal, and lists everything.
func TestTheOperatorsConnection(t *testing.T) {
	s := newUserSource(t)
	p := newPerUser(t, personal("authorization_code", s.URL), &credentials.MemoryStore{})
	put(t, p.accounts, upstream.Local(), "token-o")
	watching, stop := context.WithCancel(t.Context())
	changed := make(chan upstream.List, 100)
	var w sync.WaitGroup
	w.Go(func() { _ = p.Watch(watching, upstream.Events{Changed: func(l upstream.List) { changed <- l }}) })
	defer w.Wait()
	defer stop()
	for p.catalog.reading() == nil {
		<-changed
	}
	if items, err := p.Items(t.Context(), upstream.Resources); err != nil || len(items) != 1 {
		t.Errorf("%v %v", items, err)
	}
	if res, err := p.Call(t.Context(), get(upstream.Local())); err != nil || !strings.Contains(string(res.Raw), "token-o") {
		t.Errorf("%v", err)
	}
	if _, err := p.Call(t.Context(), get(alice)); upstream.AsError("", "", err).Kind != upstream.NeedsLogin {
		t.Errorf("a user is served with the operator's sign-in: %v", err)
	}
	if p.Page(upstream.Local()) != "" || p.SignIn(upstream.Local()).Command != "bulkhead login crm" {
		t.Errorf("%+v", p.SignIn(upstream.Local()))
	}
	stop()
	if p.links.Len() != 1 {
		t.Errorf("%d connections", p.links.Len())
	}
}

func TestWhichConnectionIsRead(t *testing.T) {
	c := &userCatalog{}
	var told []upstream.List
	var notes []string
	c.listen(upstream.Events{Changed: func(l upstream.List) { told = append(told, l) }, Note: func(m string, _ json.RawMessage) { notes = append(notes, m) }})
	first, second, operator := &userLink{}, &userLink{}, &userLink{operator: true}
	c.changed(first, "")
	c.changed(second, "")
	if c.changed(second, upstream.Tools) || !c.changed(first, upstream.Prompts) || c.reading() != first {
		t.Error("the second is read")
	}
	c.note(second, "notifications/x", nil)
	c.note(second, upstream.NoteElicited, nil)
	c.note(first, "notifications/y", nil)
	if fmt.Sprint(notes) != fmt.Sprint([]string{upstream.NoteElicited, "notifications/y"}) {
		t.Error(notes)
	}
	c.changed(operator, "")
	if c.reading() != operator {
		t.Error("the operator's is not read")
	}
	c.gone(operator)
	if c.reading() != first {
		t.Error("the oldest is not read")
	}
	c.gone(first)
	c.gone(second)
	if c.reading() != nil || len(told) != 5 {
		t.Errorf("%v %q", c.reading(), told)
	}
}

// What waits for a user to sign in goes on with it, or with what another process
// stores, and else ends with its context.
func TestAwaitingASignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPerUser(t, personal("authorization_code", "http://127.0.0.1:9/mcp"), &credentials.MemoryStore{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.Await(ctx, alice); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		began := time.Now()
		time.AfterFunc(time.Minute, func() { put(t, p.accounts, alice, "token") })
		if err := p.Await(t.Context(), alice); err != nil || time.Since(began) > time.Minute+2*lookForSignIn {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		_ = p.Close()
	})
}

// One user of an MCP server takes at most 4 KiB in memory, beside the token.
func TestSignInsAreSmall(t *testing.T) {
	p := newPerUser(t, personal("mcp", "http://127.0.0.1:9/mcp"), &credentials.MemoryStore{})
	used := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc) //nolint:gosec // far from that
	}
	const users, most = 5_000, 4 << 10
	before := used()
	for i := range users {
		_, release, err := p.use(t.Context(), upstream.NewPrincipal("https://login.example.com/realm", fmt.Sprintf("user-%08d", i)))
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	each := (used() - before) / users
	t.Logf("%d bytes each", each)
	if each > most-1024 {
		t.Errorf("%d bytes each", each)
	}
	runtime.KeepAlive(p)
}
