package inbound_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
)

// instantService answers every call at once with the same bytes, so that what is
// measured is the edge.
type instantService struct{ result json.RawMessage }

func (s instantService) Handle(context.Context, *aggregate.Request) (json.RawMessage, error) {
	return s.result, nil
}
func (instantService) Instructions() string                   { return "" }
func (instantService) Extensions() map[string]json.RawMessage { return nil }
func (instantService) Subscribe(_ context.Context, s aggregate.Subscription) (aggregate.Subscription, func()) {
	return s, func() {}
}

func benchServer(b *testing.B, bytes int) *inbound.Server {
	result := json.RawMessage(`{"content":[{"type":"text","text":"` + strings.Repeat("x", bytes) + `"}]}`)
	s, err := inbound.New(func(string) (inbound.Service, bool) { return instantService{result}, true }, inbound.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

const benchArguments = `{"customer":"C-1042","filter":{"status":["open","late"],"since":"2026-01-01"},"limit":50}`

// BenchmarkStdioCall is one call over pipes of the system, with so many under
// way at once.
func BenchmarkStdioCall(b *testing.B) {
	for _, outstanding := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("outstanding=%d", outstanding), func(b *testing.B) { benchStdio(b, outstanding, 200) })
	}
	b.Run("1MB", func(b *testing.B) { benchStdio(b, 1, 1<<20) })
}

func benchStdio(b *testing.B, outstanding, size int) {
	b.ReportAllocs()
	inR, inW, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	s := benchServer(b, size)
	go func() { done <- s.ServeStdio(context.Background(), inR, outW) }()
	next := make(chan int, outstanding)
	for i := range min(outstanding, b.N) {
		next <- i
	}
	go func() {
		for i := range next {
			if _, err := io.WriteString(inW, call(strconv.Itoa(i), "echo", benchArguments)+"\n"); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	lines := bufio.NewReaderSize(outR, 64<<10)
	for i := range b.N {
		for {
			_, err := lines.ReadSlice('\n')
			if err == nil {
				break
			}
			if err != bufio.ErrBufferFull { //nolint:errorlint // bufio returns it as it is
				b.Fatal(err)
			}
		}
		if n := i + outstanding; n < b.N {
			next <- n
		}
	}
	close(next)
	inW.Close()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	for _, f := range []*os.File{inR, outR, outW} {
		f.Close()
	}
}

// BenchmarkHTTPCall is one call on a connection that stays open, of a client
// that costs next to nothing.
func BenchmarkHTTPCall(b *testing.B) {
	b.Run("legacy", func(b *testing.B) { benchHTTP(b, false, 200) })
	b.Run("legacy that can be asked", func(b *testing.B) { benchHTTP(b, false, 200, "elicitation") })
	b.Run("modern", func(b *testing.B) { benchHTTP(b, true, 200) })
	b.Run("modern 1MB", func(b *testing.B) { benchHTTP(b, true, 1<<20) })
}

func benchHTTP(b *testing.B, isModern bool, size int, capabilities ...string) {
	b.ReportAllocs()
	w := serve(b, benchServer(b, size))
	defer w.stop()
	body, headers := modernCall("1", "echo", benchArguments), modern("tools/call", "echo")
	if !isModern {
		body, headers = call("1", "echo", benchArguments), []string{w.join("2025-11-25", capabilities...), "Mcp-Protocol-Version: 2025-11-25"}
	}
	headers = append(headers, "Host: localhost", "Content-Type: application/json",
		"Accept: application/json, text/event-stream", "Content-Length: "+strconv.Itoa(len(body)))
	request := []byte("POST /mcp HTTP/1.1\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n" + body)
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if err := skipResponse(in); err != nil {
			b.Fatal(err)
		}
	}
}

func skipResponse(in *bufio.Reader) error {
	status, err := in.ReadSlice('\n')
	if err != nil || !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("%q, %w", status, err)
	}
	h, err := textproto.NewReader(in).ReadMIMEHeader()
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(h.Get("Content-Length"))
	if err != nil {
		return err
	}
	_, err = in.Discard(n)
	return err
}
