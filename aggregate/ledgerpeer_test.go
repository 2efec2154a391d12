package aggregate_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger is a file in which an upstream notes each call that arrives and each
// that it carries out. It outlives the upstream's process.
type ledger string

// note adds a line and returns how many lines of this sort there are now.
func (l ledger) note(what, key string) int {
	f, err := os.OpenFile(string(l), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s %s\n", what, key); err != nil {
		panic(err)
	}
	n := 0
	for _, of := range l.read(what) {
		n += of
	}
	return n
}

// read returns how often something happened to each key.
func (l ledger) read(what string) map[string]int {
	text, _ := os.ReadFile(string(l)) // none is none
	out := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if key, ok := strings.CutPrefix(strings.TrimSpace(line), what+" "); ok {
			out[key]++
		}
	}
	return out
}

const arrived, executed = "arrived", "executed"

// ledgerMsg is what an upstream reads.
type ledgerMsg struct {
	ID     json.RawMessage
	Method string
	Params struct {
		Name      string
		Arguments struct{ Key string }
	}
}

// ledgerTools are get, which the operator calls harmless, put, which says that
// it writes, act, which says nothing, and set, which the operator calls
// idempotent.
var ledgerTools = func() string {
	var all []string
	for name, more := range map[string]string{"get": "", "put": "," + writes, "act": "", "set": "," + writes} {
		all = append(all, fmt.Sprintf(`{"name":%q,"inputSchema":{"type":"object"}%s}`, name, more))
	}
	return `{"tools":[` + strings.Join(all, ",") + `]}`
}()

// ledgerAnswer is the whole answer to anything but a call; "" if there is none.
func ledgerAnswer(m *ledgerMsg) string {
	result := ""
	switch m.Method {
	case "initialize":
		result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"ledger","version":"1"}}`
	case "tools/list":
		result = ledgerTools
	case "tools/call":
		result = `{"content":[{"type":"text","text":"done"}]}`
	case "ping":
		result = `{}`
	default:
		if m.ID == nil {
			return ""
		}
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"method not found"}}`, m.ID)
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

// The faults, in the order of a call's way. They befall the first call of a
// ledger; the next ones go well.
const (
	stopsReading = "stops reading"    // stdio: stdin is closed after the handshake
	dies         = "before execution" // it has read the call
	executes     = "after execution"  // and does not answer
	breaksOff    = "breaks off"       // in the middle of the answer
	silent       = "never answers"
	garbles      = "answers garbage"
	redirects    = "redirects" // HTTP: to itself
	unavailable  = "answers HTTP 503"
)

// TestLedgerChild is not a test: it is the upstream that others start.
func TestLedgerChild(t *testing.T) {
	path, fault := os.Getenv("LEDGER"), os.Getenv("LEDGER_FAULT")
	if path == "" {
		t.Skip("it is started by other tests")
	}
	cut, err := strconv.Atoi(os.Getenv("LEDGER_CUT"))
	if err != nil {
		os.Exit(2)
	}
	l := ledger(path)
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			os.Exit(0)
		}
		var m ledgerMsg
		if json.Unmarshal(line, &m) != nil {
			os.Exit(3)
		}
		text := ledgerAnswer(&m)
		if text == "" {
			continue
		}
		if m.Method == "tools/call" {
			text = ledgerCall(l, &m, fault, cut, text)
		}
		if text != "" {
			_, _ = os.Stdout.WriteString(text + "\n")
		}
		if m.Method == "tools/list" && fault == stopsReading && len(l.read(arrived)) == 0 {
			_ = os.Stdin.Close()
			l.note(arrived, "nothing")
			time.Sleep(time.Hour)
		}
	}
}

// ledgerCall carries a call out over stdio and returns its answer.
func ledgerCall(l ledger, m *ledgerMsg, fault string, cut int, text string) string {
	first := l.note(arrived, m.Params.Arguments.Key) == 1
	if first && fault == dies {
		os.Exit(7)
	}
	l.note(executed, m.Params.Arguments.Key)
	if !first {
		return text
	}
	switch fault {
	case executes:
		os.Exit(7)
	case breaksOff:
		_, _ = os.Stdout.WriteString(text[:min(cut, len(text))])
		os.Exit(7)
	case silent:
		return ""
	case garbles:
		return text[:len(text)-1]
	}
	return text
}

// ledgerServer is the same over HTTP.
type ledgerServer struct {
	ledger ledger
	url    string

	mu    sync.Mutex
	fault string // of the next call
	shape string // of the answer that breaks off
	cut   int
	leave chan struct{} // closed when nobody needs what never answers any more
}

func newLedgerServer(t *testing.T) *ledgerServer {
	t.Helper()
	s := &ledgerServer{ledger: ledger(t.TempDir() + "/ledger"), leave: make(chan struct{})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + ln.Addr().String()
	s.serve(t, ln)
	return s
}

// serve answers until the test ends or stop is called.
func (s *ledgerServer) serve(t *testing.T, ln net.Listener) (stop func()) {
	server := &http.Server{Handler: s}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln)
	}()
	stop = sync.OnceFunc(func() {
		_ = server.Close()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

func (s *ledgerServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m ledgerMsg
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	text := ledgerAnswer(&m)
	switch {
	case text == "":
		w.WriteHeader(http.StatusAccepted)
	case m.Method == "tools/call":
		s.call(w, &m, text)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(text))
	}
}

// call carries a call out and answers it, unless a fault is set.
func (s *ledgerServer) call(w http.ResponseWriter, m *ledgerMsg, text string) {
	s.mu.Lock()
	fault, shape, cut := s.fault, s.shape, s.cut
	s.fault = ""
	s.mu.Unlock()
	s.ledger.note(arrived, m.Params.Arguments.Key)
	if fault != dies {
		s.ledger.note(executed, m.Params.Arguments.Key)
	}
	whole := shapeOf(shape, text)
	switch fault {
	case dies, executes:
		hijack(w, "")
	case breaksOff:
		hijack(w, whole[:min(cut, len(whole))])
	case silent:
		<-s.leave
	case garbles:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(text[:len(text)-1]))
	case redirects:
		w.Header().Set("Location", s.url)
		w.WriteHeader(http.StatusTemporaryRedirect)
	case unavailable:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(text))
	}
}

// hijack writes what is left of a response and hangs up.
func hijack(w http.ResponseWriter, raw string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = conn.Write([]byte(raw))
	_ = conn.Close()
}

var shapes = []string{"with its length", "in chunks", "until the end", "as an event"}

// shapeOf is a whole HTTP response in one of the shapes.
func shapeOf(shape, text string) string {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	switch shape {
	case "in chunks":
		half := len(text) / 2
		return head + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, text[:half], len(text)-half, text[half:])
	case "until the end":
		return head + "Connection: close\r\n\r\n" + text
	case "as an event":
		event := "event: message\ndata: " + text + "\n\n"
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(event), event)
	}
	return head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(text), text)
}
