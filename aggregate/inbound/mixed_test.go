package inbound_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// echoing is an upstream whose tools answer with their own arguments: look, which
// reads and is asked the same thing often, get and put, which read and write, and
// flaky, which fails every other time.
type echoing struct {
	id    upstream.ID
	calls atomic.Int64
}

func (e *echoing) Tools(context.Context) ([]upstream.Tool, error) {
	var all []upstream.Tool
	for name, hints := range map[string]string{"look": `"readOnlyHint":true`, "get": `"readOnlyHint":true`, "put": `"readOnlyHint":false`, "flaky": ``} {
		tool, err := upstream.ParseTool(e.id, fmt.Appendf(nil, `{"name":%q,"inputSchema":{"type":"object"},"annotations":{%s}}`, name, hints))
		if err != nil {
			return nil, err
		}
		all = append(all, tool)
	}
	return all, nil
}

func (e *echoing) Close() error { return nil }

func (e *echoing) Call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	n := e.calls.Add(1)
	switch {
	case n%64 == 0:
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return nil, &upstream.Error{Upstream: e.id, Tool: c.Name, Kind: upstream.Cancelled, Sent: true, Err: ctx.Err()}
		}
	case n%2 == 0: // another comes first
		runtime.Gosched()
	}
	if nonce, _ := rawjson.Get(c.Arguments, "call"); c.Name == "flaky" && len(nonce)%2 == 0 {
		return nil, &upstream.Error{Upstream: e.id, Tool: c.Name, Kind: upstream.UpstreamError, Sent: true, RPC: &upstream.RPCError{Code: 7, Message: "no " + rawjson.String(nonce)}}
	}
	return upstream.TextResult(string(c.Arguments), false), nil
}

// pipe is a client on stdio for many messages.
type pipe struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func (p pipe) send(texts ...string) {
	if _, err := io.WriteString(p.in, strings.Join(texts, "\n")+"\n"); err != nil {
		p.t.Error("send:", err)
	}
}

func (p pipe) recv() string {
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Error("recv:", err)
	}
	return line
}

// mixer is a client that makes calls of every sort, at most so many at once.
type mixer struct {
	t      *testing.T
	peer   peer
	who    string
	text   func(id, tool, args string) string // a call in the client's era
	dice   *rand.Rand
	last   int           // id
	places chan struct{} // one for each call that is waited for

	heard, failed atomic.Int64 // answers

	mu   sync.Mutex
	open map[int]string // calls without an answer: how it has to begin
	gave map[int]bool   // those given up: they may be answered, once
}

// round makes n calls, and one more behind whose answer nothing comes any more.
func (m *mixer) round(n int) {
	var hearing sync.WaitGroup
	last := m.last + n + 1
	hearing.Go(func() { m.hear(last) })
	for range n {
		m.places <- struct{}{}
		m.last++
		tool, args, want := m.pick()
		m.call(tool, args, want, m.dice.IntN(16) == 0)
	}
	for range cap(m.places) { // all are answered
		m.places <- struct{}{}
	}
	for range cap(m.places) {
		<-m.places
	}
	m.places <- struct{}{}
	m.last++
	m.call("crm_get", `{"end":1}`, `{"end":1}`, false)
	hearing.Wait()
}

// pick returns what to call next, and how the answer has to begin.
func (m *mixer) pick() (tool, args, want string) {
	source := []string{"crm", "erp", "dwh"}[m.dice.IntN(3)]
	args = fmt.Sprintf(`{"who":%q,"call":"%d","padding":"%s"}`, m.who, m.last, "xxxxxxxxxxxxxxxxxxxx"[:m.dice.IntN(20)])
	switch m.dice.IntN(4) {
	case 0:
		return source + "_get", args, args
	case 1:
		return source + "_put", args, args
	case 2: // the same thing often
		args = fmt.Sprintf(`{"who":%q,"topic":%d}`, m.who, m.dice.IntN(30))
		return source + "_look", args, args
	default:
		want = args
		if len(fmt.Sprintf(`"%d"`, m.last))%2 == 0 {
			want = "upstream_error: " + source + `: it answered "no ` + fmt.Sprint(m.last)
		}
		return source + "_flaky", args, want
	}
}

func (m *mixer) call(tool, args, want string, give bool) {
	id := fmt.Sprint(m.last)
	m.mu.Lock()
	m.open[m.last] = want
	if give {
		m.gave[m.last] = true
	}
	m.mu.Unlock()
	m.peer.send(m.text(id, tool, args))
	if give {
		m.peer.send(cancelled(id))
		<-m.places
	}
}

// hear takes answers until that to the last call.
func (m *mixer) hear(last int) {
	for {
		text := m.peer.recv()
		var a struct {
			ID     int
			Result struct{ Content []struct{ Text string } }
			Error  json.RawMessage
		}
		if err := json.Unmarshal([]byte(text), &a); err != nil || a.Error != nil || len(a.Result.Content) != 1 {
			m.t.Errorf("%s: %v in %.300s", m.who, err, text)
			panic("there is no point in going on") // whoever waits would wait for ever
		}
		m.mu.Lock()
		want, open := m.open[a.ID]
		gave := m.gave[a.ID]
		delete(m.open, a.ID)
		m.mu.Unlock()
		said := a.Result.Content[0].Text
		if !open || !strings.HasPrefix(said, want) && (!gave || !strings.HasPrefix(said, "cancelled")) {
			m.t.Errorf("%s: the answer to %d, of which %q is expected (open: %v): %.300s", m.who, a.ID, want, open, text)
		}
		m.heard.Add(1)
		if strings.HasPrefix(said, "upstream_error") {
			m.failed.Add(1)
		}
		if !gave {
			<-m.places
		}
		if a.ID == last {
			return
		}
	}
}

// Clients of both eras over all transports, using the same ids, read, write, ask
// for the same things, meet failures and give up, through the whole of layers:
// each call is answered once, to its own client, with what it asked; and nothing
// is left of them.
func TestMixedCalls(t *testing.T) {
	var members []aggregate.Member
	for _, id := range []upstream.ID{"crm", "erp", "dwh"} {
		members = append(members, aggregate.Member{ID: id, Adapter: &echoing{id: id}, Prefix: string(id), Identity: "test", Limits: aggregate.Limits{
			Concurrency: 16, Queue: 1000, Rate: 1e5, Burst: 1e5, Attempts: 3, Failures: 5, CoolDown: time.Second,
		}})
	}
	a, err := aggregate.New(members, aggregate.Options{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	v, _ := a.View("")
	if _, err := v.ListTools(t.Context(), &aggregate.Request{Principal: upstream.Local()}); err != nil {
		t.Fatal(err)
	}
	s, err := inbound.New(func(string) (inbound.Service, bool) { return v, true }, inbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	clients, wires := mixers(t, s)
	round := func() (bytes, goroutines int) {
		var talking sync.WaitGroup
		for _, c := range clients {
			share := *interleaved / 2 / len(wires)
			if _, many := c.peer.(pipe); !many {
				share /= 10
			}
			talking.Go(func() { c.round(share) })
		}
		talking.Wait()
		eventually(t, "all calls end", func() bool { return a.Status().Sources[0].InFlight == 0 })
		runtime.GC()
		runtime.GC() // what finalizers have let go
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		return int(mem.HeapAlloc), runtime.NumGoroutine()
	}
	bytes, goroutines := round()
	bytesNow, goroutinesNow := round()
	t.Logf("%d calls; after the first half and at the end %d and %d KB in the heap, %d and %d goroutines", *interleaved, bytes>>10, bytesNow>>10, goroutines, goroutinesNow)
	if more, most := bytesNow-bytes, 16<<20+100**interleaved/2; more > most { // the test itself remembers what it gave up
		t.Errorf("%d bytes more in the heap after the second half, which may be %d", more, most)
	}
	if goroutinesNow > goroutines+50 {
		t.Errorf("%d goroutines after the first half, %d after the second", goroutines, goroutinesNow)
	}
	for _, w := range wires {
		w.end()
	}
	var heard, failed, gave int
	for _, c := range clients {
		heard, failed, gave = heard+int(c.heard.Load()), failed+int(c.failed.Load()), gave+len(c.gave)
	}
	t.Logf("%d answers, %d of them failures; %d calls given up", heard, failed, gave)
	if heard < *interleaved*9/10 || failed < *interleaved/20 || gave < *interleaved/20 {
		t.Error("that is too few")
	}
}

// mixers returns the clients, and the conversations of those on stdio.
func mixers(t *testing.T, s *inbound.Server) (clients []*mixer, wires []*wire) {
	add := func(p peer, text func(id, tool, args string) string) {
		who := fmt.Sprint("client", len(clients))
		clients = append(clients, &mixer{t: t, peer: p, who: who, text: text, dice: rand.New(rand.NewPCG(9, uint64(len(clients)))),
			places: make(chan struct{}, 32), open: map[int]string{}, gave: map[int]bool{}})
	}
	for _, era := range []func(id, tool, args string) string{call, modernCall} {
		for range 3 {
			w := dial(t, s)
			wires = append(wires, w)
			p := pipe{t, w.in, w.out}
			if len(wires) <= 3 {
				p.send(initialize("2025-11-25"))
				p.recv()
			}
			add(p, era)
		}
	}
	for name, p := range peers(t, s, "{}") {
		if name != "stdio" {
			add(p, call)
		}
	}
	return clients, wires
}
