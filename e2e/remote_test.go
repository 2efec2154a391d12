package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// remote is an MCP server over Streamable HTTP of the legacy era. It keeps what
// it was sent and can lose its sessions.
type remote struct {
	*httptest.Server
	mu       sync.Mutex
	sessions map[string]bool
	headers  []http.Header
	started  int
	executed int
	busy     int                    // calls that it asks to wait
	want     func(http.Header) bool // whom it answers; nil is everybody
	// onCall may answer a call in its place; nil for none.
	onCall func(http.ResponseWriter, *http.Request) bool
}

func newRemote(t *testing.T, want func(http.Header) bool) *remote {
	t.Helper()
	r := &remote{sessions: map[string]bool{}, want: want}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *remote) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.headers = append(r.headers, req.Header.Clone())
	if r.want != nil && !r.want(req.Header) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if req.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	var m fakeRequest
	if err := json.NewDecoder(req.Body).Decode(&m); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if m.Method == "initialize" {
		r.started++
		id := fmt.Sprintf("session-%d", r.started)
		r.sessions[id] = true
		w.Header().Set("Mcp-Session-Id", id)
		r.answer(w, m.ID, `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"remote","version":"1"}}`)
		return
	}
	if m.Method == "server/discover" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if !r.sessions[req.Header.Get("Mcp-Session-Id")] {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	switch m.Method {
	case "tools/list":
		r.answer(w, m.ID, `{"tools":[`+fakeTool("echo", `{"type":"object"}`)+`]}`)
	case "tools/call":
		if on := r.onCall; on != nil {
			r.mu.Unlock()
			answered := on(w, req)
			r.mu.Lock()
			if answered {
				return
			}
		}
		if r.busy > 0 {
			r.busy--
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		r.executed++
		text, _ := json.Marshal(m.Params.Arguments.Text) // a string always can
		r.answer(w, m.ID, `{"content":[{"type":"text","text":`+string(text)+`}]}`)
	case "ping":
		r.answer(w, m.ID, `{}`)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func (r *remote) answer(w http.ResponseWriter, id json.RawMessage, result string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result) // the client may be gone
}

func (r *remote) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.sessions)
}

func (r *remote) counts() (started, executed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started, r.executed
}

// An upstream that restarts and loses its sessions answers the next call as if
// nothing had been: a refused call was not executed and is sent again.
func TestLostSessions(t *testing.T) {
	t.Parallel()
	r := newRemote(t, nil)
	p := start(t, fakeUpstream(t, "good", "healthy")+upstreamTable("bad", "url = '"+r.URL+"/mcp'"), nil)
	c := p.stdio(false)
	c.ready()
	alive(t, c, "bad")
	open := handles(t, p.cmd.Process.Pid)
	before := median(t, c, 50)
	for range 3 {
		time.Sleep(1100 * time.Millisecond) // losing them more often than that is no restart
		r.forget()
		alive(t, c, "bad")
	}
	undisturbed(t, c, before, median(t, c, 50))
	if started, executed := r.counts(); started != 4 || executed != 4 {
		t.Errorf("%d sessions, %d calls executed", started, executed)
	}
	if s := c.source("bad"); s.State != "up" || s.Error != "" {
		t.Errorf("%+v", s)
	}
	now := 0
	if !eventually(func() bool { now = handles(t, p.cmd.Process.Pid); return now <= open+2 }) { // a connection more may be idle
		t.Errorf("%d handles are open, before it were %d", now, open)
	}
}

// One that is switched off costs its own calls, which say so.
func TestRemoteGone(t *testing.T) {
	t.Parallel()
	r := newRemote(t, nil)
	p := start(t, fakeUpstream(t, "good", "healthy")+upstreamTable("bad", "url = '"+r.URL+"/mcp'"), nil)
	c := p.stdio(false)
	c.ready()
	alive(t, c, "bad")
	r.Close()
	got := c.mustCall("bad_echo", nil)
	if !got.IsError || got.Meta.Error.Code != "unavailable" || !strings.HasPrefix(got.text(), "unavailable: bad: ") {
		t.Errorf("%+v", got)
	}
	alive(t, c, "good")
	if !slices.Contains(c.tools(), "bad_echo") {
		t.Error("its tools are gone from the list")
	}
	eventually(func() bool { return c.source("bad").State == "down" })
	if s := c.source("bad"); s.State != "down" || s.Error == "" || s.LastFailure == nil {
		t.Errorf("%+v", s)
	}
	if strings.Contains(got.text(), "127.0.0.1") {
		t.Errorf("the model is told an address: %s", got.text())
	}
}
