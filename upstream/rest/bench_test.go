//go:build unix

package rest_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// asServer makes this program the server of [BenchmarkCall], so that only the
// client's side counts.
const asServer = "BENCHMARK_SERVER"

// serveRecords answers /one and /page until its input ends, and says where.
func serveRecords() {
	item := `{"id":1042,"subject":"Printer on fire","status":"open","requester":{"id":7,"name":"A","email":"a@example.com"},"description":"` + strings.Repeat("x", 200) + `","tags":["a","b"]}`
	mux := http.NewServeMux()
	for path, records := range map[string]int{"/one/": 1, "/page/": 25} {
		body := `{"tickets":[` + strings.TrimSuffix(strings.Repeat(item+",", records), ",") + `],"meta":{"has_more":true,"after_cursor":"abc"}}`
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	go func() { _ = (&http.Server{Handler: mux}).Serve(l) }()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// records starts that server and returns where it is.
func records(b *testing.B) string {
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asServer+"=1")
	in, err := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err, err2, cmd.Start()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(line)
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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

// way is one way to ask for records.
type way struct {
	name string
	once func() error
}

// waysOf are an action and the same request by plain net/http: its answer only
// read; read and held to be JSON, which is the least that whoever hands it on must
// do; or the same fields taken out of it by structs and written again.
func waysOf(b *testing.B, base string) []way {
	tr := &http.Transport{MaxIdleConnsPerHost: 10, DisableCompression: true}
	b.Cleanup(tr.CloseIdleConnections)
	hc := &http.Client{Transport: tr}
	get := func(use func([]byte) error) func() error {
		return func() error {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, base+"/api/v2/tickets/1042?status=open&page%5Bsize%5D=25", nil)
			if err != nil {
				return err
			}
			req.Header.Set("Accept", "application/json")
			resp, err := hc.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close() //nolint:errcheck // only read from
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			return use(body)
		}
	}
	d, err := rest.Parse([]byte(benchDefinition), "bench")
	if err != nil {
		b.Fatal(err)
	}
	a, err := rest.New(rest.Options{ID: "bench", Definition: d, BaseURL: base}, hc)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = a.Close() })
	c := &upstream.Call{ID: "c", Op: upstream.CallTool, Name: "list_tickets", Arguments: json.RawMessage(`{"id":1042,"status":"open"}`), Timing: &upstream.Timing{}}
	return []way{
		{"read", get(func([]byte) error { return nil })},
		{"checked", get(func(body []byte) error {
			if !json.Valid(body) {
				return errors.New("no JSON")
			}
			return nil
		})},
		{"decoded", get(decode)},
		{"action", func() error {
			_, err := a.Call(b.Context(), c)
			return err
		}},
	}
}

func decode(body []byte) error {
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
}

// turn is how often one way is gone before the next has its turn: long enough for
// its garbage to be collected at its own cost.
const turn = 500

// BenchmarkCall asks for one record and for a page of 25 by each way in turn, and
// reports the median over the turns of what a request costs this process of processor
// time. The server is another. go run ./bench compares them.
func BenchmarkCall(b *testing.B) {
	base := records(b)
	for _, size := range []string{"one", "page"} {
		b.Run(size, func(b *testing.B) {
			ways := waysOf(b, base+"/"+size)
			used := make([][]time.Duration, len(ways))
			for _, w := range ways {
				if err := w.once(); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				for i, w := range ways {
					runtime.GC()
					began := cpu(b)
					for range turn {
						if err := w.once(); err != nil {
							b.Fatal(err)
						}
					}
					used[i] = append(used[i], cpu(b)-began)
				}
			}
			for i, w := range ways {
				slices.Sort(used[i])
				b.ReportMetric(float64(used[i][len(used[i])/2].Nanoseconds())/turn/1000, w.name+"-us")
			}
		})
	}
}
