package mcpserver_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

// talker is the part of a fake server that asks and logs in the middle of a
// call, the same on every transport.
type talker struct {
	mu       sync.Mutex
	last     int
	waiting  map[string]chan string
	declared string   // the capabilities of initialize
	levels   []string // of logging/setLevel
	held     chan struct{}
}

// take takes what the client sends outside of calls.
func (k *talker) take(m *fakeMsg) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch m.Method {
	case "initialize":
		k.declared = string(m.Params.Capabilities)
	case "logging/setLevel":
		k.levels = append(k.levels, m.Params.Level)
	case "":
		ch, ok := k.waiting[string(m.ID)]
		delete(k.waiting, string(m.ID))
		if ok {
			ch <- string(m.Result) + string(m.Error)
		}
	}
}

// ask sends a request and returns its id and where the answer will be.
func (k *talker) ask(send func(string, ...any), method, params string) (string, <-chan string) {
	ch := make(chan string, 1)
	k.mu.Lock()
	k.last++
	id := fmt.Sprintf(`"q %d"`, k.last)
	if k.waiting == nil {
		k.waiting = map[string]chan string{}
	}
	k.waiting[id] = ch
	k.mu.Unlock()
	send(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":%s}`, id, method, params)
	return id, ch
}

// gate is where "hold" waits.
func (k *talker) gate() chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		k.held = make(chan struct{}, 1)
	}
	return k.held
}

func within(ch <-chan string, d time.Duration) string {
	select {
	case s := <-ch:
		return s
	case <-time.After(d):
		return "no answer"
	}
}

// run carries out a call and returns its text. send is the way to the client
// that belongs to the call, die ends the connection.
func (k *talker) run(m *fakeMsg, send func(string, ...any), die func()) string {
	say := m.Params.Arguments.Text
	form := fmt.Sprintf(`{"message":%q,"requestedSchema":{"type":"object","properties":{}}}`, say)
	switch m.Params.Name {
	case "ask": // as often as ms says, all at once
		var answers []<-chan string
		for range max(m.Params.Arguments.MS, 1) {
			_, ch := k.ask(send, "elicitation/create", form)
			answers = append(answers, ch)
		}
		var all []string
		for _, ch := range answers {
			all = append(all, within(ch, hanging))
		}
		return strings.Join(all, " ")
	case "roots":
		_, ch := k.ask(send, "roots/list", `{}`)
		return within(ch, hanging)
	case "raw": // the request is the text
		_, ch := k.ask(send, "sampling/createMessage", say)
		return within(ch, hanging)
	case "withdraw":
		id, ch := k.ask(send, "elicitation/create", form)
		time.Sleep(200 * time.Millisecond)
		send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, id)
		return within(ch, 2*time.Second)
	case "die":
		k.ask(send, "elicitation/create", form)
		time.Sleep(200 * time.Millisecond)
		die()
		time.Sleep(500 * time.Millisecond) // nothing is said any more
	case "hold": // says that it runs, then waits for "release"
		send("%s", progressOf(m, 0))
		select {
		case <-k.gate():
		case <-time.After(hanging):
		}
	case "release":
		k.gate() <- struct{}{}
	case "log":
		for level := range strings.FieldsSeq(say) {
			send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":%q,"data":{"n":1e400,"of":%q}}}`, level, say)
		}
	case "declared":
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.declared + " " + strings.Join(k.levels, " ")
	}
	return "done"
}

// talkers are the transports of the legacy era that a talker is reached by.
// Those called shared have one channel for all calls.
func talkers() map[string]func(t *testing.T, o mcpserver.Options) *mcpserver.Adapter {
	return map[string]func(t *testing.T, o mcpserver.Options) *mcpserver.Adapter{
		"http": func(t *testing.T, o mcpserver.Options) *mcpserver.Adapter {
			l := &legacy{}
			l.onCall = func(w http.ResponseWriter, _ *http.Request, m *fakeMsg) bool {
				sse(w)
				var mu sync.Mutex
				send := func(format string, args ...any) {
					mu.Lock()
					defer mu.Unlock()
					fmt.Fprintf(w, "data: "+format+"\n\n", args...)
					w.(http.Flusher).Flush()
				}
				res := l.talk.run(m, send, func() { panic(http.ErrAbortHandler) })
				send(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, textResult(res))
				return true
			}
			return talking(t, newHTTP(t, serve(t, l).URL, o))
		},
		"shared stdio": func(t *testing.T, o mcpserver.Options) *mcpserver.Adapter { return talking(t, newFake(t, "talks", o)) },
		"shared get":   talksOnGet,
		"shared sse": func(t *testing.T, o mcpserver.Options) *mcpserver.Adapter {
			var k talker
			var running sync.WaitGroup
			t.Cleanup(running.Wait)
			h := &older{talk: &k, onCall: func(s *olderStream, m *fakeMsg) bool {
				running.Go(func() { s.result(m.ID, textResult(k.run(m, s.message, s.end))) })
				return true
			}}
			return talking(t, newSSE(t, serve(t, h).URL+"/sse", o))
		},
	}
}

// talksOnGet is a server that says everything but answers on the stream of the
// session.
func talksOnGet(t *testing.T, o mcpserver.Options) *mcpserver.Adapter {
	stream, open := make(chan string), make(chan struct{})
	l := &legacy{}
	send := func(format string, args ...any) {
		select {
		case stream <- fmt.Sprintf(format, args...):
		case <-time.After(hanging):
		}
	}
	l.onGet = func(w http.ResponseWriter, r *http.Request) {
		sse(w)
		close(open)
		for {
			select {
			case msg := <-stream:
				fmt.Fprintf(w, "data: %s\n\n", msg)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
	l.onCall = func(w http.ResponseWriter, _ *http.Request, m *fakeMsg) bool {
		<-open
		res := l.talk.run(m, send, func() { panic(http.ErrAbortHandler) })
		time.Sleep(100 * time.Millisecond) // the two streams have no order among them
		answerJSON(w, m.ID, textResult(res))
		return true
	}
	return talking(t, newHTTP(t, serve(t, l).URL, o))
}

func talking(t *testing.T, a *mcpserver.Adapter) *mcpserver.Adapter {
	t.Helper()
	watch(t, a)
	return a
}

// everywhere runs a test on every transport of the legacy era.
func everywhere(t *testing.T, test func(t *testing.T, start func(o mcpserver.Options) *mcpserver.Adapter, shared bool)) {
	for name, start := range talkers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(o mcpserver.Options) *mcpserver.Adapter {
				o.Era = mcpserver.Legacy // a busy machine must not slow the probe
				return start(t, o)
			}, strings.HasPrefix(name, "shared"))
		})
	}
}
