package mcpserver_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

// gets is a legacy server in memory that grants every subscription; its streams
// of notifications come out of the channel.
type gets chan *io.PipeWriter

func (g gets) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Mcp-Session-Id": {"s"}}, Request: r, Body: http.NoBody}
	switch r.Method {
	case http.MethodGet:
		out, in := io.Pipe()
		context.AfterFunc(r.Context(), func() { in.CloseWithError(r.Context().Err()) })
		resp.Header.Set("Content-Type", "text/event-stream")
		resp.Body = out
		g <- in
	case http.MethodPost:
		var m libMsg
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			return nil, err
		}
		result := `{}`
		if m.Method == "initialize" {
			result = `{"protocolVersion":"2025-06-18","capabilities":{"resources":{"subscribe":true,"listChanged":true}}}`
		}
		if resp.StatusCode = http.StatusAccepted; m.ID != nil {
			resp.StatusCode = http.StatusOK
			resp.Header.Set("Content-Type", "application/json")
			resp.Body = io.NopCloser(strings.NewReader(libResult(m.ID, result)))
		}
	}
	return resp, nil
}

// What a server has told while its stream was broken is lost, so everything is
// looked at again once there is another: soon, but not at each of many.
func TestBrokenStreamIsCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams := make(gets, 100)
		a := mcpserver.NewHTTP(mcpserver.Options{ID: "fake", Era: mcpserver.Legacy}, "http://localhost/mcp", &http.Client{Transport: streams})
		e := &ear{}
		done := make(chan error, 1)
		go func() { done <- a.Watch(t.Context(), upstream.Events{Changed: e.changed, Note: e.note}) }()
		if err := a.Subscribe(t.Context(), updated("lib://a")); err != nil {
			t.Fatal(err)
		}
		stream := <-streams
		synctest.Wait()
		const told = `updated {"uri":"lib://a"}`
		first := e.heard(told) // stream and subscription have no order
		// The first of several is caught up with at once, the others together.
		for _, c := range []struct{ breaks, want int }{{0, 0}, {1, 1}, {1, 2}, {4, 4}} {
			for range c.breaks {
				stream.Close()
				stream = <-streams
			}
			time.Sleep(time.Minute)
			if updates, changes := e.heard(told)-first, e.count(upstream.Resources); updates != c.want || changes != c.want {
				t.Errorf("%d breaks: told %d times as updated and %d times as changed, want %d", c.breaks, updates, changes, c.want)
			}
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
