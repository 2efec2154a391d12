package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// madeUp is what rand.Text returns: secrets and tokens.
var madeUp = regexp.MustCompile(`[A-Z2-7]{26}`)

// tickets runs a configuration with the ticket system and returns it once it is
// connected, with a function that ends it and returns what it said.
func tickets(t *testing.T, lifetime time.Duration, more string) (v *aggregate.View, d *desk, end func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	text := "[server]\nstate = \"none\"\nlog_level = \"debug\"\n[upstream.tickets]\nsandbox = \"tickets\"\n" + more
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Upstreams[0].Auth.Lifetime = lifetime
	said := &locked{}
	w, err := wire(Env{Err: said, Exe: func() (string, error) { return "/nonexistent/bulkhead", nil }}, cfg, false)
	if err != nil {
		t.Fatal(err)
	}
	a, err := w.aggregate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	settle, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	err = a.Settled(settle)
	d, ok := as[*desk](w.built[ticketSystem].member.Adapter.(*deferred))
	if err != nil || !ok {
		t.Fatal(err, said.String())
	}
	v, _ = a.View("")
	return v, d, func() string {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return said.String()
	}
}

// ask calls a tool of the ticket system and returns the result.
func ask(t *testing.T, v *aggregate.View, tool, arguments string) (text string, failed bool) {
	t.Helper()
	params := json.RawMessage(`{"name":"tickets_` + tool + `","arguments":` + arguments + `}`)
	raw, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Client: "test", Params: params})
	if err != nil {
		t.Error(err)
	}
	res, err := upstream.ParseResult(raw)
	if err != nil {
		t.Error(err)
		return "", true
	}
	return string(raw), res.IsError
}

const (
	oneTicket = `{"ticket_id":"T-21122"}`
	oneRemark = `{"ticket_id":"T-21122","text":"seen"}`
)

func TestWritesHaveATokenOfTheirOwn(t *testing.T) {
	v, d, end := tickets(t, 0, "")
	steps := []struct {
		tool, arguments string
		tokens          int // given out by then
	}{
		{"get_ticket", oneTicket, 1}, {"add_comment", oneRemark, 2}, {"get_ticket", oneTicket, 2}, {"add_comment", oneRemark, 2},
	}
	for _, s := range steps {
		text, failed := ask(t, v, s.tool, s.arguments)
		if failed {
			t.Errorf("%s: %s", s.tool, text)
		}
		if got := d.server.Issued(); got != s.tokens {
			t.Errorf("after %s %d tokens were given out, want %d", s.tool, got, s.tokens)
		}
	}
	if text, _ := ask(t, v, "get_ticket", oneTicket); strings.Count(text, "seen") < 2 {
		t.Error("what was written is not there: ", text)
	}
	address := strings.TrimPrefix(d.server.(*ticketServer).origin, "http://")
	if said := end(); madeUp.MatchString(said) {
		t.Error("a secret in what it says: ", said)
	}
	if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		_ = c.Close()
		t.Error("the port is still open")
	}
}

// TestTheTicketSystemGoesByItsOwnWord: what we were told wrongly about a tool does
// not get a call past its guard.
func TestTheTicketSystemGoesByItsOwnWord(t *testing.T) {
	v, _, end := tickets(t, 0, "tools.override.add_comment = { read_only = true }\n")
	if text, failed := ask(t, v, "add_comment", oneRemark); !failed || !strings.Contains(text, "denied") {
		t.Error("a write with a token for reading: ", text)
	}
	if text, failed := ask(t, v, "get_ticket", oneTicket); failed || strings.Contains(text, `seen`) {
		t.Error(text)
	}
	end()
}

func TestManyCallsShareARenewal(t *testing.T) {
	v, d, end := tickets(t, 3*time.Second, "")
	time.Sleep(time.Until(d.expiry()))
	before := d.server.Issued()
	var wg sync.WaitGroup
	for i := range 100 { // no two alike, or they would be one
		wg.Go(func() {
			if text, failed := ask(t, v, "get_ticket", fmt.Sprintf(`{"ticket_id":"T-%d"}`, 20001+i)); failed {
				t.Error(text)
			}
		})
	}
	wg.Wait()
	// Two only if the machine was so slow that the new one ended, too.
	if n := d.server.Issued() - before; n < 1 || n > 2 {
		t.Errorf("100 calls took %d tokens", n)
	}
	if said := end(); madeUp.MatchString(said) {
		t.Error("a secret in what it says: ", said)
	}
}

// served runs the ticket system on its own until it has said how it is reached,
// and ends it.
func served(t *testing.T, environ ...string) (out, said string) {
	t.Helper()
	var o, e locked
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- Main(ctx, []string{"sandbox", "tickets", "--listen", "127.0.0.1:0"}, Env{Out: &o, Err: &e, Environ: environ})
	}()
	for range 3000 {
		if strings.Contains(o.String(), "revocation_url") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	if code := <-done; code != exitOK {
		t.Error(code, e.String())
	}
	return o.String(), e.String()
}

func TestTheTicketSystemOnItsOwn(t *testing.T) {
	const secret = "canary-of-the-client"
	out, said := served(t, secretVariable+"="+secret)
	// What it prints is a configuration.
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, nil)
	if err != nil || len(cfg.Upstreams) != 1 || cfg.Upstreams[0].Auth.ClientSecret.Env != secretVariable {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(out+said, secret) || madeUp.MatchString(out+said) {
		t.Error("the secret is printed: ", out, said)
	}
}

func TestTheTicketSystemMakesUpASecret(t *testing.T) {
	secrets := map[string]bool{}
	for _, environ := range [][]string{nil, {secretVariable + "="}} {
		out, said := served(t, environ...)
		secret := madeUp.FindString(said)
		if secret == "" || secrets[secret] || madeUp.MatchString(out) || !strings.Contains(said, secretVariable) {
			t.Error(out, said)
		}
		secrets[secret] = true
	}
}

func TestServingASampleOverHTTPRefuses(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, c := range []struct {
		name, listen string
		code         int
		want         string
	}{
		{"crm", "127.0.0.1:0", exitUsage, "crm is not served over HTTP"},
		{"tickets", "0.0.0.0:0", exitUsage, "no address on this machine"},
		{"tickets", ":8899", exitUsage, "no address on this machine"},
		{"tickets", "8899", exitUsage, "no address on this machine"},
		{"tickets", ln.Addr().String(), exitFailed, "port 0 takes a free one"},
	} {
		var said bytes.Buffer
		code := Main(t.Context(), []string{"sandbox", c.name, "--listen", c.listen}, Env{Out: io.Discard, Err: &said})
		if code != c.code || !strings.Contains(said.String(), c.want) {
			t.Errorf("%s at %s: %d %s", c.name, c.listen, code, said.String())
		}
	}
}

// locked may be written from several goroutines.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
