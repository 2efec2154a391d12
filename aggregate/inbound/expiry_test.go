package inbound_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// dialogue sends one request over a connection of its own and returns the lines
// that come back; they are read whether anybody wants them or not.
func dialogue(ln *pipes, method, path, body string, headers ...string) (net.Conn, <-chan string) {
	conn := ln.dial()
	text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: text/event-stream, application/json\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n\r\n%s",
		method, path, len(body), strings.Join(headers, "\r\n"), body)
	go func() { _, _ = io.WriteString(conn, text) }()
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(conn); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	return conn, lines
}

// until returns the next line that has a part; "" if there is none.
func until(lines <-chan string, part string) string {
	for line := range lines {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

// timed runs f with a server whose clients' tokens are good for a minute from
// now, in a test's own time.
func timed(t *testing.T, test func(t *testing.T, f *fake, ln *pipes, u *users)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f, u := newFake(), &users{until: time.Now().Add(time.Minute)}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // what does not end is ended
		ln, done := newPipes(), make(chan error, 1)
		go func() { done <- newServer(t, f, inbound.Options{Auth: u.auth()}).Serve(ctx, ln) }()
		test(t, f, ln, u)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func ended(t *testing.T, lines <-chan string, began time.Time, after time.Duration) {
	t.Helper()
	for range lines { //nolint:revive // to the end
	}
	if took := time.Since(began); took != after {
		t.Errorf("the stream ended after %v", took)
	}
}

// A stream ends with the token that it was opened with, in good order.
func TestStreamsEndWithTheirToken(t *testing.T) {
	const listen = `{"notifications":{"toolsListChanged":true},"_meta":` + modernMeta + `}`
	timed(t, func(t *testing.T, _ *fake, ln *pipes, _ *users) {
		began := time.Now()
		conn, r := dialogue(ln, "POST", "/mcp", request("1", "subscriptions/listen", listen),
			append(modern("subscriptions/listen", ""), as("ann"))...)
		defer conn.Close()
		if got := until(r, "acknowledged"); got == "" {
			t.Fatal("no subscription")
		}
		if got := until(r, `"result"`); !strings.Contains(got, `"resultType":"complete"`) {
			t.Errorf("the end: %q", got)
		}
		ended(t, r, began, time.Minute)
	})
	timed(t, func(t *testing.T, _ *fake, ln *pipes, _ *users) {
		conn, r := dialogue(ln, "POST", "/mcp", initialize("2025-11-25"), as("ann"))
		defer conn.Close()
		session := until(r, "Mcp-Session-Id")
		began := time.Now()
		stream, events := dialogue(ln, "GET", "/mcp", "", session, as("ann"))
		defer stream.Close()
		ended(t, events, began, time.Minute)
	})
}

// A connection of the older transport outlives its token if its client goes on
// with a new one, and answers calls that are under way when it ends.
func TestEventConnEndsWithItsTokens(t *testing.T) {
	timed(t, func(t *testing.T, f *fake, ln *pipes, u *users) {
		began := time.Now()
		stream, events := dialogue(ln, "GET", "/sse", "", as("ann"))
		defer stream.Close()
		path := strings.TrimPrefix(until(events, "data: "), "data: ")
		time.Sleep(50 * time.Second)
		tell := func(text string, by string) {
			t.Helper()
			conn, r := dialogue(ln, "POST", path, text, as(by))
			defer conn.Close()
			if status := until(r, "HTTP/1.1"); !strings.Contains(status, "202") {
				t.Fatal(status)
			}
		}
		u.until = began.Add(2 * time.Minute)
		tell(ping("1"), "ann")
		if got := until(events, `"id":1`); got != "data: "+pong("1") {
			t.Fatal(got)
		}
		u.until = began.Add(90 * time.Second) // an older one takes nothing back
		tell(call("2", "block", "{}"), "ann")
		time.AfterFunc(time.Until(began.Add(2*time.Minute+3*time.Second)), func() { close(f.release) })
		if got := until(events, `"id":2`); !strings.Contains(got, `"result"`) {
			t.Fatal(got)
		}
		ended(t, events, began, 2*time.Minute+3*time.Second)
	})
}

// A call that does not finish in time after that is cancelled; who reads why is not to
// believe that Bulkhead has been stopped, which goes on.
func TestEventConnEndsWithItsTokenOnly(t *testing.T) {
	timed(t, func(t *testing.T, f *fake, ln *pipes, _ *users) {
		stream, events := dialogue(ln, "GET", "/sse", "", as("ann"))
		defer stream.Close()
		path := strings.TrimPrefix(until(events, "data: "), "data: ")
		conn, r := dialogue(ln, "POST", path, call("1", "block", "{}"), as("ann"))
		defer conn.Close()
		if status := until(r, "HTTP/1.1"); !strings.Contains(status, "202") {
			t.Fatal(status)
		}
		if why := <-f.ended; !errors.Is(why, context.Canceled) || errors.Is(why, upstream.ErrStopping) {
			t.Errorf("the call ended because of %v", why)
		}
	})
}
