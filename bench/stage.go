package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	few  = 4    // tools of the upstream that is called
	many = 5000 // of the one that is listed
)

// stage is what the probes play on: the programs, and the processes that serve
// several probes.
type stage struct {
	dir      string // for configurations
	self     string // this program
	binary   string // Bulkhead
	upstream string // address of the HTTP upstream
	proxy    string // address of the proxy before it
	proxyPID int
	echoPID  int
	running  []*process
	families map[int][]family // by size of the catalog
}

// setUp builds Bulkhead, unless a binary is given, and starts what all probes
// need. tearDown must follow.
func setUp(ctx context.Context, binary string) (*stage, error) {
	dir, err := os.MkdirTemp("", "bulkhead-bench-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir, binary: binary, families: make(map[int][]family)}
	if err := s.start(ctx); err != nil {
		s.tearDown()
		return nil, err
	}
	return s, nil
}

func (s *stage) start(ctx context.Context) error {
	var err error
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	if s.binary == "" {
		s.binary = filepath.Join(s.dir, "bulkhead")
		build := exec.CommandContext(ctx, "go", "build", "-o", s.binary, "github.com/bulkhead-mcp/bulkhead")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building Bulkhead: %w: %s", err, out)
		}
	}
	if s.binary, err = filepath.Abs(s.binary); err != nil {
		return err
	}
	echo, url, err := startPeer(ctx, s.self, "http")
	if err != nil {
		return err
	}
	s.running, s.upstream, s.echoPID = append(s.running, echo), url, echo.pid()
	proxy, url, err := startPeer(ctx, s.self, "proxy", s.upstream)
	if err != nil {
		return err
	}
	s.running, s.proxy, s.proxyPID = append(s.running, proxy), url, proxy.pid()
	return nil
}

// tearDown ends the processes in the reverse order of their starts.
func (s *stage) tearDown() {
	for _, p := range slices.Backward(s.running) {
		p.end()
	}
	_ = os.RemoveAll(s.dir) // what is left is in the directory for temporary files
}

// cold returns a copy of a program to be started for its memory ([coldCopy]).
func (s *stage) cold(program, name string) (string, error) {
	file := filepath.Join(s.dir, name)
	if err := coldCopy(program, file); err != nil {
		return "", fmt.Errorf("copying a program: %w", err)
	}
	return file, nil
}

// path of the upstream of an era and a size.
func path(era string, tools int) string { return fmt.Sprintf("/%s/%d/mcp", era, tools) }

// configure writes a configuration and returns where.
func (s *stage) configure(name, text string) (string, error) {
	file := filepath.Join(s.dir, name+".toml")
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// The settings are the defaults but for what a measurement must have: nothing
// is kept on disk, and the longest result is handed out whole.
const server = "[server]\nstate = \"none\"\ndiscovery = \"list\"\nmax_result = \"32MiB\"\n"

// httpUpstream is a configuration's table of an upstream over HTTP.
func (s *stage) httpUpstream(name, era string, tools int) string {
	return fmt.Sprintf("[upstream.%s]\nurl = %q\nera = %q\n", name, s.upstream+path(era, tools), era)
}

// stdioUpstream is one of an upstream over stdio.
func (s *stage) stdioUpstream(name string, args ...string) string {
	command := fmt.Appendf(nil, "[upstream.%s]\ncommand = [%q, \"peer\", \"stdio\"", name, s.self)
	for _, a := range args {
		command = fmt.Appendf(command, ", %q", a)
	}
	return string(command) + "]\n"
}

// of returns the families before upstreams with a catalog of the given size.
// They live until the end.
func (s *stage) of(ctx context.Context, tools int) ([]family, error) {
	if known := s.families[tools]; known != nil {
		return known, nil
	}
	var out []family
	for _, era := range []string{"legacy", "modern"} {
		f, err := s.overHTTP(ctx, era, tools)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	f, err := s.overStdio(ctx, tools)
	if err != nil {
		return nil, err
	}
	s.families[tools] = append(out, f)
	return s.families[tools], nil
}

// overHTTP is the family of an era over HTTP; the older HTTP+SSE is in the legacy one.
func (s *stage) overHTTP(ctx context.Context, era string, tools int) (family, error) {
	relay, relayURL, err := startPeer(ctx, s.self, "relay", era, s.upstream+path(era, tools))
	if err != nil {
		return family{}, err
	}
	s.running = append(s.running, relay)
	name := fmt.Sprintf("%s-%d", era, tools)
	config, err := s.configure(name, server+"listen = \"127.0.0.1:0\"\n"+s.httpUpstream("u", era, tools)+"prefix = \"\"\n")
	if err != nil {
		return family{}, err
	}
	own, ownURL, err := startServing(ctx, s.binary, config, 1)
	if err != nil {
		return family{}, err
	}
	s.running = append(s.running, own)
	modern := era == "modern"
	f := family{name: "HTTP, " + era, own: 3, targets: []target{
		overHTTP("direct", s.echoPID, s.upstream+path(era, tools), modern),
		overHTTP("proxy", s.proxyPID, s.proxy+path(era, tools), modern),
		overHTTP("mcp-go relay", relay.pid(), relayURL+"/mcp", modern),
		overHTTP("Bulkhead", own.pid(), ownURL+"/mcp", modern),
	}}
	if !modern {
		f.targets = append(f.targets, overSSE("Bulkhead, HTTP+SSE", own.pid(), ownURL))
	}
	return f, nil
}

// overStdio is the family over pipes on both sides.
func (s *stage) overStdio(ctx context.Context, tools int) (family, error) {
	size := fmt.Sprintf("%d", tools)
	f := family{name: "stdio, modern", own: 2}
	upstream := s.stdioUpstream("u", "-tools", size) + "prefix = \"\"\n"
	logged, err := s.configure("stdio-"+size, server+upstream)
	if err != nil {
		return f, err
	}
	quiet, err := s.configure("stdio-quiet-"+size, server+"log_level = \"warn\"\n"+upstream)
	if err != nil {
		return f, err
	}
	for _, p := range []struct {
		name    string
		program []string
	}{
		{"direct", []string{s.self, "peer", "stdio", "-tools", size}},
		{"mux", []string{s.self, "peer", "mux", s.self, "peer", "stdio", "-tools", size}},
		{"Bulkhead", []string{s.binary, "serve", "--config", logged}},
		{"Bulkhead, no log of calls", []string{s.binary, "serve", "--config", quiet}},
	} {
		own := strings.HasPrefix(p.name, "Bulkhead")
		child, err := start(ctx, own, p.program[0], p.program[1:]...)
		if err != nil {
			return f, errors.Join(fmt.Errorf("%s over stdio", p.name), err)
		}
		if own {
			child.drain(child.log)
		}
		s.running = append(s.running, child)
		t := overStdio(p.name, child)
		t.quiet = own && len(f.targets) > f.own
		f.targets = append(f.targets, t)
	}
	return f, nil
}
