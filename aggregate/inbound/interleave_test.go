package inbound_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
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

var interleaved = flag.Int("calls", 10_000, "calls of TestInterleaving and TestMixedCalls")

// Many sessions over all transports in both eras use the same ids and tokens for
// calls that tell progress, log, ask and are cancelled at random. Everything
// that a call tells reaches its own client, in order, before its result, and each
// question gets the answer of the client that it was put to.
func TestInterleaving(t *testing.T) {
	svc := &scripted{fake: newFake()}
	s, err := inbound.New(func(string) (inbound.Service, bool) { return svc, true }, inbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var clients []*interleaver
	add := func(p peer, isModern bool) {
		clients = append(clients, &interleaver{t: t, peer: p, modern: isModern, who: fmt.Sprint("client", len(clients)), open: make(map[int]int)})
	}
	for range 2 {
		for _, p := range peers(t, s, everyCapability) {
			p.send(setLevel("0", "info"))
			p.recv()
			add(p, false)
		}
		add(dial(t, s), true)
		p := newHTTPPeer(serve(t, s))
		p.modern = true
		add(p, true)
	}
	var talking sync.WaitGroup
	for _, c := range clients {
		talking.Go(func() { c.talk(*interleaved / len(clients)) })
	}
	talking.Wait()
	eventually(t, "all calls end", func() bool { return svc.inside.Load() == 0 })
	if svc.asked.Load() == 0 || svc.crossed.Load() != 0 {
		t.Errorf("%d questions were answered, %d wrong", svc.asked.Load(), svc.crossed.Load())
	}
}

// scripted is a service whose calls tell as many things as their arguments say,
// numbered, and answer with how many there were.
type scripted struct {
	*fake
	inside, asked, crossed atomic.Int64
}

func (s *scripted) Handle(ctx context.Context, r *aggregate.Request) (json.RawMessage, error) {
	s.inside.Add(1)
	defer s.inside.Add(-1)
	args, _ := rawjson.Get(r.Params, "arguments")
	var call struct {
		Who     string
		Call, N int
		Seed    uint64
	}
	if err := json.Unmarshal(args, &call); err != nil {
		return nil, err
	}
	dice := rand.New(rand.NewPCG(call.Seed, 0))
	for i := range call.N {
		at := fmt.Sprintf(`{"who":%q,"call":%d,"step":%d}`, call.Who, call.Call, i)
		switch kind := dice.IntN(5); {
		case kind == 0 && r.Back.Ask != nil:
			got, err := r.Back.Ask(ctx, upstream.Question{Method: upstream.AskSampling, Params: json.RawMessage(`{"at":` + at + `}`)})
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			s.asked.Add(1)
			if err != nil || string(got) != `{"at":`+at+`}` {
				s.crossed.Add(1)
			}
		case kind < 3:
			r.Back.Progress(json.RawMessage(fmt.Sprintf(`{"progress":%d,"at":%s}`, i, at)))
		default:
			r.Back.Log(json.RawMessage(`{"level":"error","at":` + at + `}`))
		}
	}
	return json.RawMessage(fmt.Sprintf(`{"at":{"who":%q,"call":%d,"step":%d}}`, call.Who, call.Call, call.N)), nil
}

// interleaver is one client.
type interleaver struct {
	t      *testing.T
	peer   peer
	who    string
	modern bool
	open   map[int]int  // calls that are not answered: the step that comes next
	gave   map[int]bool // of them those that were cancelled
}

// talk makes n calls, some of them at once.
func (c *interleaver) talk(n int) {
	dice := rand.New(rand.NewPCG(uint64(n), uint64(len(c.who))))
	c.gave = make(map[int]bool)
	waiting := 0
	for next := 1; next <= n || waiting > 0; {
		if next <= n && waiting < 16 {
			c.open[next] = 0
			c.peer.send(c.call(next, dice))
			if dice.IntN(8) == 0 {
				c.gave[next] = true
				c.peer.send(cancelled(fmt.Sprint(next)))
			} else {
				waiting++
			}
			next++
			continue
		}
		if c.hear(c.peer.recv()) {
			waiting--
		}
		if c.t.Failed() {
			return
		}
	}
	// A cancellation may have overtaken its call on another connection.
	for p, ok := c.peer.(*httpPeer); ok && !c.modern && p.posts.Load() > 0; time.Sleep(time.Millisecond) {
		for n := range c.open {
			c.peer.send(cancelled(fmt.Sprint(n)))
		}
	}
}

func (c *interleaver) call(n int, dice *rand.Rand) string {
	args := fmt.Sprintf(`{"who":%q,"call":%d,"n":%d,"seed":%d}`, c.who, n, dice.IntN(6), dice.Uint32())
	id := fmt.Sprint(n)
	text := withToken(id, "custom", id, args, c.modern)
	if c.modern {
		text = strings.Replace(text, `"_meta":{`, `"_meta":{"io.modelcontextprotocol/logLevel":"info",`, 1)
	}
	return text
}

// hear takes a message and reports whether it is an answer that is waited for.
func (c *interleaver) hear(text string) bool {
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct {
			At            json.RawMessage
			ProgressToken int
		}
		Result struct{ At json.RawMessage }
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		c.t.Errorf("%s: %v", text, err)
		return false
	}
	if m.Method == "notifications/cancelled" {
		return false // of a question in a call that was cancelled
	}
	where := m.Params.At
	if m.Method == "" {
		where = m.Result.At
	}
	var at struct {
		Who        string
		Call, Step int
	}
	if err := json.Unmarshal(where, &at); err != nil {
		c.t.Errorf("%s: %v", text, err)
		return false
	}
	step, open := c.open[at.Call]
	if at.Who != c.who || !open || at.Step != step {
		c.t.Errorf("%s expects step %d of %d (%v): %s", c.who, step, at.Call, open, text)
		return false
	}
	c.open[at.Call]++
	switch m.Method {
	case "":
		delete(c.open, at.Call)
		if string(m.ID) != fmt.Sprint(at.Call) {
			c.t.Errorf("%s has the wrong id", text)
		}
		return !c.gave[at.Call]
	case "notifications/progress":
		if m.Params.ProgressToken != at.Call {
			c.t.Errorf("%s has the wrong token", text)
		}
	case upstream.AskSampling:
		c.peer.send(answering(string(m.ID), `"result":{"at":`+string(where)+`}`))
	}
	return false
}
