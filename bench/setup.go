package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// bench is everything that runs during the measurement.
type bench struct {
	dir       string
	ctx       context.Context //nolint:containedctx // the life of the children, not of a call
	stop      context.CancelFunc
	processes []*exec.Cmd
	legacy    setting
	modern    setting
	stdio     *stdioChild // Bulkhead over stdio, before an upstream over stdio
	direct    *stdioChild // that upstream alone
}

// setting is an upstream of one era with a proxy and a Bulkhead before it.
type setting struct {
	modern                       bool
	upstream, proxy, bulkhead    string // addresses
	upstreamPID, proxyPID, ownID int
}

func setUp(parent context.Context) (*bench, error) {
	ctx, stop := context.WithCancel(parent)
	dir, err := os.MkdirTemp("", "bulkhead-bench-")
	if err != nil {
		stop()
		return nil, err
	}
	b := &bench{dir: dir, ctx: ctx, stop: stop}
	if err := b.start(); err != nil {
		b.tearDown()
		return nil, err
	}
	return b, nil
}

func (b *bench) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	binary := filepath.Join(b.dir, "bulkhead")
	if out, err := exec.CommandContext(b.ctx, "go", "build", "-o", binary, "github.com/bulkhead-mcp/bulkhead").CombinedOutput(); err != nil {
		return fmt.Errorf("building: %w: %s", err, out)
	}
	for _, era := range []string{"legacy", "modern"} {
		s := setting{modern: era == "modern"}
		if s.upstream, s.upstreamPID, err = b.spawn(self, "echo", era); err != nil {
			return err
		}
		if s.proxy, s.proxyPID, err = b.spawn(self, "proxy", "http://"+s.upstream); err != nil {
			return err
		}
		if s.bulkhead, s.ownID, err = b.serve(binary, era, s.upstream); err != nil {
			return err
		}
		if s.modern {
			b.modern = s
		} else {
			b.legacy = s
		}
	}
	config := filepath.Join(b.dir, "stdio.toml")
	text := fmt.Sprintf("[server]\nlog_level = \"warn\"\nstate = \"none\"\n[upstream.u]\ncommand = [%q, \"echo-stdio\"]\nprefix = \"\"\n", self)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	if b.direct, err = startStdio(b.ctx, self, "echo-stdio"); err != nil {
		return err
	}
	b.stdio, err = startStdio(b.ctx, binary, "serve", "--config", config)
	return err
}

// spawn starts a role of this program and returns the address it prints.
func (b *bench) spawn(name string, args ...string) (addr string, pid int, err error) {
	cmd := exec.CommandContext(b.ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", 0, err
	}
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	b.processes = append(b.processes, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(line), cmd.Process.Pid, err
}

// serve starts Bulkhead over HTTP before an upstream and waits for its list.
func (b *bench) serve(binary, era, upstream string) (addr string, pid int, err error) {
	config := filepath.Join(b.dir, era+".toml")
	text := fmt.Sprintf("[server]\nlisten = \"127.0.0.1:0\"\nstate = \"none\"\nmax_result = \"8MiB\"\n[upstream.u]\nurl = \"http://%s/mcp\"\nprefix = \"\"\nera = %q\n", upstream, era)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", 0, err
	}
	cmd := exec.CommandContext(b.ctx, binary, "serve", "--config", config)
	logs, err := cmd.StderrPipe()
	if err != nil {
		return "", 0, err
	}
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	b.processes = append(b.processes, cmd)
	lines := bufio.NewReader(logs)
	for addr == "" {
		line, err := lines.ReadString('\n')
		if err != nil {
			return "", 0, fmt.Errorf("bulkhead did not start: %w: %s", err, line)
		}
		if _, after, ok := strings.Cut(line, "url=http://"); ok {
			addr, _, _ = strings.Cut(after, "/mcp")
		}
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // a log that is read, as in service
	return addr, cmd.Process.Pid, nil
}

func (b *bench) tearDown() {
	b.stop()
	for _, cmd := range b.processes {
		_ = cmd.Wait()
	}
	for _, c := range []*stdioChild{b.direct, b.stdio} {
		if c != nil {
			_ = c.in.Close()
			_ = c.cmd.Wait()
		}
	}
	_ = os.RemoveAll(b.dir)
}

const (
	legacyCall = `{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s}}`
	modernCall = `{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
	echoParams = `"name":"echo","arguments":{"text":"hello"}`
	longParams = `"name":"long","arguments":{}`
)

// over returns how to call a method of a setting at an address.
func (s setting) over(addr, method, tool, params string, least int) func() (caller, error) {
	return func() (caller, error) {
		c := &httpCaller{
			client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 4}},
			url:    "http://" + addr + "/mcp", least: least, want: []byte(`"result"`),
			header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}},
		}
		if s.modern {
			if params != "" {
				params = strings.TrimSuffix(params, ",") + ","
			}
			c.body = fmt.Appendf(nil, modernCall, method, params)
			c.header.Set("Mcp-Protocol-Version", "2026-07-28")
			c.header.Set("Mcp-Method", method)
			if tool != "" {
				c.header.Set("Mcp-Name", tool)
			}
			return c, nil
		}
		c.body = fmt.Appendf(nil, legacyCall, method, params)
		c.header.Set("Mcp-Protocol-Version", "2025-11-25")
		return c, s.session(c)
	}
}

// session opens a legacy session for a caller.
func (s setting) session(c *httpCaller) error {
	hello := `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`
	req, err := http.NewRequest(http.MethodPost, c.url, strings.NewReader(hello)) //nolint:noctx // bounded by the client
	if err != nil {
		return err
	}
	req.Header = c.header.Clone()
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(err, fmt.Errorf("initialize: status %d", resp.StatusCode))
	}
	if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
		c.header.Set("Mcp-Session-Id", id)
	}
	return nil
}

func (b *bench) probes() []probe {
	var out []probe
	for _, s := range []setting{b.legacy, b.modern} {
		era := "legacy"
		if s.modern {
			era = "modern"
		}
		each := func(name string, workers int, method, tool, params string, least int) {
			out = append(out, probe{name + ", " + era, workers, []target{
				{"direct", 0, s.over(s.upstream, method, tool, params, least)},
				{"proxy", s.proxyPID, s.over(s.proxy, method, tool, params, least)},
				{"bulkhead", s.ownID, s.over(s.bulkhead, method, tool, params, least)},
			}})
		}
		each("echo, 1 at once", 1, "tools/call", "echo", echoParams, 1)
		each("echo, 16 at once", 16, "tools/call", "echo", echoParams, 1)
		each("echo, 128 at once", 128, "tools/call", "echo", echoParams, 1)
		each("1 MB result", 1, "tools/call", "long", longParams, 500_000)
		each("list of 5000 tools", 1, "tools/list", "", "", 1_000_000)
	}
	body := fmt.Sprintf(strings.Replace(modernCall, `"id":1`, `"id":%%d`, 1), "tools/call", echoParams+",")
	for _, workers := range []int{1, 16, 128} {
		out = append(out, probe{fmt.Sprintf("stdio echo, %d at once", workers), workers, []target{
			{"direct", b.direct.cmd.Process.Pid, func() (caller, error) { return &stdioCaller{b.direct, body}, nil }},
			{"bulkhead", b.stdio.cmd.Process.Pid, func() (caller, error) { return &stdioCaller{b.stdio, body}, nil }},
		}})
	}
	return out
}
