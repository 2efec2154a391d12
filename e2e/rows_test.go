package e2e_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// A proxy that nobody notices: what clients of each kind must find unchanged, or
// changed in just one way, whatever the upstream is. The rows:
//
//	 1 bytes of everything relayed      TestDifferential
//	 2 progress                         rowProgress
//	 3 cancellation                     rowCancel
//	 4 equal ids and tokens             rowCrossing
//	 5 asking in mid-call               rowStates, rowAnswers, rowNoAnswer, rowDeny
//	 6 merged lists                     rowMerge
//	 7 subscriptions                    rowSubscriptions, rowListChanges, rowGoodbye
//	 8 header fields after renaming     rowHeaders
//	 9 errors                           rowToolErrors, rowReadErrors
//	10 names                            rowNames; the limits of each host: aggregate/hosts_test.go
//	11 OAuth towards clients            TestClientsSignIn; internal/bearer, aggregate/inbound/auth_test.go
//	12 tokens towards upstreams         TestTokenRequests, TestUsersNeverCross, TestAccounts, TestConnectors; internal/cli/tokenaddress_test.go
//	13 trace context                    rowTrace
//	14 batches                          rowBatches
//	15 HTTP+SSE                         one of ways, in every row; aggregate/inbound/httpsse_test.go
//	16 in the time of the slowest       TestEightSources; aggregate/inbound/fire_test.go, mailbox_internal_test.go
//	17 restarts, lost sessions          rowRestart, rowForgotten
//	18 extensions                       rowTasks, rowTaskInput, rowApps
//	   logging                          rowLogging
var rows = map[string]func(t *testing.T, program string){
	"progress": rowProgress, "cancel": rowCancel, "crossing": rowCrossing, "logging": rowLogging,
	"states": rowStates, "answers": rowAnswers, "no answer": rowNoAnswer, "deny": rowDeny,
	"merge": rowMerge, "names": rowNames, "headers": rowHeaders, "trace": rowTrace, "batches": rowBatches,
	"tool errors": rowToolErrors, "read errors": rowReadErrors,
	"subscriptions": rowSubscriptions, "list changes": rowListChanges, "goodbye": rowGoodbye,
	"restart": rowRestart, "forgotten": rowForgotten,
	"tasks": rowTasks, "task input": rowTaskInput, "apps": rowApps,
}

func TestTransparent(t *testing.T) {
	t.Parallel()
	program := buildFixture(t)
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row(t, program)
		})
	}
}

// site is Bulkhead before the fixture, for any number of clients.
type site struct {
	t       *testing.T
	config  string
	program *proc  // it serves HTTP
	url     string // of its Streamable HTTP endpoint
}

const flatNames = "[server]\nnames = 'flat'\nlist_wait = '30s'\n"

// before has Bulkhead serve with a configuration.
func before(t *testing.T, config string) *site {
	t.Helper()
	p, url := serveHTTP(t, config)
	return &site{t, config, p, url}
}

// join connects a client. One over stdio has a Bulkhead of its own.
func (s *site) join(w way) *wire {
	s.t.Helper()
	return s.declaring(w, everything)
}

func (s *site) declaring(w way, caps string) *wire {
	s.t.Helper()
	c := s.connect(w, caps)
	c.hello()
	return c
}

// speaking connects a legacy client of some revision.
func (s *site) speaking(w way, version string) *wire {
	s.t.Helper()
	c := s.connect(w, everything)
	c.version = version
	if x := c.hello(); !strings.Contains(string(x.answer), version) {
		s.t.Errorf("%s, %s: %.300s", w, version, x.answer)
	}
	return c
}

func (s *site) connect(w way, caps string) (c *wire) {
	switch w.transport {
	case "stdio":
		c = start(s.t, s.config, nil, "serve").wire(w.modern(), caps)
	case "http":
		c = wireHTTP(s.t, s.url, w.modern(), caps)
	default:
		c = wireSSE(s.t, strings.TrimSuffix(s.url, "/mcp")+"/sse", caps)
	}
	c.reply = obliging
	return c
}

// eachUpstream runs a test before the fixture in each of some ways.
func eachUpstream(t *testing.T, program string, upstreams []way, test func(t *testing.T, s *site, upstream way)) {
	t.Helper()
	for _, upstream := range upstreams {
		t.Run(upstream.String()+" upstream", func(t *testing.T) {
			t.Parallel()
			test(t, before(t, flatNames+upstreamBy(t, program, upstream)), upstream)
		})
	}
}

// overHTTPBoth are upstreams that several Bulkheads can share.
var overHTTPBoth = []way{{"http", "legacy"}, {"http", "modern"}}

// call calls a tool and returns the result, or the error object.
func (w *wire) call(name, arguments string) reading {
	w.t.Helper()
	return w.converse(step{name: name, method: "tools/call", members: tool(name, arguments)})
}

// says calls a tool that has to answer, and returns the first text. What was
// heard before still counts.
func (w *wire) says(name, arguments string) string {
	w.t.Helper()
	result, err := w.begin(w.t.Context(), "tools/call", tool(name, arguments), "").result()
	if err != nil || at(result, "isError") == "true" {
		w.t.Errorf("%s %s: %v %.500s", name, arguments, err, result)
	}
	return firstText(result)
}

func firstText(result []byte) string {
	content, _ := rawjson.Get(result, "content")
	for item := range rawjson.Elements(content) {
		text, _ := rawjson.GetString(item, "text")
		return text
	}
	return ""
}

// at returns the value at a path of members, as text; "" if there is none.
func at(object []byte, path ...string) string {
	for _, name := range path {
		object, _ = rawjson.Get(object, name)
	}
	return string(object)
}

// result waits for the answer of a request and returns its member result.
func (f *flight) result() ([]byte, error) {
	x, err := f.wait(f.w.t.Context())
	if err != nil {
		return nil, err
	}
	result, ok := rawjson.Get(x.answer, "result")
	if !ok {
		return nil, errors.New(string(x.answer))
	}
	return result, nil
}

// listening starts the fixture on a port, which it may have had before.
func listening(t *testing.T, program string, port int, w way) *proc {
	t.Helper()
	flags := []string{"-" + w.transport, fmt.Sprintf("127.0.0.1:%d", port)}
	if w.transport == "http" {
		flags = append(flags, "-era", w.era)
	}
	cmd := exec.Command(program, flags...)
	cmd.Env = []string{raceOptions}
	p := launch(t, cmd, t.TempDir())
	if _, err := p.out.Read(make([]byte, 100)); err != nil {
		t.Fatalf("the fixture does not listen: %v\n%s", err, p.log)
	}
	return p
}
