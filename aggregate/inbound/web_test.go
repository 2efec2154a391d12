package inbound_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
)

// web is a raw client over HTTP.
type web struct {
	t      testing.TB
	client *http.Client
	url    string // of the server, without a path
	stop   func() // ends the server; once
}

// serve starts a server, which ends with the test at the latest.
func serve(t testing.TB, s *inbound.Server) *web {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 300}
	w := &web{t: t, client: &http.Client{Transport: transport}, url: "http://" + ln.Addr().String()}
	w.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error("Serve:", err)
			}
		case <-time.After(patience):
			t.Error("Serve did not return")
		}
		transport.CloseIdleConnections()
	})
	t.Cleanup(w.stop)
	return w
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request; headers are "Name: value". A POST is JSON unless a
// header says otherwise.
func (w *web) do(ctx context.Context, method, path, body string, headers ...string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, w.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	resp, err := w.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

func (w *web) post(body string, headers ...string) answer {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := w.do(ctx, http.MethodPost, "/mcp", body, headers...)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *web) want(a answer, status int, parts ...string) {
	w.t.Helper()
	if a.status != status {
		w.t.Fatalf("status %d instead of %d: %s", a.status, status, a.body)
	}
	for _, p := range parts {
		if !strings.Contains(a.body, p) {
			w.t.Fatalf("no %s in %s", p, a.body)
		}
	}
}

// join does a legacy handshake of a client with the capabilities and returns
// the session header.
func (w *web) join(version string, capabilities ...string) string {
	w.t.Helper()
	var declared []string
	for _, c := range capabilities {
		declared = append(declared, `"`+c+`":{}`)
	}
	a := w.post(strings.Replace(initialize(version), `"capabilities":{}`, `"capabilities":{`+strings.Join(declared, ",")+`}`, 1))
	id := a.header.Get("Mcp-Session-Id")
	if a.status != http.StatusOK || id == "" || !strings.Contains(a.body, `"protocolVersion":"`+version+`"`) {
		w.t.Fatalf("initialize: %d %s", a.status, a.body)
	}
	session := "Mcp-Session-Id: " + id
	w.want(w.post(initialized, session), http.StatusAccepted)
	return session
}

// events opens a stream and returns its lines that are no comments and not
// empty.
func (w *web) events(method, path, body string, headers ...string) (next func() (string, bool), end func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream, application/json")
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("X-Accel-Buffering") != "no" {
		w.t.Fatalf("no stream: %d %v", resp.StatusCode, resp.Header)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		scan := bufio.NewScanner(resp.Body)
		for scan.Scan() {
			if data, ok := strings.CutPrefix(scan.Text(), "data: "); ok {
				lines <- data
			}
		}
	}()
	next = func() (string, bool) {
		w.t.Helper()
		select {
		case l, ok := <-lines:
			return l, ok
		case <-time.After(patience):
			w.t.Fatal("no event")
			return "", false
		}
	}
	end = func() { cancel(); resp.Body.Close() }
	w.t.Cleanup(end)
	return next, end
}

// modern returns the headers of a modern request.
func modern(method, name string) []string {
	h := []string{"Mcp-Protocol-Version: 2026-07-28", "Mcp-Method: " + method}
	if name != "" {
		h = append(h, "Mcp-Name: "+name)
	}
	return h
}
