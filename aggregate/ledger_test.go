package aggregate_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

// bookkept is a view of one upstream that keeps a ledger, as an operator sets it
// up who wants retries and trusts no annotations.
func bookkept(t *testing.T, a upstream.Adapter, attempt time.Duration) *aggregate.View {
	t.Helper()
	yes := true
	m := aggregate.Member{ID: "crm", Adapter: a, Prefix: "crm", Identity: "test", Attempt: attempt,
		Limits:   aggregate.Limits{Concurrency: 8, Queue: 8, Attempts: 3},
		Override: map[string]aggregate.Hints{"get": {ReadOnly: &yes}, "set": {Idempotent: &yes}},
	}
	v, stop := start(t, aggregate.Options{Deadline: 20 * time.Second}, m)
	t.Cleanup(func() {
		stop()
		_ = a.Close()
	})
	for limit := time.Now().Add(time.Minute); !slices.Contains(names(t, v), "crm_put"); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the upstream has no tools")
		}
	}
	return v
}

// child is this binary, started again with a fault.
func child(t *testing.T, fault string, cut int) (*mcpserver.Adapter, ledger) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := ledger(filepath.Join(t.TempDir(), "ledger"))
	launch := func(ctx context.Context, name string, arg ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, name, arg...)
		cmd.Env = []string{"LEDGER=" + string(l), "LEDGER_FAULT=" + fault, fmt.Sprint("LEDGER_CUT=", cut), "GORACE=atexit_sleep_ms=0"}
		return cmd
	}
	return mcpserver.NewStdio(mcpserver.Options{ID: "crm"}, launch, exe, "-test.run=^TestLedgerChild$"), l
}

// verdict says what must not have become of a call that a fault has befallen:
// what an upstream has carried out, and what its caller was told of it.
func verdict(l ledger, tool, key, said string, fault string) string {
	did, came := l.read(executed)[key], l.read(arrived)[key]
	again := tool == "get" || tool == "set"             // the operator says that it does no harm
	lost := fault != stopsReading && fault != redirects // it has had the call, and does not say otherwise
	switch {
	case !again && (did > 1 || came > 1):
		return "it was sent or carried out twice"
	case again && (did < 1 || did > 2 || came > 2 || said != "done"):
		return "it should have been made again, once"
	case again:
		return ""
	case said == "done" && did != 1:
		return "it is called a success"
	case said == "done":
		return ""
	case tool == "put" && lost && !strings.HasPrefix(said, "write_outcome_unknown: crm: "):
		return "nobody knows whether it was carried out"
	case tool == "act" && lost && strings.HasPrefix(said, "unavailable") && !strings.Contains(said, "may have been carried out"):
		return "the caller is not told that it may have been carried out"
	}
	return ""
}

// Over stdio, with a real process that has a fault at each station of a call's
// way: what is not known to be harmless is carried out at most once, and nobody
// is told that it failed when nobody knows.
func TestLedgerStdio(t *testing.T) {
	for _, fault := range []string{stopsReading, dies, executes, silent, garbles} {
		for _, tool := range []string{"put", "act", "get", "set"} {
			if fault == garbles && (tool == "get" || tool == "set") {
				continue // it is no reason to ask again
			}
			t.Run(fault+" "+tool, func(t *testing.T) {
				t.Parallel()
				a, l := child(t, fault, 0)
				v := bookkept(t, a, 5*time.Second) // for one attempt, a restart included
				key := tool + "-1"
				said := call(t, v, "crm_"+tool, fmt.Sprintf(`{"key":%q}`, key)).text()
				if wrong := verdict(l, tool, key, said, fault); wrong != "" {
					t.Errorf("%s: %s; arrived %v, executed %v", wrong, said, l.read(arrived), l.read(executed))
				}
				if again := call(t, v, "crm_get", `{"key":"next"}`).text(); again != "done" {
					t.Errorf("the next call: %s", again)
				}
			})
		}
	}
}

// The answer of a process that dies breaks off after each of its bytes.
func TestLedgerStdioBreaksOff(t *testing.T) {
	whole := len(ledgerAnswer(&ledgerMsg{ID: []byte("4"), Method: "tools/call"}))
	step := 1
	if testing.Short() {
		step = 9
	}
	for cut := 0; cut <= whole; cut += step {
		t.Run(fmt.Sprint("after ", cut), func(t *testing.T) {
			t.Parallel()
			a, l := child(t, breaksOff, cut)
			v := bookkept(t, a, 10*time.Second)
			said := call(t, v, "crm_put", `{"key":"k"}`).text()
			if wrong := verdict(l, "put", "k", said, breaksOff); wrong != "" || l.read(executed)["k"] != 1 {
				t.Errorf("%s: %s; arrived %v, executed %v", wrong, said, l.read(arrived), l.read(executed))
			}
			if cut < whole && said == "done" {
				t.Errorf("it is called a success")
			}
		})
	}
}

// The same over HTTP.
func TestLedgerHTTP(t *testing.T) {
	for _, tool := range []string{"put", "act", "get", "set"} {
		t.Run(silent+" "+tool, func(t *testing.T) {
			t.Parallel()
			attempt := 6 * time.Second // longer than a busy machine takes for the next, which is answered
			if testing.Short() {
				attempt = 2500 * time.Millisecond
			}
			newBookkeeper(t, attempt).try(t, silent, "", tool, 0)
		})
	}
	t.Run("answers", func(t *testing.T) {
		t.Parallel()
		newBookkeeper(t, 20*time.Second).tryAll(t)
	})
}

// bookkeeper is a server that is given faults, and a view of it.
type bookkeeper struct {
	*ledgerServer
	v    *aggregate.View
	keys int // used so far
}

func newBookkeeper(t *testing.T, attempt time.Duration) *bookkeeper {
	s := newLedgerServer(t)
	t.Cleanup(func() { close(s.leave) })
	a, _ := overHTTP(t, s.url)
	return &bookkeeper{s, bookkept(t, a, attempt), 0}
}

// try has a fault befall a call.
func (b *bookkeeper) try(t *testing.T, fault, shape, tool string, cut int) (said string) {
	b.keys++
	key := fmt.Sprint(tool, "-", b.keys)
	b.mu.Lock()
	b.fault, b.shape, b.cut = fault, shape, cut
	b.mu.Unlock()
	said = call(t, b.v, "crm_"+tool, fmt.Sprintf(`{"key":%q}`, key)).text()
	if wrong := verdict(b.ledger, tool, key, said, fault); wrong != "" {
		t.Errorf("%s %s %s %d: %s: %s; arrived %d, executed %d", fault, shape, tool, cut, wrong, said,
			b.ledger.read(arrived)[key], b.ledger.read(executed)[key])
	}
	return said
}

// tryAll tries every fault that makes itself felt.
func (b *bookkeeper) tryAll(t *testing.T) {
	for _, tool := range []string{"put", "act", "get", "set"} {
		for _, fault := range []string{dies, executes, unavailable} {
			b.try(t, fault, "", tool, 0)
		}
	}
	for _, tool := range []string{"put", "act"} {
		b.try(t, garbles, "", tool, 0)
		b.try(t, redirects, "", tool, 0)
	}
	step := 1
	if testing.Short() {
		step = 9
	}
	for _, shape := range shapes {
		whole := len(shapeOf(shape, ledgerAnswer(&ledgerMsg{ID: []byte("1"), Method: "tools/call"})))
		for cut := 0; cut < whole && !t.Failed(); cut += step {
			if said := b.try(t, breaksOff, shape, "put", cut); said == "done" && cut < whole/2 {
				t.Errorf("%s, %d of %d bytes: %s", shape, cut, whole, said)
			}
		}
		if said := b.try(t, "", shape, "put", 0); said != "done" {
			t.Errorf("%s: %s", shape, said)
		}
	}
}

func overHTTP(t *testing.T, url string) (*mcpserver.Adapter, *http.Transport) {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return mcpserver.NewHTTP(mcpserver.Options{ID: "crm"}, url, &http.Client{Transport: tr}), tr
}

// What could not even be connected was not sent: the caller is told to come back,
// and when the server is there again the call is carried out once.
func TestLedgerRefusedConnection(t *testing.T) {
	s := newLedgerServer(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := s.serve(t, ln)
	a, tr := overHTTP(t, "http://"+ln.Addr().String())
	v := bookkept(t, a, 10*time.Second)
	tr.CloseIdleConnections() // on one of them the call would have been sent, for all that anyone knows
	stop()
	if said := call(t, v, "crm_put", `{"key":"k"}`).text(); !strings.HasPrefix(said, "unavailable: crm: ") || strings.Contains(said, "may have been") {
		t.Error(said)
	}
	if came := s.ledger.read(arrived); len(came) != 0 {
		t.Errorf("arrived: %v", came)
	}
	again, err := net.Listen("tcp", ln.Addr().String())
	if err != nil {
		t.Skip("somebody else has taken the port: ", err)
	}
	s.serve(t, again)
	for limit := time.Now().Add(time.Minute); call(t, v, "crm_get", `{"key":"g"}`).text() != "done"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("it does not come back")
		}
	}
	if said := call(t, v, "crm_put", `{"key":"k"}`).text(); said != "done" || s.ledger.read(executed)["k"] != 1 {
		t.Errorf("%s; executed %v", said, s.ledger.read(executed))
	}
}

// A client that goes away while its write is carried out has it carried out
// once, whatever it is told.
func TestLedgerClientGone(t *testing.T) {
	stdio, l := child(t, silent, 0)
	s := newLedgerServer(t)
	defer close(s.leave)
	s.fault = silent
	remote, _ := overHTTP(t, s.url)
	for name, c := range map[string]struct {
		adapter upstream.Adapter
		ledger  ledger
	}{"stdio": {stdio, l}, "http": {remote, s.ledger}} {
		t.Run(name, func(t *testing.T) {
			v := bookkept(t, c.adapter, 10*time.Second)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			done := make(chan error, 1)
			go func() {
				_, err := v.CallTool(ctx, &aggregate.Request{Principal: upstream.Local(), Params: []byte(`{"name":"crm_put","arguments":{"key":"k"}}`)})
				done <- err
			}()
			for limit := time.Now().Add(time.Minute); c.ledger.read(executed)["k"] == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(limit) {
					t.Fatal("it is not carried out")
				}
			}
			leave()
			<-done
			for range 3 {
				if said := call(t, v, "crm_get", `{"key":"next"}`).text(); said != "done" {
					t.Error(said)
				}
			}
			if n := c.ledger.read(arrived)["k"]; n != 1 || c.ledger.read(executed)["k"] != 1 {
				t.Errorf("arrived %d times", n)
			}
		})
	}
}
