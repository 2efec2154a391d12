package inbound

import (
	"net/http"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const (
	beat       = 15 * time.Second // between signs of life on a stream
	streamWait = 30 * time.Second // for the client to take one notification
)

// comment is an event stream's sign of life.
const comment = ": alive\n\n"

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
	wait    time.Duration // for the client to take one event
	started bool
	err     error // why nothing can be written any more
}

func newEventStream(w http.ResponseWriter, wait time.Duration, end <-chan struct{}) *eventStream {
	return &eventStream{w: w, control: http.NewResponseController(w), ticker: time.NewTicker(beat), end: end, wait: wait}
}

func (e *eventStream) close() { e.ticker.Stop() }

func (e *eventStream) beats() <-chan time.Time { return e.ticker.C }
func (e *eventStream) ending() <-chan struct{} { return e.end }

func (e *eventStream) push(text pieces) error {
	return e.send([]byte(eventFraming.head), rawjson.OneLine(text[0]), rawjson.OneLine(text[1]), rawjson.OneLine(text[2]), []byte(eventFraming.tail))
}

// alive sends a comment, so that neither end nor anything between them takes
// the silence for a dead connection.
func (e *eventStream) alive() error { return e.send([]byte(comment)) }

// send writes the parts of one or more frames.
func (e *eventStream) send(frame ...[]byte) error {
	if e.err != nil {
		return e.err
	}
	_ = e.control.SetWriteDeadline(time.Now().Add(e.wait)) // not supported by test recorders only
	if !e.started {
		e.started = true
		startEvents(e.w.Header())
	}
	for _, part := range frame {
		if _, e.err = e.w.Write(part); e.err != nil { //nolint:gosec // G705: JSON in a stream of events is no page
			return e.err
		}
	}
	e.err = e.control.Flush()
	return e.err
}

func startEvents(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no") // proxies must not collect events
}
