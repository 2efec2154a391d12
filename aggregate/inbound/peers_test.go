package inbound_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// peer is a legacy client that does not care what it talks over.
type peer interface {
	send(texts ...string)
	recv() string // whatever message comes next
}

// capable is an initialize request of a client with capabilities.
func capable(capabilities string) string {
	return strings.Replace(initialize("2025-11-25"), `"capabilities":{}`, `"capabilities":`+capabilities, 1)
}

// peers returns a client with the capabilities over each transport, all of one
// server.
func peers(t *testing.T, s *inbound.Server, capabilities string) map[string]peer {
	w := serve(t, s)
	all := map[string]peer{"stdio": dial(t, s), "sse": &eventPeer{w.connect("/sse")}, "http": newHTTPPeer(w)}
	for name, p := range all {
		p.send(capable(capabilities))
		if got := p.recv(); !strings.Contains(got, `"protocolVersion":"2025-11-25"`) {
			t.Fatal(name, got)
		}
	}
	return all
}

type eventPeer struct{ *eventClient }

func (p *eventPeer) send(texts ...string) { p.t.Helper(); p.ask(texts...) }

func (p *eventPeer) recv() string {
	p.t.Helper()
	got, _ := p.next()
	return got
}

// httpPeer posts each message on a connection of its own and collects what
// comes back, as events or as a body. A modern one cancels by leaving.
type httpPeer struct {
	*web
	got    chan string
	modern bool
	posts  atomic.Int64 // under way

	mu      sync.Mutex
	session string
	leave   map[string]func() // by the id of a modern request
}

func newHTTPPeer(w *web) *httpPeer {
	w.t.Cleanup(w.client.CloseIdleConnections)
	return &httpPeer{web: w, got: make(chan string, 100_000), leave: make(map[string]func())}
}

func (p *httpPeer) send(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		ctx, left := p.leaving(text)
		if left {
			continue
		}
		ended := make(chan struct{})
		p.posts.Add(1)
		go func() {
			defer close(ended)
			defer p.posts.Add(-1)
			p.post(ctx, text)
		}()
		if strings.Contains(text, `"initialize"`) || !strings.Contains(text, `"tools/call"`) {
			<-ended // what follows may need it
		}
	}
}

// leaving returns the context of a request. If text is a cancellation of a
// modern client it ends that of what it is about instead, and says so.
func (p *httpPeer) leaving(text string) (ctx context.Context, left bool) {
	ctx = context.Background()
	if !p.modern {
		return ctx, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if id, ok := rawjson.Get(params(text), "requestId"); ok {
		p.leave[string(id)]()
		return ctx, true
	}
	id, _ := rawjson.Get([]byte(text), "id")
	ctx, p.leave[string(id)] = context.WithCancel(ctx)
	return ctx, false
}

func (p *httpPeer) post(ctx context.Context, text string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/mcp", strings.NewReader(text))
	if err != nil {
		p.t.Error(err)
		return
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	p.mu.Lock()
	r.Header.Set("Mcp-Session-Id", p.session)
	p.mu.Unlock()
	if p.modern {
		for _, h := range modern("tools/call", "custom") {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
	}
	resp, err := p.client.Do(r)
	if err != nil {
		if ctx.Err() == nil {
			p.t.Error(err)
		}
		return
	}
	defer resp.Body.Close()
	if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
		p.mu.Lock()
		p.session = id
		p.mu.Unlock()
	}
	events := resp.Header.Get("Content-Type") == "text/event-stream"
	scan := bufio.NewScanner(resp.Body)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		if data, ok := strings.CutPrefix(scan.Text(), "data: "); ok {
			p.got <- data
		} else if !events {
			p.got <- scan.Text()
		}
	}
	if err := scan.Err(); err != nil && ctx.Err() == nil {
		p.t.Error(err)
	}
}

func (p *httpPeer) recv() string {
	p.t.Helper()
	select {
	case text := <-p.got:
		return text
	case <-time.After(patience):
		p.t.Fatal("no answer")
		return ""
	}
}
