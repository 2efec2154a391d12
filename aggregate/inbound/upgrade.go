package inbound

import (
	"net/http"
	"sync"
)

// upgrade makes the answer to a POST a stream once there is something to tell
// before it, and not earlier: until then it may become plain JSON.
type upgrade struct {
	w    http.ResponseWriter
	gone <-chan struct{} // closed when the client has left
	wake signal
	end  chan struct{} // closed by finish

	mu      sync.Mutex
	waiting []source
	done    chan struct{} // closed when the writer has ended; nil before there is something

	events *eventStream // the writer's, until done is closed
}

func newUpgrade(w http.ResponseWriter, r *http.Request) *upgrade {
	return &upgrade{w: w, gone: r.Context().Done(), wake: newSignal(), end: make(chan struct{})}
}

// ready and lost make u [notes].
func (u *upgrade) ready(s source) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waiting = append(u.waiting, s)
	u.wake.set()
	if u.done == nil {
		u.done = make(chan struct{})
		go u.write()
	}
}

func (u *upgrade) lost() <-chan struct{} { return u.gone }

// write is all that uses the response between the first message and finish.
func (u *upgrade) write() {
	defer close(u.done)
	u.events = newEventStream(u.w, writeWait, nil)
	defer u.events.close()
	for {
		select {
		case <-u.wake:
			u.tell()
		case <-u.events.beats():
			if u.events.started {
				_ = u.events.alive() // the stream remembers that it failed
			}
		case <-u.end:
			u.tell()
			return
		}
	}
}

func (u *upgrade) tell() {
	u.mu.Lock()
	waiting := u.waiting
	u.waiting = nil
	u.mu.Unlock()
	var frames [][]byte
	for _, s := range waiting {
		for _, text := range s.take() {
			frames = append(frames, []byte(eventFraming.head), text, []byte(eventFraming.tail))
		}
	}
	if frames != nil {
		_ = u.events.send(frames...) // the stream remembers that it failed
	}
}

// finish returns when everything is told: the stream that the answer has to
// go to, nil if it is to be plain. Nothing is added any more when it is
// called.
func (u *upgrade) finish() *eventStream {
	close(u.end)
	u.mu.Lock()
	done := u.done
	u.mu.Unlock()
	if done == nil {
		return nil
	}
	<-done
	if !u.events.started {
		return nil
	}
	return u.events
}
