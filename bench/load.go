package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// burst has workers call as fast as they are answered.
func (t target) burst(ctx context.Context, workers int, length time.Duration) (figures, error) {
	callers := make([]caller, workers)
	for i := range callers {
		c, err := t.open()
		if err != nil {
			return figures{}, err
		}
		defer c.close()
		if err := c.call(); err != nil { // warm
			return figures{}, err
		}
		callers[i] = c
	}
	took := make([][]time.Duration, workers)
	errs := make([]error, workers)
	cpu, began := cpuOf(t.pid), time.Now()
	var wg sync.WaitGroup
	for i, c := range callers {
		wg.Go(func() {
			for time.Since(began) < length && ctx.Err() == nil {
				start := time.Now()
				if errs[i] = c.call(); errs[i] != nil {
					return
				}
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	wg.Wait()
	wall, used := time.Since(began), cpuOf(t.pid)-cpu
	all := slices.Concat(took...)
	slices.Sort(all)
	if err := errors.Join(errs...); err != nil || len(all) == 0 {
		return figures{}, errors.Join(err, ctx.Err())
	}
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	return figures{
		rate: float64(len(all)) / wall.Seconds(), p50: us(all[len(all)/2]), p99: us(all[len(all)*99/100]),
		cpu: us(used) / float64(len(all)),
	}, nil
}

// cpuOf returns the processor time a process has used (proc(5), stat fields 14
// and 15, in ticks of 10 ms).
func cpuOf(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// httpCaller posts one body again and again.
type httpCaller struct {
	client *http.Client
	url    string
	header http.Header
	body   []byte
	want   []byte // must be in the answer
	least  int    // bytes of an answer, at least
}

func (c *httpCaller) call() error {
	req, err := http.NewRequest(http.MethodPost, c.url, bytes.NewReader(c.body)) //nolint:noctx // bounded by the client
	if err != nil {
		return err
	}
	req.Header = c.header
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || len(got) < c.least || !bytes.Contains(got, c.want) {
		return fmt.Errorf("status %d, %d bytes: %.200s", resp.StatusCode, len(got), got)
	}
	return nil
}

func (c *httpCaller) close() { c.client.CloseIdleConnections() }

// stdioCaller shares one child's pipes with others: each waits for the answer
// to its own id.
type stdioCaller struct {
	child *stdioChild
	body  string // with %d for the id
}

// stdioChild is a process that speaks MCP over its pipes.
type stdioChild struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	write sync.Mutex
	mu    sync.Mutex
	next  int
	wait  map[int]chan []byte
}

func startStdio(ctx context.Context, name string, args ...string) (*stdioChild, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = os.Environ()
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &stdioChild{cmd: cmd, in: in, wait: make(map[int]chan []byte)}
	go c.read(out)
	return c, nil
}

func (c *stdioChild) read(out io.Reader) {
	r := bufio.NewReaderSize(out, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		_, rest, ok := bytes.Cut(line, []byte(`"id":`))
		if !ok {
			continue
		}
		end := bytes.IndexAny(rest, ",}")
		id, err := strconv.Atoi(string(rest[:end]))
		if err != nil {
			continue
		}
		c.mu.Lock()
		ch := c.wait[id]
		delete(c.wait, id)
		c.mu.Unlock()
		if ch != nil {
			ch <- line
		}
	}
}

func (c *stdioChild) ask(body string) ([]byte, error) {
	ch := make(chan []byte, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	c.wait[id] = ch
	c.mu.Unlock()
	c.write.Lock()
	_, err := fmt.Fprintf(c.in, body+"\n", id)
	c.write.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case line := <-ch:
		return line, nil
	case <-time.After(30 * time.Second):
		return nil, errors.New("no answer within 30 s")
	}
}

func (c *stdioCaller) call() error {
	line, err := c.child.ask(c.body)
	if err == nil && !bytes.Contains(line, []byte(`hello`)) {
		err = fmt.Errorf("answered %.200s", line)
	}
	return err
}

func (c *stdioCaller) close() {}
