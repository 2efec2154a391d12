//go:build linux

package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var soakTime = flag.Duration("soak", 8*time.Second, "how long TestSoak goes on after it has warmed up")

// restless are the sources that come and go in a soak, by their way.
var restless = map[string]way{
	"child": {"stdio", "modern"}, "oldchild": {"stdio", "legacy"},
	"web": {"http", "modern"}, "oldweb": {"http", "legacy"}, "sse": {"sse", "legacy"},
}

// soak is two programs, one for clients over HTTP and one over stdio, before
// the same sources, and what goes on with them.
type soak struct {
	t       *testing.T
	program string // the fixture
	book    ledger
	ports   map[string]int // of the sources over HTTP
	servers map[string]*proc

	web, pipe *proc
	url       string
	piped     *client

	calls, failed, given, sessions atomic.Int64
	kills, restarts, reloads       int

	mu     sync.Mutex
	writes map[string]string // by key, what the caller was told
}

// TestSoak has clients of many sessions call, cancel and leave while sources are
// killed, restarted, refused, taken out and put back. Every call is answered,
// every write is accounted for, and afterwards nothing is left of it all.
func TestSoak(t *testing.T) {
	t.Parallel()
	s := &soak{t: t, program: buildFixture(t), book: newLedger(t), ports: map[string]int{}, servers: map[string]*proc{}, writes: map[string]string{}}
	for name, w := range restless {
		if w.transport != "stdio" {
			s.ports[name] = freePort(t)
			s.serve(name)
		}
	}
	address := fmt.Sprint("127.0.0.1:", freePort(t)) // the log does not tell: it has warnings only
	s.web, s.url = start(t, s.config(true, true), []string{counted}, "serve", "--listen", address), "http://"+address+"/mcp"
	if !eventually(func() bool { c, err := net.Dial("tcp", address); return err == nil && c.Close() == nil }) {
		t.Fatalf("it does not listen: %s", s.web.log)
	}
	s.pipe = start(t, s.config(true, true), []string{counted})
	s.piped = s.pipe.stdio(false)

	s.ready(len(restless) + 4)
	s.churn(min(max(*soakTime/4, 3*time.Second), 20*time.Second))
	full, bare := s.rest()
	s.churn(*soakTime)
	fullAfter, bareAfter := s.rest()
	for i, name := range []string{"over HTTP", "over stdio"} {
		t.Logf("%s: before: %v; without sources: %v", name, full[i], bare[i])
		t.Logf("%s: after:  %v; without sources: %v", name, fullAfter[i], bareAfter[i])
		// How many connections to its sources are idle is chance.
		if more := fullAfter[i].exceeds(full[i], 40, 20); more != "" {
			t.Errorf("%s: it has grown in %s", name, more)
		}
		if more := bareAfter[i].exceeds(bare[i], 3, 0); more != "" {
			t.Errorf("%s, without sources: it has grown in %s", name, more)
		}
	}
	written := s.book.counts(t)
	for key, told := range s.writes {
		accounted(t, key, told, written[key])
	}
	t.Logf("%d calls, %d of them failed and %d were given up, %d sessions, %d writes; %d kills, %d restarts, %d reloads",
		s.calls.Load(), s.failed.Load(), s.given.Load(), s.sessions.Load(), len(s.writes), s.kills, s.restarts, s.reloads)
}

// config is the configuration with all sources, or the good one only; extra has
// one more.
func (s *soak) config(all, extra bool) string {
	c := "[server]\ndeadline = '20s'\nlist_wait = '30s'\nlog_level = 'warn'\n" + fakeUpstream(s.t, "good", "healthy")
	if extra {
		c += fakeUpstream(s.t, "extra", "healthy")
	}
	if !all {
		return c
	}
	c += fakeUpstream(s.t, "hangs", "healthy", "timeout = '50ms'", "breaker = { failures = 3, cool_down = '100ms' }") +
		fakeUpstream(s.t, "narrow", "healthy", "limit = { concurrency = 2, queue = 2, queue_wait = '100ms' }")
	for name, w := range restless {
		more := []string{"limit.queue_wait = '2s'", "tools.override.odd_bytes.read_only = true", "breaker.cool_down = '200ms'"}
		switch w.transport {
		case "stdio":
			more = append(more, fmt.Sprintf("command = [%q, '-era', %q, '-ledger', %q]", s.program, w.era, string(s.book)))
		case "http":
			more = append(more, fmt.Sprintf("url = 'http://127.0.0.1:%d/mcp'", s.ports[name]))
		default:
			more = append(more, fmt.Sprintf("url = 'http://127.0.0.1:%d/sse'", s.ports[name]))
		}
		c += upstreamTable(name, more...)
	}
	return c
}

// serve starts the server of a source, in the place of the one before.
func (s *soak) serve(name string) {
	s.t.Helper()
	if old := s.servers[name]; old != nil {
		_ = old.cmd.Process.Kill()
		old.wait()
		_ = old.out.Close()
	}
	w := restless[name]
	flags := []string{"-" + w.transport, fmt.Sprint("127.0.0.1:", s.ports[name]), "-ledger", string(s.book)}
	if w.transport == "http" {
		flags = append(flags, "-era", w.era)
	}
	cmd := exec.Command(s.program, flags...)
	cmd.Env = []string{raceOptions}
	p := launch(s.t, cmd, s.t.TempDir())
	if _, err := p.out.Read(make([]byte, 100)); err != nil {
		s.t.Fatalf("%s does not listen: %v\n%s", name, err, p.log)
	}
	s.servers[name] = p
}

// churn goes on for a while with everything at once.
func (s *soak) churn(d time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), d)
	defer cancel()
	var workers sync.WaitGroup
	defer workers.Wait()
	for i := range 6 {
		workers.Go(func() {
			for ctx.Err() == nil {
				s.visit(ctx, i%2 == 0)
			}
		})
	}
	for range 3 {
		workers.Go(func() {
			for ctx.Err() == nil {
				s.call(s.piped)
			}
		})
	}
	workers.Go(func() {
		for ctx.Err() == nil {
			s.pass()
		}
	})
	for n := 0; ctx.Err() == nil; n++ {
		switch { // children that are killed often are given long pauses
		case n%16 == 2:
			s.kill(s.web)
		case n%16 == 10:
			s.kill(s.pipe)
		case n%4 == 0:
			s.reload(s.config(true, n%8 == 0))
		case n%2 == 1:
			names := []string{"web", "oldweb", "sse"}
			s.serve(names[n/2%len(names)])
			s.restarts++
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// visit is one session over HTTP, with a stream where its era has one.
func (s *soak) visit(ctx context.Context, modern bool) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := joinHTTP(s.t, transport, s.url, modern)
	if !modern {
		if _, err := c.do("initialize", map[string]any{"protocolVersion": legacyVersion, "capabilities": map[string]any{},
			"clientInfo": map[string]any{"name": "soak", "version": "1"}}); err != nil {
			s.t.Error(err)
		}
	}
	for n := rand.IntN(30); n >= 0 && ctx.Err() == nil; n-- {
		var calls sync.WaitGroup
		for range 1 + rand.IntN(3) {
			calls.Go(func() { s.call(c) })
		}
		calls.Wait()
	}
	if rand.IntN(4) > 0 { // some just go away
		if err := c.leave(); err != nil {
			s.t.Error(err)
		}
	}
	s.sessions.Add(1)
}

// pass opens a session of the older transport and goes away at once.
func (s *soak) pass() {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.url, "/mcp")+"/sse", nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		s.t.Error(err)
		return
	}
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || !strings.HasPrefix(line, "event: endpoint") {
		s.t.Errorf("%q %v", line, err)
	}
	_ = resp.Body.Close()
	s.sessions.Add(1)
	time.Sleep(20 * time.Millisecond)
}

// call makes one call of many kinds.
func (s *soak) call(c *client) {
	s.calls.Add(1)
	names := []string{"child", "oldchild", "web", "oldweb", "sse"}
	name := names[rand.IntN(len(names))]
	switch rand.IntN(10) {
	case 0, 1:
		text := fmt.Sprint("text-", s.calls.Load(), rand.Int())
		if r := s.answered(c, "good", "good_echo", map[string]string{"text": text}); r.text() != text {
			s.t.Errorf("good_echo: %s instead of %s", r.text(), text)
		}
	case 2, 3:
		key := fmt.Sprintf("%s-%d-%d", name, s.calls.Load(), rand.Int())
		told := "written"
		if r := s.answered(c, name, name+"_odd_write", map[string]any{"key": key}, "unavailable", "timeout", "overloaded", "write_outcome_unknown"); r.IsError {
			told = r.Meta.Error.Code
		}
		s.mu.Lock()
		s.writes[key] = told
		s.mu.Unlock()
	case 4, 5:
		if r := s.answered(c, name, name+"_odd_bytes", map[string]int{"bytes": 3000}, "unavailable", "timeout"); !r.IsError && len(r.text()) != 3000 {
			s.t.Errorf("%s: %d bytes", name, len(r.text()))
		}
	case 6:
		s.giveUp(c, name)
	case 7:
		s.answered(c, "hangs", "hangs_sleep", sleeping(1000), "timeout", "unavailable")
	case 8:
		s.answered(c, "narrow", "narrow_sleep", sleeping(20), "overloaded")
	default:
		if _, err := c.do("tools/list", nil); err != nil {
			s.t.Error(err)
		}
		if r, err := c.call("extra_echo", map[string]string{"text": "here"}); err != nil && !strings.Contains(err.Error(), "unknown tool") ||
			r.IsError && r.Meta.Error.Code != "unavailable" {
			s.t.Errorf("extra: %v %s", err, r.text())
		}
	}
}

// answered makes a call that must be answered, if by a failure then by one of
// some codes that names the source.
func (s *soak) answered(c *client, source, tool string, arguments any, codes ...string) result {
	r, err := c.call(tool, arguments)
	e := r.Meta.Error
	if err != nil || r.IsError && (!slices.Contains(codes, e.Code) || e.Source != source) {
		s.t.Errorf("%s: %v %s", tool, err, r.text())
	}
	if err != nil || r.IsError {
		s.failed.Add(1)
		r.IsError = true
	}
	return r
}

// giveUp cancels a call in the middle.
func (s *soak) giveUp(c *client, name string) {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Duration(rand.IntN(20))*time.Millisecond)
	defer cancel()
	params := map[string]any{"name": name + "_odd_slow", "arguments": sleeping(300)}
	_, err := c.doContext(ctx, "tools/call", params)
	if err == nil {
		return
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		s.t.Error(err)
	}
	if id := 0; c == s.piped { // over HTTP it is the connection that ends
		if _, err := fmt.Sscanf(err.Error(), "request %d:", &id); err != nil {
			s.t.Error(err)
		}
		c.notify("notifications/cancelled", map[string]any{"requestId": id})
	}
	s.given.Add(1)
}

// kill kills a child that is a source.
func (s *soak) kill(p *proc) {
	for _, child := range descendants(s.t, p.cmd.Process.Pid) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", child.pid))
		if err != nil || exe != s.program {
			continue
		}
		if err := syscall.Kill(child.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.t.Error(err)
		}
		s.kills++
		return
	}
}

func (s *soak) reload(config string) {
	for _, p := range []*proc{s.web, s.pipe} {
		file := filepath.Join(p.home, "config.toml")
		err := os.WriteFile(file+".new", []byte(config), 0o600)
		if err == nil {
			err = os.Rename(file+".new", file)
		}
		if err == nil {
			err = p.cmd.Process.Signal(syscall.SIGHUP)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	s.reloads++
}

// rest waits until nothing goes on any more, and returns what both programs
// hold with all their sources and with one only.
func (s *soak) rest() (full, bare []footprint) {
	s.t.Helper()
	for name := range s.ports { // idle connections end with them
		s.serve(name)
	}
	s.reload(s.config(true, false))
	s.ready(len(restless) + 3)
	full = rested(s.t, s.web, s.pipe)
	s.reload(s.config(false, false))
	s.ready(1)
	bare = rested(s.t, s.web, s.pipe)
	s.reload(s.config(true, false))
	s.ready(len(restless) + 3)
	return full, bare
}

// ready waits until both programs have so many sources and know all their tools.
func (s *soak) ready(sources int) {
	s.t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for _, c := range []*client{s.piped, joinHTTP(s.t, transport, s.url, true)} {
		if !eventually(func() bool {
			all := c.sources()
			ready := len(all) == sources
			for _, s := range all {
				if s.State != "up" || s.Tools == 0 || s.Stale {
					ready = false
					_, _ = c.call(s.Name+"_odd_slow", sleeping(0)) // which may have it looked for sooner
				}
			}
			return ready
		}) {
			s.t.Fatalf("not all are there: %+v", c.sources())
		}
	}
}
