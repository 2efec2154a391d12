package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "canary+of the/client"

// desk is a server whose MCP endpoint repeats what it has been sent.
func desk(origin string) *web.Server {
	return web.New(web.Options{
		Origin: origin, Secret: secret, Read: "t.read", Write: "t.write",
		Path: web.MCPPath, Writes: web.CallsThatWrite(func(tool string) bool { return tool == "create" }),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			_, _ = w.Write(body)
		}),
	})
}

// token signs in as a client does.
func token(t *testing.T, s http.Handler, scope string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(web.ClientID, url.QueryEscape(secret))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var out struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || out.Access == "" {
		t.Fatal(w.Code, w.Body)
	}
	return out.Access
}

func call(tool string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `"}}`
}

func TestWhatARequestNeeds(t *testing.T) {
	s := desk("http://127.0.0.1:1")
	reader, writer := token(t, s, "t.read"), token(t, s, "t.read t.write")
	const limit = 4 << 20
	for name, c := range map[string]struct {
		method, body string
		write        bool
	}{
		"a stream":              {http.MethodGet, "", false},
		"the end of a session":  {http.MethodDelete, "", false},
		"another method":        {http.MethodPost, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, false},
		"a read":                {http.MethodPost, call("find"), false},
		"a write":               {http.MethodPost, call("create"), true},
		"a write, escaped":      {http.MethodPost, `{"method":"tools\/call","params":{"name":"cr\u0065ate"}}`, true},
		"its members reversed":  {http.MethodPost, ` {"params":{"arguments":{"name":"find"},"name":"create"},"method":"tools/call"}`, true},
		"a name of an argument": {http.MethodPost, `{"method":"tools/call","params":{"name":"find","arguments":{"name":"create"}}}`, false},
		"named twice":           {http.MethodPost, `{"method":"tools/call","params":{"name":"find","name":"create"}}`, true},
		"a batch of reads":      {http.MethodPost, `[` + call("find") + `,` + call("find") + `]`, false},
		"a batch with a write":  {http.MethodPost, `[` + call("find") + `,` + call("create") + `]`, true},
		"an empty batch":        {http.MethodPost, `[]`, false},
		"no message":            {http.MethodPost, `7`, false},
		"no JSON":               {http.MethodPost, `{"method":`, true},
		"nothing":               {http.MethodPost, ``, true},
		"as long as it may be":  {http.MethodPost, call("find") + strings.Repeat(" ", limit-len(call("find"))), false},
		"longer":                {http.MethodPost, call("find") + strings.Repeat(" ", limit+1-len(call("find"))), true},
	} {
		send := func(token string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(c.method, "/mcp", strings.NewReader(c.body))
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			return w
		}
		want := http.StatusOK
		if c.write {
			want = http.StatusForbidden
		}
		w := send(reader)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", name, w.Code, want)
		}
		if c.write && !strings.Contains(w.Header().Get("WWW-Authenticate"), `scope="t.write"`) {
			t.Errorf("%s: %v", name, w.Header())
		}
		if w := send(writer); w.Code != http.StatusOK || w.Body.String() != c.body {
			t.Errorf("%s: %d, and %d of %d bytes reach the endpoint", name, w.Code, w.Body.Len(), len(c.body))
		}
		if w := send("made up"); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: a token that was never given: %d", name, w.Code)
		}
	}
	if s.Issued() != 2 {
		t.Error(s.Issued())
	}
}

func TestABodyThatBreaksOffIsBrokenBehind(t *testing.T) {
	s := desk("http://127.0.0.1:1")
	body := io.MultiReader(strings.NewReader(call("find")), iotest.ErrReader(errors.New("cut off")))
	r := httptest.NewRequest(http.MethodPost, "/mcp", body)
	r.Header.Set("Authorization", "Bearer "+token(t, s, "t.read t.write"))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "cut off") {
		t.Error(w.Code, w.Body)
	}
}

// TestServe holds that requests and streams end with the context, and that the
// port is free then.
func TestServe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := make(chan struct{})
	s := web.New(web.Options{
		Origin: "http://" + ln.Addr().String(), Secret: secret, Read: "t.read", Write: "t.write",
		Path: web.MCPPath, Writes: func(*http.Request) bool { return false },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			close(open)
			<-r.Context().Done()
		}),
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(token string) *http.Response {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ln.Addr().String()+web.MCPPath, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if resp := get("none"); resp.StatusCode != http.StatusUnauthorized {
		t.Error(resp.Status)
	}
	resp := get(token(t, s, "t.read"))
	<-open
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("an open stream keeps it from stopping")
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	again, err := net.Listen("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal("the port is still taken: ", err)
	}
	_ = again.Close()
}

func TestServeTellsWhyItCannot(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := desk("http://127.0.0.1:1").Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
