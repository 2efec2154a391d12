package inbound_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
)

// Everything that happens to a session at once: calls, cancellations, streams
// that come and go, changes, and its end. Each call is answered or was
// cancelled, and nothing is left.
func TestSessionsUnderFire(t *testing.T) {
	f := newFake()
	w := serve(t, newServer(t, f, inbound.Options{}))
	done := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				f.changed()
			}
		}
	})
	post := func(session, body string) int {
		a, err := w.do(context.Background(), http.MethodPost, "/mcp", body, session)
		if err != nil {
			t.Error(err)
		}
		return a.status
	}
	var firing sync.WaitGroup
	for range 3 {
		session := w.join("2025-11-25")
		for worker := range 4 {
			firing.Go(func() {
				for i := range 25 {
					id := fmt.Sprint(worker*1000 + i)
					var calling sync.WaitGroup
					calling.Go(func() {
						if s := post(session, call(id, "block", "{}")); s != 202 && s != 200 && s != 400 && s != 404 {
							t.Errorf("status %d", s)
						}
					})
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*time.Millisecond)
					_, _ = w.do(ctx, http.MethodGet, "/mcp", "", session, "Connection: close")
					cancel()
					ended := make(chan struct{})
					go func() { calling.Wait(); close(ended) }()
					for waiting := true; waiting; {
						post(session, cancelled(id))
						select {
						case <-ended:
							waiting = false
						case <-time.After(time.Millisecond):
						}
					}
				}
				if worker == 0 {
					_, _ = w.do(context.Background(), http.MethodDelete, "/mcp", "", session)
				}
			})
		}
	}
	firing.Wait()
	close(done)
	changing.Wait()
	eventually(t, "nothing is left", func() bool { return f.subscribers() == 0 && f.running() == 0 })
}
