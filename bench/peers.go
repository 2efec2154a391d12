package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"
)

// catalogSize is how many tools the echo upstream lists.
const catalogSize = 5000

// serveEcho is the HTTP upstream: as little work as an MCP server can do.
// args[0] is its era.
func serveEcho(ctx context.Context, args []string) error {
	e := newEcho(args[0] == "modern")
	return listen(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		answer := e.answer(body)
		if answer == nil {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
}

// serveProxy is the floor: a plain reverse proxy that reads the body whole, as
// anything that looks at it must.
func serveProxy(ctx context.Context, args []string) error {
	to, err := url.Parse(args[0])
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 256},
	}
	return listen(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
}

// listen serves on a free loopback port and prints it.
func listen(ctx context.Context, h http.Handler) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, ln.Addr()); err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func serveEchoStdio(in io.Reader, out io.Writer) error {
	e := newEcho(true)
	r, w := bufio.NewReaderSize(in, 1<<16), bufio.NewWriterSize(out, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil
		}
		if answer := e.answer(line); answer != nil {
			_, _ = w.Write(append(answer, '\n'))
		}
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
}

// echo answers messages.
type echo struct {
	modern     bool
	list, long string
}

func newEcho(modern bool) *echo {
	tools := []string{
		`{"name":"echo","inputSchema":{"type":"object"}}`, `{"name":"long","inputSchema":{"type":"object"}}`,
	}
	for i := len(tools); i < catalogSize; i++ {
		tools = append(tools, fmt.Sprintf(`{"name":"tool_%04d","description":%q,"inputSchema":{"type":"object","properties":{"id":{"type":"string","description":%q}},"required":["id"]},"annotations":{"readOnlyHint":true}}`,
			i, strings.Repeat("what it does ", 12), strings.Repeat("which one ", 6)))
	}
	e := &echo{modern: modern, list: "[" + strings.Join(tools, ",") + "]"}
	var rows []string
	for size := 0; size < 1<<20; size += 100 {
		rows = append(rows, fmt.Sprintf("{\"id\": %d, \"name\": \"row\", \"note\": \"line\\n\"}", size))
	}
	text, _ := json.Marshal(strings.Join(rows, ","))
	e.long = string(text)
	return e
}

func (e *echo) answer(message []byte) []byte {
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
	tail := ""
	if e.modern {
		tail = `,"resultType":"complete"`
	}
	result := func(s string) []byte { return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, s) }
	switch {
	case m.Method == "server/discover" && e.modern:
		return result(`{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private","resultType":"complete"}`)
	case m.Method == "initialize":
		return result(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}`)
	case m.Method == "tools/list":
		return result(`{"tools":` + e.list + tail + `}`)
	case m.Method == "tools/call" && m.Params.Name == "long":
		return result(`{"content":[{"type":"text","text":` + e.long + `}]` + tail + `}`)
	case m.Method == "tools/call":
		return result(fmt.Sprintf(`{"content":[{"type":"text","text":%q}]%s}`, m.Params.Arguments.Text, tail))
	}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, m.ID)
}
