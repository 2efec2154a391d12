package mcpserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

// older is a hand-made server of the HTTP+SSE transport. Each hook may take over.
type older struct {
	gets    atomic.Int64
	posts   atomic.Int64 // to the address of the stream
	inits   atomic.Int64
	calls   atomic.Int64
	cancels atomic.Int64
	replies chan string // answers to requests of the server; may be nil
	talk    *talker     // may be nil
	// announce is the first thing on the stream; "" is the usual event.
	announce string
	onGet    func(w http.ResponseWriter, r *http.Request) bool
	onPost   func(w http.ResponseWriter, r *http.Request, m *fakeMsg) bool
	onCall   func(s *olderStream, m *fakeMsg) bool

	mu      sync.Mutex
	streams map[string]*olderStream
}

// olderStream is one session.
type olderStream struct {
	mu   sync.Mutex
	w    http.ResponseWriter
	quit chan struct{}
	once sync.Once
}

func (s *olderStream) raw(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprint(s.w, text)
	s.w.(http.Flusher).Flush()
}

func (s *olderStream) message(format string, args ...any) {
	s.raw("event: message\ndata: " + fmt.Sprintf(format, args...) + "\n\n")
}

func (s *olderStream) result(id json.RawMessage, result string) {
	s.message(`{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
}

// end cuts the stream off where it is.
func (s *olderStream) end() { s.once.Do(func() { close(s.quit) }) }

func (o *older) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodGet:
		n := o.gets.Add(1)
		if o.onGet == nil || !o.onGet(w, r) {
			o.stream(w, r, fmt.Sprint(n))
		}
	case r.Method != http.MethodPost || r.URL.Path != "/messages":
		o.posts.Add(1)
		w.WriteHeader(http.StatusMethodNotAllowed)
	default:
		o.message(w, r)
	}
}

func (o *older) stream(w http.ResponseWriter, r *http.Request, id string) {
	s := &olderStream{w: w, quit: make(chan struct{})}
	o.mu.Lock()
	if o.streams == nil {
		o.streams = map[string]*olderStream{}
	}
	o.streams[id] = s
	o.mu.Unlock()
	sse(w)
	if o.announce != "" {
		s.raw(o.announce)
	} else {
		s.raw(": hello\n\nevent: endpoint\ndata: messages?session=" + id + "\n\n")
	}
	select {
	case <-r.Context().Done():
	case <-s.quit:
	}
	o.forget(id)
	s.mu.Lock() // nobody writes after the handler has returned
	s.w = discard{}
	s.mu.Unlock()
}

func (o *older) forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.streams, id)
}

// endStream cuts a stream off.
func (o *older) endStream(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.streams[id].end()
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
func (discard) Flush()                      {}

func (o *older) message(w http.ResponseWriter, r *http.Request) {
	var m fakeMsg
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if o.onPost != nil && o.onPost(w, r, &m) {
		return
	}
	o.mu.Lock()
	s := o.streams[r.URL.Query().Get("session")]
	o.mu.Unlock()
	if s == nil {
		http.Error(w, "no such session", http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	if o.talk != nil {
		o.talk.take(&m)
	}
	switch m.Method {
	case "initialize":
		o.inits.Add(1)
		s.result(m.ID, `{"protocolVersion":"2024-11-05","capabilities":{"logging":{},"tools":{"listChanged":true}},"serverInfo":{"name":"older","version":"1"}}`)
	case "tools/list":
		s.result(m.ID, fakeTools)
	case "tools/call":
		o.calls.Add(1)
		if o.onCall == nil || !o.onCall(s, &m) {
			s.result(m.ID, textResult(m.Params.Arguments.Text))
		}
	case "ping", "logging/setLevel":
		s.result(m.ID, `{}`)
	case "notifications/cancelled":
		o.cancels.Add(1)
	case "":
		if o.replies != nil {
			o.replies <- string(m.ID)
		}
	default:
		if m.ID != nil {
			s.message(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"method not found"}}`, m.ID)
		}
	}
}

// olderStreams answers a call after its progress.
func olderStreams(s *olderStream, m *fakeMsg) bool {
	for i := range m.Params.Arguments.MS {
		s.message("%s", progressOf(m, i))
	}
	s.result(m.ID, textResult(string(m.Params.Meta.Token)))
	return true
}

func newSSE(t *testing.T, url string, o mcpserver.Options) *mcpserver.Adapter {
	t.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: 300}
	t.Cleanup(tr.CloseIdleConnections)
	return mcpserver.NewSSE(o, url, &http.Client{Transport: tr})
}

func startSSE(t *testing.T, o *older) *mcpserver.Adapter {
	t.Helper()
	a := newSSE(t, serve(t, o).URL+"/sse", quickly())
	watch(t, a)
	return a
}
