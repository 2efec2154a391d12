package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// wire is an MCP client that hides nothing: what it is sent it keeps as bytes.
type wire struct {
	t       *testing.T
	modern  bool
	version string      // of the protocol
	caps    string      // the capabilities it declares, a JSON object
	level   string      // modern: logLevel of each request; "" for none
	params  http.Header // modern, over HTTP: fields that repeat arguments
	put     func(ctx context.Context, msg []byte, header http.Header) error
	// reply answers what the server asks: the members result or error, with
	// their names. nil refuses everything.
	reply func(method string, params []byte) string

	mu      sync.Mutex
	next    int
	heard   []heard
	waiting map[string]chan exchange
	session string
}

// heard is a message that answers nothing.
type heard struct {
	method string
	text   []byte
}

// exchange is what one request has led to.
type exchange struct {
	answer []byte  // the whole message
	before []heard // notifications and questions that came before it, whoever asked
}

func newWire(t *testing.T, modern bool, caps string) *wire {
	if caps == "" {
		caps = "{}"
	}
	version := legacyVersion
	if modern {
		version = modernVersion
	}
	return &wire{t: t, modern: modern, version: version, caps: caps, waiting: map[string]chan exchange{}}
}

// take sorts one message of the server.
func (w *wire) take(text []byte) {
	text = bytes.Clone(text)
	if err := rawjson.Check(text, rawjson.Limits{}); err != nil {
		w.t.Errorf("no message: %v: %.200q", err, text)
		return
	}
	if rawjson.Kind(text) == '[' {
		for element := range rawjson.Elements(text) {
			w.take(element)
		}
		return
	}
	id, hasID := rawjson.Get(text, "id")
	method, isCall := rawjson.GetString(text, "method")
	w.mu.Lock()
	defer w.mu.Unlock()
	if isCall {
		w.heard = append(w.heard, heard{method, text})
		if hasID {
			go w.respond(id, method, text)
		}
		return
	}
	if ch := w.waiting[string(id)]; ch != nil {
		delete(w.waiting, string(id))
		ch <- exchange{text, slices.Clone(w.heard)}
		return
	}
	w.t.Errorf("an answer to nothing: %.200s", text)
}

func (w *wire) respond(id []byte, method string, text []byte) {
	members := `"error":{"code":-32601,"message":"not supported"}`
	if w.reply != nil {
		params, _ := rawjson.Get(text, "params")
		members = w.reply(method, params)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.put(ctx, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,%s}`, id, members), nil); err != nil {
		w.t.Errorf("the answer to %s: %v", method, err)
	}
}

// meta returns the members of _meta of a modern request.
func (w *wire) meta() string {
	s := fmt.Sprintf(`"io.modelcontextprotocol/protocolVersion":%q,"io.modelcontextprotocol/clientInfo":{"name":"wire","version":"1"},`+
		`"io.modelcontextprotocol/clientCapabilities":%s`, modernVersion, w.caps)
	if w.level != "" {
		s += fmt.Sprintf(`,"io.modelcontextprotocol/logLevel":%q`, w.level)
	}
	return s
}

// ask sends a request with the given members of params, and of its _meta, and
// waits for the answer.
func (w *wire) ask(method, members, meta string) exchange {
	w.t.Helper()
	// The sending is not ended with the wait: over HTTP+SSE the answer may be
	// here before the response to the request is.
	w.forget()
	x, err := w.begin(w.t.Context(), method, members, meta).wait(w.t.Context())
	if err != nil {
		w.t.Fatalf("%s %.200s: %v", method, members, err)
	}
	return x
}

// flight is a request that is under way.
type flight struct {
	w      *wire
	id     string // JSON text
	answer chan exchange
	failed chan error
}

// begin sends a request beside others.
func (w *wire) begin(ctx context.Context, method, members, meta string) *flight {
	if w.modern {
		meta = strings.Trim(w.meta()+","+meta, ",")
	}
	if meta != "" {
		members = strings.Trim(members+`,"_meta":{`+meta+"}", ",")
	}
	params := []byte("{" + members + "}")
	w.mu.Lock()
	w.next++
	id := fmt.Sprintf("%q", fmt.Sprint("w-", w.next))
	w.mu.Unlock()
	f := w.expect(id)
	msg := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"method":%q,"params":%s}`, id, method, params)
	go func() {
		if err := w.put(ctx, msg, w.header(method, params)); err != nil {
			f.failed <- err
		}
	}()
	return f
}

// expect waits for the answer with an id from now on.
func (w *wire) expect(id string) *flight {
	f := &flight{w, id, make(chan exchange, 1), make(chan error, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting[id] = f.answer
	return f
}

// wait returns what the request has led to.
func (f *flight) wait(ctx context.Context) (exchange, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer func() {
		f.w.mu.Lock()
		defer f.w.mu.Unlock()
		delete(f.w.waiting, f.id)
	}()
	select {
	case x := <-f.answer:
		return x, nil
	case err := <-f.failed:
		return exchange{}, err
	case <-ctx.Done():
		return exchange{}, fmt.Errorf("no answer: %w", ctx.Err())
	}
}

// header returns the fields that repeat a modern request.
func (w *wire) header(method string, params []byte) http.Header {
	h := maps.Clone(w.params)
	if h == nil {
		h = http.Header{}
	}
	if !w.modern {
		return h
	}
	h.Set("Mcp-Protocol-Version", modernVersion)
	h.Set("Mcp-Method", method)
	member := map[string]string{"tools/call": "name", "prompts/get": "name", "resources/read": "uri",
		"tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId"}[method]
	if name, ok := rawjson.GetString(params, member); ok && member != "" {
		h.Set("Mcp-Name", name)
	}
	return h
}

// hello shakes hands where the era has that, and returns the answer.
func (w *wire) hello() exchange {
	w.t.Helper()
	if w.modern {
		return w.ask("server/discover", "", "")
	}
	x := w.ask("initialize", fmt.Sprintf(`"protocolVersion":%q,"capabilities":%s,"clientInfo":{"name":"wire","version":"1"}`, w.version, w.caps), "")
	if err := w.put(w.t.Context(), []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), nil); err != nil {
		w.t.Fatal(err)
	}
	return x
}

// told waits for a notification that belongs to no request, and returns it.
func (w *wire) told(method string) []byte {
	w.t.Helper()
	if !eventually(func() bool { return len(w.all(method)) > 0 }) {
		w.t.Errorf("no %s came", method)
		return nil
	}
	return w.all(method)[0]
}

// forget has what was heard so far not count any more; so does ask.
func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = nil
}

// all returns the messages of a method that have come since.
func (w *wire) all(method string) (texts [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.heard {
		if h.method == method {
			texts = append(texts, h.text)
		}
	}
	return texts
}

// wireStdio connects to a program over its standard input and output.
func (p *proc) wire(modern bool, caps string) *wire {
	w := newWire(p.t, modern, caps)
	p.reader.Go(func() {
		in := bufio.NewReaderSize(p.out, 1<<20)
		for {
			line, err := in.ReadBytes('\n')
			if len(bytes.TrimSpace(line)) > 0 {
				w.take(bytes.TrimRight(line, "\n"))
			}
			if err != nil {
				return
			}
		}
	})
	var writing sync.Mutex
	w.put = func(_ context.Context, msg []byte, _ http.Header) error {
		writing.Lock()
		defer writing.Unlock()
		_, err := p.in.Write(append(msg, '\n'))
		return err
	}
	return w
}

// wireHTTP connects to a Streamable HTTP endpoint.
func wireHTTP(t *testing.T, endpoint string, modern bool, caps string) *wire {
	w := newWire(t, modern, caps)
	transport := &http.Transport{}
	hc := &http.Client{Transport: transport}
	var streams sync.WaitGroup
	t.Cleanup(func() {
		streams.Wait()
		transport.CloseIdleConnections()
	})
	w.put = func(ctx context.Context, msg []byte, header http.Header) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(msg))
		if err != nil {
			return err
		}
		maps.Copy(req.Header, header)
		w.mu.Lock()
		if w.session != "" {
			req.Header.Set("Mcp-Session-Id", w.session)
			req.Header.Set("Mcp-Protocol-Version", w.version)
		}
		w.mu.Unlock()
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		resp, err := hc.Do(req)
		if err != nil {
			return err
		}
		if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
			w.mu.Lock()
			w.session = id
			w.mu.Unlock()
		}
		streams.Go(func() {
			defer resp.Body.Close()
			w.read(resp)
		})
		return nil
	}
	return w
}

// read takes everything in a response.
func (w *wire) read(resp *http.Response) {
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		_ = events(resp.Body, func(_ string, data []byte) { w.take(data) })
		return
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil && resp.Request.Context().Err() == nil {
		w.t.Error(err)
	}
	if len(bytes.TrimSpace(body)) > 0 {
		w.take(body)
	}
}

// listen opens the stream of a legacy session over Streamable HTTP, until the
// test ends.
func (w *wire) listen(endpoint string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Mcp-Session-Id", w.session)
	req.Header.Set("Mcp-Protocol-Version", w.version)
	transport := &http.Transport{}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		cancel()
		w.t.Fatalf("%v %v", err, resp)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer resp.Body.Close()
		_ = events(resp.Body, func(_ string, data []byte) { w.take(data) })
	}()
	w.t.Cleanup(func() {
		cancel()
		<-done
		transport.CloseIdleConnections()
	})
}

// wireSSE connects to an endpoint of HTTP+SSE.
func wireSSE(t *testing.T, endpoint, caps string) *wire {
	t.Helper()
	w := newWire(t, false, caps)
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	transport := &http.Transport{}
	hc := &http.Client{Transport: transport}
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	base, _ := url.Parse(endpoint)
	target := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer resp.Body.Close()
		_ = events(resp.Body, func(name string, data []byte) {
			if name == "endpoint" {
				u, _ := base.Parse(string(data))
				target <- u.String()
				return
			}
			w.take(data)
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		transport.CloseIdleConnections()
	})
	var to string
	select {
	case to = <-target:
	case <-time.After(patience):
		t.Fatal("the stream does not say where to send messages")
	}
	w.put = func(ctx context.Context, msg []byte, _ http.Header) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(msg))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := hc.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode >= http.StatusBadRequest && rawjson.Kind(body) == '{' {
			w.take(body) // what cannot be taken is refused here and not on the stream
		}
		return err
	}
	return w
}

// events reads server-sent events to the end of the stream (WHATWG HTML,
// section 9.2).
func events(r io.Reader, take func(name string, data []byte)) error {
	in := bufio.NewReaderSize(r, 1<<20)
	name, data, any := "", []byte(nil), false
	for {
		line, err := in.ReadBytes('\n')
		text := bytes.TrimRight(line, "\r\n")
		field, value, _ := bytes.Cut(text, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) > 0 && len(text) == 0:
			if any && len(data) > 0 {
				take(name, data)
			}
			name, data, any = "", nil, false
		case string(field) == "event":
			name = string(value)
		case string(field) == "data":
			if any {
				data = append(data, '\n')
			}
			data, any = append(data, value...), true
		}
		if err != nil {
			return err
		}
	}
}
