package peer_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/bench/peer"
)

// The tests' own program is the child of the multiplexer.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "as-stdio" {
		if err := peer.Run(context.Background(), []string{"stdio"}, os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// serving runs a role over HTTP until the test ends and returns its address.
func serving(t *testing.T, role ...string) string {
	t.Helper()
	in, stop := io.Pipe()
	out, says := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- peer.Run(t.Context(), role, in, says) }()
	t.Cleanup(func() {
		stop.Close()
		if err := <-done; err != nil {
			t.Errorf("%v: %v", role, err)
		}
	})
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		lines <- line
	}()
	select {
	case line := <-lines:
		return "http://" + strings.TrimSpace(line)
	case err := <-done:
		done <- nil
		t.Fatalf("%v: %v", role, err)
	}
	return ""
}

func post(t *testing.T, url, session, body string) (status int, answer []byte, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if session != "" {
		req.Header.Set("Mcp-Session-Id", session)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer, resp.Header
}

const (
	echo  = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}`
	long  = `{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"long","arguments":{}}}`
	list  = `{"jsonrpc":"2.0","id":9,"method":"tools/list"}`
	hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
)

func TestUpstreamProxyAndRelay(t *testing.T) {
	upstream := serving(t, "http")
	proxy := serving(t, "proxy", upstream)
	for _, era := range []string{"legacy", "modern"} {
		relay := serving(t, "relay", era, upstream+"/"+era+"/4/mcp")
		for name, url := range map[string]string{
			"upstream": upstream + "/" + era + "/4/mcp", "proxy": proxy + "/" + era + "/4/mcp", "relay": relay + "/mcp",
		} {
			t.Run(era+" "+name, func(t *testing.T) { converse(t, url) })
		}
	}
}

func converse(t *testing.T, url string) {
	status, answer, header := post(t, url, "", hello)
	if status != http.StatusOK || !json.Valid(answer) {
		t.Errorf("initialize: HTTP %d: %s", status, answer)
	}
	session := header.Get("Mcp-Session-Id")
	_, answer, _ = post(t, url, session, echo)
	if !json.Valid(answer) || !bytes.Contains(answer, []byte(`"text":"hello"`)) || !bytes.Contains(answer, []byte(`"id":7`)) {
		t.Errorf("echo: %s", answer)
	}
	if _, answer, _ := post(t, url, session, long); !json.Valid(answer) || len(answer) < 1<<20 {
		t.Errorf("long: %d bytes: %.200s", len(answer), answer)
	}
	if _, answer, _ := post(t, url, session, list); !json.Valid(answer) || bytes.Count(answer, []byte(`"name"`)) != 4 {
		t.Errorf("list: %s", answer)
	}
}

func TestManyTools(t *testing.T) {
	upstream := serving(t, "http")
	_, answer, header := post(t, upstream+"/legacy/5000/mcp", "", list)
	if !json.Valid(answer) || bytes.Count(answer, []byte(`"inputSchema"`)) != 5000 || header.Get("Content-Length") == "" {
		t.Errorf("%d bytes: %.200s", len(answer), answer)
	}
}

// pipes runs a role over pipes until the test ends.
func pipes(t *testing.T, role ...string) (ask io.Writer, answers *bufio.Reader) {
	t.Helper()
	in, ask2 := io.Pipe()
	out, says := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- peer.Run(t.Context(), role, in, says) }()
	t.Cleanup(func() {
		ask2.Close()
		go io.Copy(io.Discard, out)
		if err := <-done; err != nil {
			t.Errorf("%v: %v", role, err)
		}
		out.Close()
	})
	return ask2, bufio.NewReader(out)
}

func TestStdioAndMux(t *testing.T) {
	for name, role := range map[string][]string{"stdio": {"stdio"}, "mux": {"mux", os.Args[0], "as-stdio"}} {
		t.Run(name, func(t *testing.T) {
			ask, answers := pipes(t, role...)
			late := strings.Replace(strings.Replace(echo, `"echo"`, `"slow"`, 1), "7", `"a"`, 1)
			go io.WriteString(ask, late+"\n"+echo+"\n"+long+"\n")
			want := map[string]string{"7": `"hello"`, "8": "nobody in particular", `"a"`: `"late"`}
			for range len(want) { // in any order
				line, err := answers.ReadBytes('\n')
				var got struct{ ID json.RawMessage }
				if err != nil || json.Unmarshal(line, &got) != nil {
					t.Fatalf("no message: %.200s, %v", line, err)
				}
				text, asked := want[string(got.ID)]
				if !asked || !bytes.Contains(line, []byte(text)) {
					t.Errorf("the answer to %s, asked is %v: %.200s", got.ID, asked, line)
				}
				delete(want, string(got.ID))
			}
		})
	}
}

func TestADeafStart(t *testing.T) {
	began := time.Now()
	ask, answers := pipes(t, "stdio", "-delay", "50ms")
	go io.WriteString(ask, echo+"\n")
	if _, err := answers.ReadBytes('\n'); err != nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("answered after %s, %v", time.Since(began), err)
	}
}

func TestWrongRoles(t *testing.T) {
	for _, args := range [][]string{nil, {"nobody"}, {"proxy"}, {"mux"}, {"relay", "legacy"}, {"stdio", "-x"}} {
		if err := peer.Run(t.Context(), args, strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("%q is taken for a role", args)
		}
	}
}
