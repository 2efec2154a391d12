package inbound

import (
	"net/http"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	beat       = 15 * time.Second // between signs of life on a stream
	streamWait = 30 * time.Second // for the client to take one event
)

// stream is where messages go that answer nothing.
type stream interface {
	// push sends a message, which must not be changed any more.
	push(text pieces) error
	// beats says when to call alive; nil for never.
	beats() <-chan time.Time
	alive() error
	// ending is closed when the stream is to be ended in good order.
	ending() <-chan struct{}
}

// eventStream writes messages as server-sent events (WHATWG HTML, section 9.2).
// It is used by one goroutine. Nothing is written before the first message.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ticker  *time.Ticker
	end     <-chan struct{}
	started bool
}

func newEventStream(w http.ResponseWriter, end <-chan struct{}) *eventStream {
	return &eventStream{w: w, control: http.NewResponseController(w), ticker: time.NewTicker(beat), end: end}
}

func (e *eventStream) close() { e.ticker.Stop() }

func (e *eventStream) beats() <-chan time.Time { return e.ticker.C }
func (e *eventStream) ending() <-chan struct{} { return e.end }

func (e *eventStream) push(text pieces) error {
	frame := []byte("event: message\ndata: ")
	for _, p := range text {
		frame = append(frame, rawjson.OneLine(p)...)
	}
	return e.send(append(frame, "\n\n"...))
}

// alive sends a comment, so that neither end nor anything between them takes
// the silence for a dead connection.
func (e *eventStream) alive() error { return e.send([]byte(": alive\n\n")) }

func (e *eventStream) send(frame []byte) error {
	_ = e.control.SetWriteDeadline(time.Now().Add(streamWait)) // not supported by test recorders only
	if !e.started {
		e.started = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache, no-transform")
		h.Set("X-Accel-Buffering", "no") // proxies must not collect events
	}
	if _, err := e.w.Write(frame); err != nil {
		return err
	}
	return e.control.Flush()
}
