package e2e_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

// freePort returns a loopback port that nobody listens on at the moment. It is one
// that the system gives to no connection or server of its own accord, so that a
// server can have it later, and come back to it.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 15_000 + rand.IntN(15_000)
		if ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			_ = ln.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// everythingOver starts the reference server on loopback, over sse or
// streamableHttp, and returns the port once it answers.
func everythingOver(t *testing.T, transport string) int {
	t.Helper()
	bin, err := npm()
	needed(t, err)
	port := freePort(t)
	log := &buffer{}
	cmd := exec.Command(filepath.Join(bin, "node"), "--require", filepath.Join(bin, "..", "..", "loopback.cjs"),
		filepath.Join(bin, "mcp-server-everything"), transport)
	cmd.Env = append(os.Environ(), "PORT="+strconv.Itoa(port))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	up := eventually(func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	if !up {
		t.Fatalf("the reference server does not listen: %s", log)
	}
	return port
}

// The reference server reached over all three transports tells of its progress
// through all three edges: every step once, in order, before the result, on the
// right call.
func TestProgressOverEveryTransport(t *testing.T) {
	t.Parallel()
	bin, err := npm()
	needed(t, err)
	config := upstreamTable("stdio", fmt.Sprintf("command = [%q, %q]", filepath.Join(bin, "node"), filepath.Join(bin, "mcp-server-everything"))) +
		upstreamTable("sse", fmt.Sprintf("url = 'http://127.0.0.1:%d/sse'", everythingOver(t, "sse"))) +
		upstreamTable("http", fmt.Sprintf("url = 'http://127.0.0.1:%d/mcp'", everythingOver(t, "streamableHttp")))
	for _, way := range []string{"stdio", "http", "sse"} {
		for _, era := range []string{"legacy", "modern"} {
			if way == "sse" && era == "modern" {
				continue // the older transport is of the older era
			}
			t.Run(way+" "+era, func(t *testing.T) {
				c := otherClient(t, "[server]\nlist_wait = '1m'\n"+config, way, era)
				if _, err := c.ListTools(t.Context(), mcp.ListToolsRequest{}); err != nil {
					t.Fatal(err)
				}
				var mu sync.Mutex
				steps := make(map[string][]float64)
				c.OnNotification(func(n mcp.JSONRPCNotification) {
					if n.Method != "notifications/progress" {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					token := fmt.Sprint(n.Params.AdditionalFields["progressToken"])
					step, _ := n.Params.AdditionalFields["progress"].(float64)
					steps[token] = append(steps[token], step)
				})
				var all sync.WaitGroup
				for _, source := range []string{"stdio", "sse", "http"} {
					for _, n := range []int{3, 5} {
						all.Go(func() {
							token := fmt.Sprintf("%s-%d", source, n)
							req := mcp.CallToolRequest{}
							req.Params.Name = source + "_trigger-long-running-operation"
							req.Params.Arguments = map[string]any{"duration": 0.5, "steps": n}
							req.Params.Meta = &mcp.Meta{ProgressToken: token}
							res, err := c.CallTool(t.Context(), req)
							if err == nil && (res.IsError || !strings.Contains(fmt.Sprint(res.Content), fmt.Sprintf("Steps: %d", n))) {
								err = errors.New(fmt.Sprint(res.Content))
							}
							if err != nil {
								t.Errorf("%s: %v", token, err)
							}
						})
					}
				}
				all.Wait()
				told := func() (n int) {
					mu.Lock()
					defer mu.Unlock()
					for _, of := range steps {
						n += len(of)
					}
					return n
				}
				eventually(func() bool { return told() >= 3*(3+5) }) // mcp-go hands notifications over on another goroutine
				time.Sleep(50 * time.Millisecond)                    // what is not to come
				mu.Lock()
				defer mu.Unlock()
				for _, source := range []string{"stdio", "sse", "http"} {
					for _, n := range []int{3, 5} {
						want := []float64{1, 2, 3, 4, 5}[:n]
						if got := steps[fmt.Sprintf("%s-%d", source, n)]; fmt.Sprint(got) != fmt.Sprint(want) {
							t.Errorf("%s, %d steps: told %v", source, n, got)
						}
					}
				}
			})
		}
	}
}
