package mcpserver

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestExtensionsAreObjects(t *testing.T) {
	o := learnOffers([]byte(`{"capabilities":{"extensions":{"a":{"x":1e400},"b":true,"c":null,"d":[],"e":"s"}}}`))
	if len(o.extensions) != 1 || string(o.extensions["a"]) != `{"x":1e400}` {
		t.Errorf("the extensions are %s", o.extensions)
	}
}

// posted collects what is answered without a client.
type posted []string

func (p *posted) outlet() outlet {
	return outlet{
		post: func(msg []byte) { *p = append(*p, string(msg)) },
		send: func(context.Context, []byte) error { panic("nobody is to be asked") },
	}
}

func TestQuestionsWithoutACall(t *testing.T) {
	for _, c := range []struct {
		deny      bool
		msg, want string
	}{
		{false, `{"id":"r 1","method":"roots/list"}`, `{"jsonrpc":"2.0","id":"r 1","result":{"roots":[]}}`},
		{true, `{"id":1,"method":"roots/list"}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"not supported by this client"}}`},
		{false, `{"id":1,"method":"sampling/createMessage","params":{}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"no call is running, so there is nobody to ask"}}`},
		{false, `{"id":1,"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`},
		{true, `{"id":1,"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`},
		{false, `{"id":1,"method":"tasks/get"}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"not supported by this client"}}`},
		{false, `{"id":{},"method":"roots/list"}`, ""},
	} {
		d := newDesk(t.Context(), &Options{DenyAsk: c.deny, Log: slog.New(slog.DiscardHandler)})
		var p posted
		d.request(scan([]byte(c.msg)), []byte(c.msg), visit{}, p.outlet())
		d.close()
		if got := strings.Join(p, ""); got != c.want {
			t.Errorf("%s is answered %s, want %s", c.msg, got, c.want)
		}
	}
}

func TestAUserLingersAfterACallIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t.Context(), &Options{})
		defer d.close()
		of := func(who string) visit {
			return visit{call: &upstream.Call{Principal: upstream.NewPrincipal("test", who)}}
		}
		a, b := of("a"), of("b")
		d.enter(a)
		d.leave(a, true)
		d.enter(b)
		any := func(visit) bool { return true }
		if _, w := d.only(any); w != ambiguous {
			t.Errorf("right after it the answer is %d", w)
		}
		time.Sleep(lateTime + time.Second)
		if v, w := d.only(any); w != found || v != b {
			t.Errorf("in the end the answer is %d", w)
		}
		d.leave(b, false)
		if len(d.calls) != 0 || len(d.late) != 0 {
			t.Errorf("%d calls and %d users are left", len(d.calls), len(d.late))
		}
	})
}

func TestCallsWithoutASessionAreOfSeveralConversations(t *testing.T) {
	d := newDesk(t.Context(), &Options{})
	defer d.close()
	of := func(session string) visit {
		return visit{call: &upstream.Call{Principal: upstream.Local(), Session: session}}
	}
	for _, c := range []struct {
		session string
		want    whose
	}{{"", ambiguous}, {"s", found}} {
		a, b := of(c.session), of(c.session)
		d.enter(a)
		d.enter(b)
		if v, w := d.only(func(visit) bool { return true }); w != c.want || (w == found && v != a) {
			t.Errorf("of two calls of the session %q: %d, want %d", c.session, w, c.want)
		}
		d.leave(a, false)
		if v, w := d.only(func(visit) bool { return true }); w != found || v != b {
			t.Errorf("of one call of the session %q: %d", c.session, w)
		}
		d.leave(b, false)
	}
}

func TestNothingIsAskedAfterTheCall(t *testing.T) {
	d := newDesk(t.Context(), &Options{Log: slog.New(slog.DiscardHandler)})
	call := &upstream.Call{Back: upstream.Back{
		Capabilities: json.RawMessage(`{"roots":{}}`),
		Ask: func(context.Context, upstream.Question) (json.RawMessage, error) {
			t.Error("asked")
			return nil, nil
		},
	}}
	g := newGuest(t.Context(), call)
	g.leave()
	var p posted
	msg := []byte(`{"id":1,"method":"roots/list"}`)
	d.request(scan(msg), msg, visit{call: call, guest: g}, p.outlet())
	d.close()
	d.request(scan(msg), msg, visit{call: call, guest: newGuest(t.Context(), call)}, p.outlet())
	if len(p) != 2 || !strings.Contains(p[0], "has ended") || !strings.Contains(p[1], "being closed") {
		t.Errorf("answered %q", p)
	}
}

func TestOpenQuestionsAreBoundedInBytes(t *testing.T) {
	d := newDesk(t.Context(), &Options{Log: slog.New(slog.DiscardHandler)})
	var asked atomic.Int32
	call := &upstream.Call{Back: upstream.Back{
		Capabilities: json.RawMessage(`{"sampling":{}}`),
		Ask: func(ctx context.Context, _ upstream.Question) (json.RawMessage, error) {
			asked.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}}
	g := newGuest(t.Context(), call)
	var p posted
	half := maxAskingBytes/2 - 100
	for _, size := range []int{2 * maxAskingBytes, half, half, half} {
		msg := []byte(`{"id":1,"method":"sampling/createMessage","params":{"x":"` + strings.Repeat("x", size) + `"}}`)
		d.request(scan(msg), msg, visit{call: call, guest: g}, p.outlet())
	}
	d.close()
	g.leave()
	if asked.Load() > 2 || len(p) != 2 || !strings.Contains(p[0]+p[1], "more than 16 MiB") {
		t.Errorf("%d questions are asked, and refused %q", asked.Load(), p)
	}
}

func TestCallMeta(t *testing.T) {
	shared := modernMeta("v", []byte(`{}`))
	before := string(shared)
	p := &peer{modern: true, meta: shared[: len(shared) : len(shared)+0]}
	for range 2 {
		c := &upstream.Call{Back: upstream.Back{Capabilities: json.RawMessage(`{"roots":{}}`), Log: func(json.RawMessage) {}, LogLevel: "info"}}
		want := strings.TrimSuffix(before, "{}") + `{"roots":{}},"io.modelcontextprotocol/logLevel":"info","progressToken":3`
		if got := string(p.callMeta(c, 3, false)); got != want {
			t.Errorf("the members are %s, want %s", got, want)
		}
		if got := string(p.callMeta(&upstream.Call{}, 0, false)); got != before {
			t.Errorf("the members are %s, want %s", got, before)
		}
	}
}
