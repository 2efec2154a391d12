package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// bad are messages that are refused, with the code of the answer. A session
// outlives each of them.
var bad = []struct {
	name, text string
	code       int
}{
	{"no JSON", `hello`, -32700},
	{"cut off", `{"jsonrpc":"2.0","id":1,"method":"ping"`, -32700},
	{"invalid UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", -32700},
	{"no message", `7`, -32600},
	{"no version", `{"id":1,"method":"ping"}`, -32600},
	{"deep", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fake_echo","arguments":` +
		strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}}`, -32600},
	{"duplicate member", `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}`, -32600},
	{"duplicate argument", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fake_echo","arguments":{"a":1,"a":2}}}`, -32600},
	{"variant of a member", `{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/list"}`, -32600},
	{"oversized", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fake_echo","arguments":{"text":"` +
		strings.Repeat("x", 40<<20) + `"}}}`, -32600},
}

func TestBadMessagesOverStdio(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "fake", "healthy"), nil)
	c := p.stdio(false)
	c.ready()
	for _, b := range bad {
		t.Run(b.name, func(t *testing.T) {
			// The answer has the id of the message, or none.
			a := p.answerTo(t, b.text)
			if a.Error == nil || a.Error.Code != b.code || a.Error.Message == "" {
				t.Errorf("%+v", a.Error)
			}
			alive(t, c, "fake")
		})
	}
}

// alive fails the test if a source does not answer.
func alive(t *testing.T, c *client, source string) {
	t.Helper()
	if r, err := c.call(source+"_echo", map[string]string{"text": "alive"}); err != nil || r.text() != "alive" {
		t.Errorf("%s: %v %+v", source, err, r)
	}
}

// revives fails the test if a source never answers: one whose timeout is so short that
// a busy machine may exceed it may have to be asked more than once.
func revives(t *testing.T, c *client, source string) {
	t.Helper()
	var r result
	var err error
	if !eventually(func() bool {
		r, err = c.call(source+"_echo", map[string]string{"text": "alive"})
		return err == nil && r.text() == "alive"
	}) {
		t.Errorf("%s: %v %+v", source, err, r)
	}
}

// answerTo writes a line and returns the next message that answers no request
// of a client.
func (p *proc) answerTo(t *testing.T, line string) answer {
	t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
	var a answer
	if !eventually(func() bool {
		select {
		case a = <-p.stray:
			return true
		default:
			return false
		}
	}) {
		t.Fatal("no answer")
	}
	return a
}

func TestBadMessagesOverHTTP(t *testing.T) {
	t.Parallel()
	_, url := serveHTTP(t, fakeUpstream(t, "fake", "healthy"))
	c := overHTTP(t, url, false)
	c.ready()
	for _, b := range bad {
		t.Run(b.name, func(t *testing.T) {
			status, body := post(t, url, b.text, nil)
			var a answer
			if err := json.Unmarshal(body, &a); err != nil || a.Error == nil || a.Error.Message == "" {
				t.Errorf("%v: %.300s", err, body)
			} else if a.Error.Code != b.code {
				t.Errorf("%+v", a.Error)
			}
			if status < 400 || status >= 500 {
				t.Errorf("status %d", status)
			}
			alive(t, c, "fake")
		})
	}
}

// post sends a body with header fields; "Host" is the request's host.
func post(t *testing.T, url, body string, header map[string]string) (status int, answer []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	if host := header["Host"]; host != "" {
		req.Host = host
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, bytes.TrimSpace(answer)
}

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
	`"capabilities":{},"clientInfo":{"name":"e2e","version":"1"}}}`

// A web page cannot reach the server through a browser, unless the
// configuration names where it comes from.
func TestHostAndOrigin(t *testing.T) {
	t.Parallel()
	config := "[server]\nhosts = ['mcp.example.com']\norigins = ['https://app.example.com']\n" + fakeUpstream(t, "fake", "healthy")
	_, url := serveHTTP(t, config)
	for _, c := range []struct {
		name, value string
		status      int
	}{
		{"Host", "evil.example", http.StatusForbidden},
		{"Host", "127.0.0.1.evil.example", http.StatusForbidden},
		{"Host", "localhost", http.StatusOK},
		{"Host", "mcp.example.com", http.StatusOK},
		{"Origin", "https://evil.example", http.StatusForbidden},
		{"Origin", "null", http.StatusForbidden},
		{"Origin", "http://localhost:3000", http.StatusOK},
		{"Origin", "https://app.example.com", http.StatusOK},
		{"Origin", "http://app.example.com", http.StatusForbidden},
		{"Content-Type", "text/plain", http.StatusUnsupportedMediaType},
	} {
		if status, body := post(t, url, initialize, map[string]string{c.name: c.value}); status != c.status {
			t.Errorf("%s: %s: status %d, want %d: %s", c.name, c.value, status, c.status, body)
		}
	}
}

// Each upstream is alone at a path of its own.
func TestOneUpstreamAlone(t *testing.T) {
	t.Parallel()
	_, url := serveHTTP(t, fakeUpstream(t, "one", "healthy")+fakeUpstream(t, "two", "healthy"))
	c := overHTTP(t, strings.Replace(url, "/mcp", "/u/two/mcp", 1), false)
	for _, name := range c.tools() {
		if strings.HasPrefix(name, "one_") {
			t.Errorf("%s is listed beside", name)
		}
	}
	if status, _ := post(t, strings.Replace(url, "/mcp", "/u/three/mcp", 1), initialize, nil); status != http.StatusNotFound {
		t.Errorf("status %d for an upstream that is none", status)
	}
}
