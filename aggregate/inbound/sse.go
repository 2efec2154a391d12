package inbound

import (
	"net/http"
	"slices"
	"time"
)

const (
	beat       = 15 * time.Second // between signs of life on a stream
	streamWait = 30 * time.Second // for the client to take one event
)

// sink is where a stream of messages goes.
type sink interface {
	// push sends a message, which becomes the sink's own.
	push(text []byte) error
	// beats says when to call alive; nil for never.
	beats() <-chan time.Time
	alive() error
}

// eventStream writes messages as server-sent events (WHATWG HTML, section 9.2).
// It is used by one goroutine. Nothing is written before the first message or
// start.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ticker  *time.Ticker
	started bool
}

func newEventStream(w http.ResponseWriter) *eventStream {
	return &eventStream{w: w, control: http.NewResponseController(w), ticker: time.NewTicker(beat)}
}

func (e *eventStream) close() { e.ticker.Stop() }

func (e *eventStream) beats() <-chan time.Time { return e.ticker.C }

// start sends the headers.
func (e *eventStream) start() error {
	if e.started {
		return nil
	}
	e.started = true
	h := e.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no") // proxies must not collect events
	e.w.WriteHeader(http.StatusOK)
	return e.control.Flush()
}

func (e *eventStream) push(text []byte) error {
	return e.send(slices.Concat([]byte("event: message\ndata: "), oneLine(text), []byte("\n\n")))
}

// alive sends a comment, so that neither end nor anything between them takes
// the silence for a dead connection.
func (e *eventStream) alive() error { return e.send([]byte(": alive\n\n")) }

func (e *eventStream) send(frame []byte) error {
	if err := e.start(); err != nil {
		return err
	}
	_ = e.control.SetWriteDeadline(time.Now().Add(streamWait)) // not supported by test recorders only
	if _, err := e.w.Write(frame); err != nil {
		return err
	}
	return e.control.Flush()
}

// get serves the notification stream of a legacy session.
func (s *Server) get(x *exchange) {
	if !accepts(x.r, "text/event-stream") {
		refuse(x.w, http.StatusNotAcceptable, "the Accept header must allow text/event-stream")
		return
	}
	h := s.legacySession(x, nil)
	if h == nil {
		return
	}
	changed := newSignal()
	if !h.attach(changed) {
		refuse(x.w, http.StatusConflict, "the session has too many streams open")
		return
	}
	defer h.detach(changed)
	events := newEventStream(x.w)
	defer events.close()
	err := events.alive() // clients wait for the first byte
	for err == nil {
		select {
		case <-changed:
			if err = events.push(legacyListChanged()); err != nil {
				changed.set() // for the next stream
			}
		case <-events.beats():
			err = events.alive()
		case <-h.ended:
			return
		case <-s.closing:
			return
		case <-x.r.Context().Done():
			return
		}
	}
}
