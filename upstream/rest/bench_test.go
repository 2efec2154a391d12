//go:build unix

package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCall measures an action beside the same request by plain net/http,
// where the answer is only read, or the same fields are taken out of it by structs.
// The server is in this process.
func BenchmarkCall(b *testing.B) {
	for name, records := range map[string]int{"one": 1, "page": 25} {
		item := `{"id":1042,"subject":"Printer on fire","status":"open","requester":{"id":7,"name":"A","email":"a@example.com"},"description":"` + strings.Repeat("x", 200) + `","tags":["a","b"]}`
		body := `{"tickets":[` + strings.TrimSuffix(strings.Repeat(item+",", records), ",") + `],"meta":{"has_more":true,"after_cursor":"abc"}}`
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		}))
		defer s.Close()
		tr := &http.Transport{MaxIdleConnsPerHost: 10, DisableCompression: true}
		defer tr.CloseIdleConnections()
		hc := &http.Client{Transport: tr}
		measure := func(b *testing.B, once func() error) {
			if err := once(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			began := cpu(b)
			for b.Loop() {
				if err := once(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu(b)-began)/float64(b.N), "cpu-ns/op")
		}
		get := func(use func([]byte) error) func() error {
			return func() error {
				req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.URL+"/api/v2/tickets/1042?status=open&page%5Bsize%5D=25", nil)
				if err != nil {
					return err
				}
				req.Header.Set("Accept", "application/json")
				resp, err := hc.Do(req)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					return err
				}
				return use(body)
			}
		}
		b.Run(fmt.Sprint(name, "/nethttp"), func(b *testing.B) { measure(b, get(func([]byte) error { return nil })) })
		b.Run(fmt.Sprint(name, "/nethttp and encoding/json"), func(b *testing.B) {
			measure(b, get(func(body []byte) error {
				var page struct {
					Tickets []struct {
						ID              json.Number
						Subject, Status string
						Requester       struct{ Name string }
						Tags            []string
					}
				}
				if err := json.Unmarshal(body, &page); err != nil {
					return err
				}
				_, err := json.Marshal(page)
				return err
			}))
		})
		b.Run(fmt.Sprint(name, "/action"), func(b *testing.B) {
			d, err := rest.Parse([]byte(benchDefinition), "bench")
			if err != nil {
				b.Fatal(err)
			}
			a, err := rest.New(rest.Options{ID: "bench", Definition: d, BaseURL: s.URL}, hc)
			if err != nil {
				b.Fatal(err)
			}
			defer a.Close()
			c := &upstream.Call{ID: "c", Op: upstream.CallTool, Name: "list_tickets", Arguments: json.RawMessage(`{"id":1042,"status":"open"}`), Timing: &upstream.Timing{}}
			measure(b, func() error {
				_, err := a.Call(context.Background(), c)
				return err
			})
		})
	}
}

const benchDefinition = `
[paging.cursor]
kind = "cursor"
param = "page[after]"
next = "/meta/after_cursor"
more = "/meta/has_more"
size = "page[size]"
default = 25
most = 100
[action.list_tickets]
method = "GET"
path = "/api/v2/tickets/{id}"
records = "/tickets"
fields = ["id", "subject", "status", "requester.name", "tags"]
paging = "cursor"
params.id.type = "integer"
params.status.enum = ["open", "solved"]
`
