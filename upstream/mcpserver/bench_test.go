//go:build unix

package mcpserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

// benchCalls measures echo calls with so many outstanding. cpu-ns/op is the CPU
// time of this process only: a child's is not in it, a server in this process is.
func benchCalls(b *testing.B, a *mcpserver.Adapter, outstanding int) {
	var watching sync.WaitGroup
	watching.Go(func() { _ = a.Watch(context.Background(), upstream.Events{}) })
	defer watching.Wait()
	defer a.Close()
	args := json.RawMessage(`{"text":"` + strings.Repeat("x", 200) + `"}`)
	c := &upstream.Call{
		Op: upstream.CallTool, Name: "echo", Tool: &upstream.Tool{Name: "echo"},
		Params: json.RawMessage(`{"name":"fake_echo","arguments":` + string(args) + `,"_meta":{"progressToken":1}}`), Arguments: args,
	}
	if _, err := a.Call(b.Context(), c); err != nil {
		b.Fatal(err)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	began := cpu(b)
	var calls sync.WaitGroup
	for range outstanding {
		calls.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := a.Call(b.Context(), c); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	calls.Wait()
	b.ReportMetric(float64(cpu(b)-began)/float64(b.N), "cpu-ns/op")
	b.StopTimer()
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkStdio(b *testing.B) {
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			benchCalls(b, mcpserver.NewStdio(quickly(), launcher("good"), exe), n)
		})
	}
}

func BenchmarkHTTP(b *testing.B) {
	for _, n := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := httptest.NewServer(&legacy{})
			defer s.Close()
			tr := &http.Transport{MaxIdleConnsPerHost: 2 * n}
			defer tr.CloseIdleConnections()
			benchCalls(b, mcpserver.NewHTTP(quickly(), s.URL, &http.Client{Transport: tr}), n)
		})
	}
}
