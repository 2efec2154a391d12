package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one that is under measurement or beside it, with pipes to it.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.Reader // its output
	log io.Reader // its error output; nil if that is ours
	wg  sync.WaitGroup
}

// start runs a program. Its output is to be read. logged gives its error output
// a pipe as well.
func start(ctx context.Context, logged bool, program string, args ...string) (*process, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	p := &process{cmd: cmd}
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.out, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if !logged {
		cmd.Stderr = os.Stderr
	} else if p.log, err = cmd.StderrPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// drain reads a stream to its end, as whoever keeps a log does.
func (p *process) drain(r io.Reader) {
	p.wg.Go(func() { _, _ = io.Copy(io.Discard, r) })
}

// end asks a process to leave and waits for it. One that does not is killed.
func (p *process) end() {
	_ = p.in.Close() // it may be gone already
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_ = p.cmd.Wait() // how it ended is of no interest
	p.wg.Wait()
}

// startPeer runs a role of this program that serves HTTP and returns where.
func startPeer(ctx context.Context, self string, role ...string) (p *process, url string, err error) {
	if p, err = start(ctx, false, self, append([]string{"peer"}, role...)...); err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReader(p.out).ReadString('\n')
	if err != nil {
		p.end()
		return nil, "", fmt.Errorf("%s did not start: %w", strings.Join(role, " "), err)
	}
	return p, "http://" + strings.TrimSpace(line), nil
}

// startServing runs Bulkhead over HTTP and returns where, once the tools of all
// its upstreams are listed.
func startServing(ctx context.Context, binary, config string, upstreams int) (p *process, url string, err error) {
	if p, err = start(ctx, true, binary, "serve", "--config", config); err != nil {
		return nil, "", err
	}
	lines := bufio.NewReader(p.log)
	for listed := 0; url == "" || listed < upstreams; {
		line, err := lines.ReadString('\n')
		if err != nil {
			p.end()
			return nil, "", errors.Join(fmt.Errorf("bulkhead did not start: %s", line), err)
		}
		if _, after, ok := strings.Cut(line, "url=http://"); ok {
			address, _, _ := strings.Cut(after, "/mcp")
			url = "http://" + address
		}
		if strings.Contains(line, `"tools listed"`) {
			listed++
		}
	}
	p.drain(lines)
	return p, url, nil
}
