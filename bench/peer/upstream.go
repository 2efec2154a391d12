package peer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// upstream answers messages with as little work as an MCP server can do.
type upstream struct {
	modern bool
	list   []byte // the tools, as JSON
	texts  *texts
}

// texts are those of the large results, as JSON, made when first asked for.
type texts struct{ long, longer func() []byte }

func newTexts() *texts {
	return &texts{
		long:   sync.OnceValue(func() []byte { return text(1 << 20) }),
		longer: sync.OnceValue(func() []byte { return text(10 << 20) }),
	}
}

// sizes are the catalogs that the HTTP upstream offers.
func sizes() []int { return []int{4, 5000} }

func newUpstream(modern bool, tools int, t *texts) *upstream {
	return &upstream{modern: modern, list: catalog(tools), texts: t}
}

func catalog(size int) []byte {
	out := []byte("[")
	for _, name := range []string{Echo, Long, Longer, Late} {
		out = fmt.Appendf(out, `{"name":%q,"inputSchema":{"type":"object"}},`, name)
	}
	for i := 4; i < size; i++ {
		out = fmt.Appendf(out, `{"name":"tool_%04d","description":%q,"inputSchema":{"type":"object","properties":{"id":{"type":"string","description":%q}},"required":["id"]},"annotations":{"readOnlyHint":true}},`,
			i, strings.Repeat("what it does ", 12), strings.Repeat("which one ", 6))
	}
	out[len(out)-1] = ']'
	return out
}

// text returns a JSON string of rows of data, full of escapes as such results
// are, of at least the given length.
func text(size int) []byte {
	out := []byte{'"'}
	for len(out) < size {
		row := fmt.Sprintf("{\"id\": %d, \"name\": \"row\", \"note\": \"line\\n\", \"state\": \"open\", \"owner\": \"nobody in particular\"},", len(out))
		quoted, _ := json.Marshal(row) // a string always can be
		out = append(out, quoted[1:len(quoted)-1]...)
	}
	return append(out, '"')
}

// answer is a message in parts, so that nothing large is copied.
type answer struct {
	parts [3][]byte
	after time.Duration
}

func (a *answer) size() int { return len(a.parts[0]) + len(a.parts[1]) + len(a.parts[2]) }

// answer returns nil where there is nothing to answer.
func (u *upstream) answer(message []byte) *answer {
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct {
			Name      string
			Arguments struct{ Text string }
		}
	}
	if json.Unmarshal(message, &m) != nil || m.ID == nil {
		return nil
	}
	tail := "}}"
	if u.modern {
		tail = `,"ttlMs":0,"cacheScope":"private","resultType":"complete"}}`
	}
	around := func(before string, long []byte, after string) *answer {
		return &answer{parts: [3][]byte{fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{%s`, m.ID, before), long, []byte(after + tail)}}
	}
	result := func(text []byte) *answer { return around(`"content":[{"type":"text","text":`, text, "}]") }
	switch {
	case m.Method == "server/discover" && u.modern:
		return around(`"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}`, nil, "")
	case m.Method == "initialize":
		return around(`"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}`, nil, "")
	case m.Method == "tools/list":
		return around(`"tools":`, u.list, "")
	case m.Method == "tools/call" && m.Params.Name == Long:
		return result(u.texts.long())
	case m.Method == "tools/call" && m.Params.Name == Longer:
		return result(u.texts.longer())
	case m.Method == "tools/call" && m.Params.Name == Late:
		a := result([]byte(`"late"`))
		a.after = Slow
		return a
	case m.Method == "tools/call":
		return result(strconv.AppendQuote(nil, m.Params.Arguments.Text))
	}
	return &answer{parts: [3][]byte{fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, m.ID)}}
}

// upstreamHandler serves every era and catalog at a path of its own, calls that
// take what they say, and a token to whoever asks.
func upstreamHandler() http.Handler {
	mux, t := http.NewServeMux(), newTexts()
	for _, size := range sizes() {
		for _, era := range []string{"legacy", "modern"} {
			mux.Handle(fmt.Sprintf("POST /%s/%d/mcp", era, size), newUpstream(era == "modern", size, t))
		}
	}
	mux.Handle("POST /work/mcp", new(work))
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"`+strings.Repeat("t", 800)+`","token_type":"Bearer","expires_in":3600}`) // as long as a JWT
	})
	return mux
}

// ServeHTTP answers one message.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a := u.answer(body)
	if a == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if a.after > 0 {
		select {
		case <-time.After(a.after):
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(a.size()))
	for _, part := range a.parts {
		_, _ = w.Write(part) // whoever asked has gone
	}
}

// serveLines answers messages over pipes until in ends.
func serveLines(u *upstream, in io.Reader, out io.Writer) error {
	r := bufio.NewReaderSize(in, 64<<10)
	w := &lineWriter{w: bufio.NewWriterSize(out, 64<<10)}
	var late sync.WaitGroup
	defer late.Wait()
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil
		}
		a := u.answer(bytes.TrimSpace(line))
		if slow := a; slow != nil && slow.after > 0 {
			late.Add(1)
			time.AfterFunc(slow.after, func() {
				defer late.Done()
				_ = w.line(slow, true) // a reader that is gone ends in as well
			})
			a = nil
		}
		if err := w.line(a, r.Buffered() == 0); err != nil {
			return err
		}
	}
}

// lineWriter collects lines while more is to be answered.
type lineWriter struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func (l *lineWriter) line(a *answer, flush bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a != nil {
		for _, part := range a.parts {
			_, _ = l.w.Write(part) // an error stays until Flush returns it
		}
		_ = l.w.WriteByte('\n')
	}
	if flush {
		return l.w.Flush()
	}
	return nil
}
