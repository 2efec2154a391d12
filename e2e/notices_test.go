package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	watched      = "test://watched-resource"
	noteUpdated  = "notifications/resources/updated"
	subscription = "io.modelcontextprotocol/subscriptionId"
)

// hear opens what a client hears of changes through: for a modern client a
// subscription with this filter, for a legacy one over Streamable HTTP the
// stream of its session.
func (s *site) hear(ctx context.Context, c *wire, w way, filter string) *flight {
	s.t.Helper()
	if !w.modern() {
		if w.transport == "http" {
			c.listen(s.url)
		}
		return nil
	}
	f := c.begin(ctx, "subscriptions/listen", `"notifications":`+filter, "")
	const ack = "notifications/subscriptions/acknowledged"
	if got := c.told(ack); at(got, "params", "_meta", subscription) != f.id || at(got, "params", "notifications") != filter {
		s.t.Errorf("%s: acknowledged by %s", w, got)
	}
	return f
}

// subscriber is a client that has subscribed to the watched resource.
type subscriber struct {
	*wire
	w      way
	listen *flight
	leave  func()
}

func (s *site) subscriber(w way) *subscriber {
	s.t.Helper()
	c := s.join(w)
	ctx, cancel := context.WithCancel(s.t.Context())
	out := &subscriber{wire: c, w: w}
	out.listen = s.hear(ctx, c, w, fmt.Sprintf(`{"resourceSubscriptions":[%q]}`, watched))
	out.leave = func() {
		defer cancel()
		if !w.modern() {
			c.succeeds("resources/unsubscribe", fmt.Sprintf(`"uri":%q`, watched))
		} else if w.transport == "stdio" {
			_ = c.put(ctx, fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, out.listen.id), nil)
		}
	}
	if !w.modern() {
		c.succeeds("resources/subscribe", fmt.Sprintf(`"uri":%q`, watched))
	}
	return out
}

func (w *wire) succeeds(method, members string) {
	w.t.Helper()
	if _, err := w.begin(w.t.Context(), method, members, "").result(); err != nil {
		w.t.Errorf("%s %s: %v", method, members, err)
	}
}

// updates waits for so many updates, and that there are no more; then it counts
// from none again.
func (b *subscriber) updates(want int) {
	b.t.Helper()
	eventually(func() bool { return len(b.all(noteUpdated)) >= want })
	got := b.all(noteUpdated)
	if len(got) != want {
		b.t.Errorf("%s: told %q, want %d", b.w, got, want)
	}
	b.right(got)
}

// updated waits for an update. After a source has been away there may be more
// than one: each way by which one may have been lost is made up for.
func (b *subscriber) updated() {
	b.t.Helper()
	if !eventually(func() bool { return len(b.all(noteUpdated)) > 0 }) {
		b.t.Errorf("%s: told nothing", b.w)
	}
	b.right(b.all(noteUpdated))
}

// right checks what updates say, and counts from none again.
func (b *subscriber) right(got [][]byte) {
	b.t.Helper()
	for _, text := range got {
		tag := ""
		if b.w.modern() {
			tag = b.listen.id
		}
		if at(text, "params", "uri") != fmt.Sprintf("%q", watched) || at(text, "params", "_meta", subscription) != tag {
			b.t.Errorf("%s: told %s", b.w, text)
		}
	}
	b.forget()
}

// Who has subscribed to a resource hears of its changes, and nobody else. Its
// source is asked once for all, until the last has left.
func rowSubscriptions(t *testing.T, program string) {
	shared := []way{{"http", "legacy"}, {"http", "modern"}, {"sse", "legacy"}}
	eachUpstream(t, program, []way{{"http", "legacy"}, {"http", "modern"}, {"sse", "legacy"}}, func(t *testing.T, s *site, _ way) {
		actor := s.join(way{"http", "legacy"})
		upstreamHas := func(n string) {
			t.Helper()
			if !eventually(func() bool { return actor.says("odd_subscribers", `{}`) == n }) {
				t.Errorf("the upstream has %s subscribers, want %s", actor.says("odd_subscribers", `{}`), n)
			}
		}
		var staying, leaving, idle []*subscriber
		for _, w := range shared {
			staying, leaving = append(staying, s.subscriber(w)), append(leaving, s.subscriber(w))
			other := &subscriber{wire: s.join(w), w: w}
			other.listen = s.hear(t.Context(), other.wire, w, `{"toolsListChanged":true}`)
			idle = append(idle, other)
		}
		upstreamHas("1")
		change := func(hear, deaf []*subscriber) {
			t.Helper()
			actor.says("odd_update", `{}`)
			for _, b := range hear {
				b.updates(1)
			}
			time.Sleep(150 * time.Millisecond) // what is not to come
			for _, b := range deaf {
				b.updates(0)
			}
			for _, b := range hear {
				b.updates(0)
			}
		}
		change(append(staying[:3:3], leaving...), idle)
		for _, b := range leaving {
			b.leave()
		}
		time.Sleep(50 * time.Millisecond) // a closed stream is no message
		upstreamHas("1")
		change(staying, append(idle, leaving...))
		for _, b := range staying {
			b.leave()
		}
		upstreamHas("0")
		change(nil, append(idle, staying...))
	})
	for _, era := range []string{"legacy", "modern"} {
		t.Run("stdio, "+era, func(t *testing.T) {
			t.Parallel()
			s := before(t, flatNames+upstreamBy(t, program, way{"stdio", era}))
			for _, w := range []way{{"stdio", "legacy"}, {"stdio", "modern"}} {
				b := s.subscriber(w)
				b.begin(t.Context(), "tools/call", tool("odd_update", `{}`), "")
				b.updates(1)
				b.leave()
				if !eventually(func() bool { return b.says("odd_subscribers", `{}`) == "0" }) {
					t.Errorf("%s: it is not let go", w)
				}
			}
		})
	}
}

// A changed list is told once to all that want to know, and is changed then.
func rowListChanges(t *testing.T, program string) {
	eachUpstream(t, program, ways, func(t *testing.T, s *site, _ way) {
		actor := s.join(way{"http", "legacy"})
		clients := map[way]*wire{}
		for _, w := range ways {
			if w.transport == "stdio" {
				continue // it has an upstream of its own
			}
			clients[w] = s.join(w)
			s.hear(t.Context(), clients[w], w, `{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}`)
		}
		for _, c := range clients { // the first lists may be announced too, but not after they were seen
			for kind, list := range map[string]string{"tools": "test_simple_text", "prompts": "test_simple_prompt", "resources": "test://static-text"} {
				if !eventually(func() bool {
					x, err := c.begin(t.Context(), kind+"/list", "", "").result()
					return err == nil && strings.Contains(string(x), list)
				}) {
					t.Errorf("no %s", kind)
				}
			}
		}
		time.Sleep(300 * time.Millisecond)
		for _, c := range clients {
			c.forget()
		}
		for kind, list := range map[string]string{"tools": "test_dynamic_tool", "prompts": "test_dynamic_prompt", "resources": "test://dynamic"} {
			method := "notifications/" + kind + "/list_changed"
			actor.says("odd_change", fmt.Sprintf(`{"kind":%q}`, kind))
			for w, c := range clients {
				c.told(method)
				if x, err := c.begin(t.Context(), kind+"/list", "", "").result(); err != nil || !strings.Contains(string(x), list) {
					t.Errorf("%s: %s is not listed: %v", w, list, err)
				}
			}
		}
		time.Sleep(200 * time.Millisecond)
		for w, c := range clients {
			for _, kind := range []string{"tools", "prompts", "resources"} {
				if got := c.all("notifications/" + kind + "/list_changed"); len(got) != 1 {
					t.Errorf("%s: told %d times: %q", w, len(got), got)
				}
			}
		}
	})
}

// When Bulkhead stops, a subscription ends with a result (MCP 2026-07-28,
// subscriptions, §Ending).
func rowGoodbye(t *testing.T, program string) {
	for _, upstream := range overHTTPBoth {
		for _, w := range modernClients {
			s := before(t, flatNames+upstreamBy(t, program, upstream))
			p := s.program
			var c *wire
			if w.transport == "stdio" {
				p = start(t, s.config, nil, "serve")
				c = p.wire(true, everything)
			} else {
				c = s.connect(w, everything)
			}
			c.hello()
			f := s.hear(t.Context(), c, w, fmt.Sprintf(`{"toolsListChanged":true,"resourceSubscriptions":[%q]}`, watched))
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			result, err := f.result()
			if err != nil || at(result, "resultType") != `"complete"` || at(result, "_meta", subscription) != f.id {
				t.Errorf("%s: %v %s", w, err, result)
			}
			p.wait()
		}
	}
}
