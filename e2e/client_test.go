package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// client is a plain MCP client that shows the messages as they are.
type client struct {
	t      *testing.T
	modern bool
	next   atomic.Int64
	write  func(text string) error // over stdio only
	leave  func() error            // ends the session; over HTTP only
	send   func(ctx context.Context, id, method string, params map[string]any, text []byte) (answer, error)
}

// answer is one JSON-RPC message that the server sent.
type answer struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// result is what a tool has answered.
type result struct {
	Content []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	} `json:"content"`
	Structured json.RawMessage `json:"structuredContent"`
	IsError    bool            `json:"isError"`
	Meta       struct {
		Error struct {
			Code   string `json:"code"`
			Source string `json:"source"`
			Retry  int64  `json:"retryAfterMs"`
		} `json:"io.github.bulkhead-mcp/error"`
	} `json:"_meta"`
}

func (r result) text() string {
	var parts []string
	for _, c := range r.Content {
		parts = append(parts, c.Text)
	}
	return strings.Join(parts, "\n")
}

const modernVersion, legacyVersion = "2026-07-28", "2025-11-25"

// do sends a request and waits for its answer.
func (c *client) do(method string, params map[string]any) (answer, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	return c.doContext(ctx, method, params)
}

func (c *client) doContext(ctx context.Context, method string, params map[string]any) (answer, error) {
	if params == nil {
		params = map[string]any{}
	}
	if c.modern {
		params["_meta"] = map[string]any{
			"io.modelcontextprotocol/protocolVersion":    modernVersion,
			"io.modelcontextprotocol/clientInfo":         map[string]any{"name": "e2e", "version": "1"},
			"io.modelcontextprotocol/clientCapabilities": map[string]any{},
		}
	}
	id := fmt.Sprint(1000 + c.next.Add(1)) // below is for messages by hand
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": json.RawMessage(id), "method": method, "params": params})
	if err != nil {
		return answer{}, err
	}
	return c.send(ctx, id, method, params, text)
}

// must is do for what has to succeed.
func (c *client) must(method string, params map[string]any) json.RawMessage {
	c.t.Helper()
	a, err := c.do(method, params)
	if err != nil || a.Error != nil {
		c.t.Fatalf("%s: %v %+v", method, err, a.Error)
	}
	return a.Result
}

// notify sends a notification, over stdio.
func (c *client) notify(method string, params map[string]any) {
	c.t.Helper()
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "method": method, "params": params})
	if err == nil {
		err = c.write(string(text))
	}
	if err != nil {
		c.t.Error(err)
	}
}

// call calls a tool.
func (c *client) call(tool string, arguments any) (result, error) {
	if arguments == nil {
		arguments = struct{}{}
	}
	a, err := c.do("tools/call", map[string]any{"name": tool, "arguments": arguments})
	if err != nil {
		return result{}, err
	}
	if a.Error != nil {
		return result{}, fmt.Errorf("%s (%d)", a.Error.Message, a.Error.Code)
	}
	var r result
	return r, json.Unmarshal(a.Result, &r)
}

// mustCall is call for what has to give a result, be it a failure.
func (c *client) mustCall(tool string, arguments any) result {
	c.t.Helper()
	r, err := c.call(tool, arguments)
	if err != nil {
		c.t.Fatalf("%s: %v", tool, err)
	}
	return r
}

// tools returns the names in the catalog.
func (c *client) tools() []string {
	c.t.Helper()
	var page struct{ Tools []struct{ Name string } }
	if err := json.Unmarshal(c.must("tools/list", nil), &page); err != nil {
		c.t.Fatal(err)
	}
	var names []string
	for _, tool := range page.Tools {
		names = append(names, tool.Name)
	}
	return names
}

// source is what bulkhead_sources tells of one source.
type source struct {
	Name, State, Error, Protocol string
	Summary                      string
	SignIn                       struct {
		State, Until, Command string
		Unsaved               bool
	}
	Tools, Restarts int
	Stale           bool
	HeldBack        []struct{ Tool, Reason string }
	LastFailure     *struct{ Tool, Text string }
	Load            struct {
		Running, WritesWaiting int
		Quota                  *quota
		Classes                map[string]quota
		Circuit                struct{ State string }
		Tools                  map[string]struct{ State string }
	}
}

// quota is what is left of one.
type quota struct {
	Per         string
	Left, Burst float64
	FrozenMs    int
}

func (c *client) sources() []source {
	c.t.Helper()
	return c.told(nil)
}

// told returns what bulkhead_sources answers to some arguments.
func (c *client) told(arguments any) []source {
	c.t.Helper()
	r := c.mustCall("bulkhead_sources", arguments)
	var status struct{ Sources []source }
	if err := json.Unmarshal(r.Structured, &status); err != nil {
		c.t.Fatalf("bulkhead_sources: %v %s", err, r.text())
	}
	return status.Sources
}

func (c *client) source(name string) source {
	c.t.Helper()
	return c.told(map[string]string{"source": name})[0]
}

// ready waits until every source has listed its tools or is down: on a busy
// machine that may take longer than the first list waits.
func (c *client) ready() {
	c.t.Helper()
	if !eventually(func() bool {
		return !slices.ContainsFunc(c.sources(), func(s source) bool {
			return s.State != "down" && (s.State != "up" || s.Tools == 0 || s.Stale)
		})
	}) {
		c.t.Fatalf("not ready: %+v", c.sources())
	}
}

func (c *client) hello() *client {
	c.t.Helper()
	if !c.modern {
		c.must("initialize", map[string]any{"protocolVersion": legacyVersion, "capabilities": map[string]any{},
			"clientInfo": map[string]any{"name": "e2e", "version": "1"}})
	}
	return c
}

// stdio connects over the standard input and output of a running program, and
// fails the test if anything but messages comes out of it.
func (p *proc) stdio(modern bool) *client {
	p.t.Helper()
	var mu, writing sync.Mutex // for pending, and for the pipe
	pending := map[string]chan answer{}
	p.reader.Go(func() {
		in := bufio.NewReaderSize(p.out, 1<<20)
		for {
			line, err := in.ReadBytes('\n')
			var a answer
			if len(line) > 0 && json.Unmarshal(line, &a) != nil {
				p.t.Errorf("no message on standard output: %.200q", line)
			}
			mu.Lock()
			if ch := pending[string(a.ID)]; ch != nil {
				ch <- a
			} else if a.Error != nil || a.Method == "notifications/message" {
				p.stray <- a
			}
			delete(pending, string(a.ID))
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	c := &client{t: p.t, modern: modern}
	c.write = func(text string) error {
		writing.Lock()
		defer writing.Unlock()
		_, err := io.WriteString(p.in, text+"\n")
		return err
	}
	c.send = func(ctx context.Context, id, _ string, _ map[string]any, text []byte) (answer, error) {
		ch := make(chan answer, 1)
		mu.Lock()
		pending[id] = ch
		mu.Unlock()
		if err := c.write(string(text)); err != nil {
			return answer{}, err
		}
		select {
		case a := <-ch:
			return a, nil
		case <-p.exited:
			return answer{}, errors.New("the program has exited")
		case <-ctx.Done():
			return answer{}, fmt.Errorf("request %s: %w", id, ctx.Err())
		}
	}
	return c.hello()
}

// overHTTP connects to an endpoint.
func overHTTP(t *testing.T, url string, modern bool) *client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return joinHTTP(t, transport, url, modern).hello()
}

// joinHTTP is overHTTP on connections of the caller's, without shaking hands.
func joinHTTP(t *testing.T, transport http.RoundTripper, url string, modern bool) *client {
	hc := &http.Client{Transport: transport}
	var session atomic.Value
	session.Store("")
	c := &client{t: t, modern: modern}
	c.leave = func() error {
		req, err := http.NewRequest(http.MethodDelete, url, nil)
		if err != nil || session.Load() == "" {
			return err
		}
		req.Header.Set("Mcp-Session-Id", session.Load().(string))
		resp, err := hc.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	c.send = func(ctx context.Context, id, method string, params map[string]any, text []byte) (answer, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
		if err != nil {
			return answer{}, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		if modern {
			req.Header.Set("Mcp-Protocol-Version", modernVersion)
			req.Header.Set("Mcp-Method", method)
			if name, ok := params["name"].(string); ok {
				req.Header.Set("Mcp-Name", name)
			}
		} else if id := session.Load().(string); id != "" {
			req.Header.Set("Mcp-Session-Id", id)
			req.Header.Set("Mcp-Protocol-Version", legacyVersion)
		}
		resp, err := hc.Do(req)
		if err != nil {
			return answer{}, err
		}
		defer resp.Body.Close()
		if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
			session.Store(id)
		}
		return readAnswer(resp.Body, id)
	}
	return c
}

// readAnswer finds the answer to a request in a body: JSON, or a stream of
// server-sent events.
func readAnswer(body io.Reader, id string) (answer, error) {
	in := bufio.NewReaderSize(body, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		line = bytes.TrimPrefix(bytes.TrimSpace(line), []byte("data:"))
		var a answer
		if json.Unmarshal(line, &a) == nil && string(a.ID) == id {
			return a, nil
		}
		if err != nil {
			return answer{}, fmt.Errorf("no answer to request %s: %w", id, err)
		}
	}
}
