package mcpserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

// oldLibrary is the library over HTTP+SSE. Subscriptions end with the stream.
type oldLibrary struct {
	*library
	mu     sync.Mutex
	n      int
	events chan string // of the present stream
	cut    chan struct{}
}

// end cuts the present stream off.
func (o *oldLibrary) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.cut)
}

func (o *oldLibrary) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		o.stream(w, r)
		return
	}
	o.mu.Lock()
	known, events := r.URL.Query().Get("s") == fmt.Sprint(o.n), o.events
	o.mu.Unlock()
	var m libMsg
	if !known || json.NewDecoder(r.Body).Decode(&m) != nil {
		http.Error(w, "no such session", http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	if a := o.answer(&m); a != "" {
		events <- a
	}
}

func (o *oldLibrary) stream(w http.ResponseWriter, r *http.Request) {
	events, cut := make(chan string, 10_000), make(chan struct{})
	o.mu.Lock()
	o.n++
	n := o.n
	o.events, o.cut = events, cut
	o.mu.Unlock()
	o.library.mu.Lock()
	clear(o.subs)
	o.shared = func(msg string) { events <- msg }
	o.library.mu.Unlock()
	sse(w)
	fmt.Fprintf(w, "event: endpoint\ndata: /messages?s=%d\n\n", n)
	for {
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-cut:
			return
		case msg := <-events:
			fmt.Fprintf(w, "event: message\ndata: %s\n\n", msg)
		}
	}
}

// sessions gives the library sessions over Streamable HTTP, to which its
// subscriptions belong.
type sessions struct {
	*library
	mu sync.Mutex
	n  int
}

// restart forgets the session, as a server does that is started again.
func (s *sessions) restart() {
	s.mu.Lock()
	s.n++
	s.mu.Unlock()
	s.library.mu.Lock()
	defer s.library.mu.Unlock()
	clear(s.subs)
}

func (s *sessions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	id := fmt.Sprint("session", s.n)
	s.mu.Unlock()
	switch r.Header.Get("Mcp-Session-Id") {
	case "", id:
		w.Header().Set("Mcp-Session-Id", id)
		s.library.ServeHTTP(w, r)
	default:
		http.Error(w, "no such session", http.StatusNotFound)
	}
}
