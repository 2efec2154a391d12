package aggregate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// patient is a source that fails for as long as it is told to, two sessions that
// are told of changes, and the operator's log.
type patient struct {
	*fake
	t   *testing.T
	agg *aggregate.Aggregate
	v   *aggregate.View
	ill atomic.Pointer[upstream.Error]

	mu    sync.Mutex
	heard map[string][]string // by session
	log   bytes.Buffer
}

func (p *patient) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(line)
}

// logged returns how often a message is in the log.
func (p *patient) logged(msg string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Count(p.log.String(), `"msg":"`+msg+`"`)
}

func newPatient(t *testing.T, l aggregate.Limits) *patient {
	p := &patient{t: t, heard: map[string][]string{}}
	p.fake = annotated(t, func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		if e := p.ill.Load(); e != nil {
			failed := *e
			failed.Upstream, failed.Tool = c.Upstream, c.Name
			return nil, &failed
		}
		return upstream.ParseResult([]byte(`{"content":[],"n":1e400,"_meta":{"own":1}}`))
	})
	var err error
	p.agg, err = aggregate.New([]aggregate.Member{limited(p.fake, l), member(newFake(t, "dwh", "query"))},
		aggregate.Options{Log: slog.New(slog.NewJSONHandler(p, nil))})
	if err != nil {
		t.Fatal(err)
	}
	p.v, _ = run(t, p.agg)
	names(t, p.v)
	for _, session := range []string{"a", "b"} {
		_, cancel := p.v.Subscribe(t.Context(), aggregate.Subscription{Principal: upstream.Local(), Session: session, Tell: func(n aggregate.Notice) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.heard[session] = append(p.heard[session], n.Method+" "+string(n.Params))
		}})
		t.Cleanup(cancel)
	}
	return p
}

func (p *patient) told(session string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := strings.Join(p.heard[session], "\n")
	p.heard[session] = nil
	return all
}

func (p *patient) call(session, tool string) answer {
	p.t.Helper()
	return callAs(p.t, p.v, &aggregate.Request{Principal: upstream.Local(), Session: session}, tool, `{}`)
}

// source is what bulkhead_sources tells a session of one source.
func (p *patient) source(session, name string) (s aggregate.SourceStatus) {
	p.t.Helper()
	a := callAs(p.t, p.v, &aggregate.Request{Principal: upstream.Local(), Session: session}, "bulkhead_sources", fmt.Sprintf(`{"source":%q}`, name))
	var st aggregate.Status
	if err := json.Unmarshal(a.Structured, &st); err != nil || len(st.Sources) != 1 {
		p.t.Fatalf("%v %s", err, a.Structured)
	}
	return st.Sources[0]
}

const (
	backFacts = `"awaySince":"2000-01-01T00:00:00Z","downForMs":%d,"recoveredAt":"2000-01-01T00:00:05Z","source":"crm",`
	back      = `notifications/message {"data":{` + backFacts + `"state":"up","was":"%s"},"level":"notice","logger":"bulkhead"}`
)

// Who was told that a source cannot be used is told once that it can: at once
// where there is a way, and in the first result that it gets of it.
func TestRecoveryIsTold(t *testing.T) {
	breaker := aggregate.Limits{Failures: 1, CoolDown: 4 * time.Second}
	for _, tt := range []struct {
		was    string
		ill    upstream.Error
		limits aggregate.Limits
		down   bool // the connection too, which then is made anew
		ms     int
	}{
		{"down", upstream.Error{Kind: upstream.Unavailable}, aggregate.Limits{}, true, 5000},
		{"circuit_open", upstream.Error{Kind: upstream.Unavailable}, breaker, false, 5000},
		{"needs_login", upstream.Error{Kind: upstream.NeedsLogin}, aggregate.Limits{}, false, 5000},
		{"frozen", upstream.Error{Kind: upstream.RateLimited, RetryAfter: 5100 * time.Millisecond}, aggregate.Limits{}, false, 5100},
	} {
		t.Run(tt.was, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPatient(t, tt.limits)
				p.ill.Store(&tt.ill)
				if tt.down {
					p.turn(upstream.Down)
				}
				if got := p.call("a", "crm_get"); !got.IsError {
					t.Fatal("no failure")
				}
				if tt.was != "frozen" { // where it would wait
					p.call("a", "crm_get")
				}
				if s := p.source("c", "crm"); string(s.Away) != tt.was || s.AwaySince != "2000-01-01T00:00:00Z" || s.RecoveredAt != "" {
					t.Errorf("%+v", s)
				}
				time.Sleep(5 * time.Second)
				p.ill.Store(nil)
				if tt.down {
					p.turn(upstream.Up)
					p.touch()
				} else if got := p.call("z", "crm_get"); got.IsError {
					t.Fatal(got.text())
				}
				if got, want := p.told("a"), fmt.Sprintf(back, tt.ms, tt.was); got != want {
					t.Errorf("%s, want %s", got, want)
				}
				first, second := p.call("a", "crm_get"), p.call("a", "crm_get")
				if got, want := string(first.Meta[aggregate.MetaRecovered]), fmt.Sprintf(`{`+backFacts+`"was":%q}`, tt.ms, tt.was); got != want || string(first.Meta["own"]) != "1" {
					t.Errorf("%s, want %s", got, want)
				}
				if len(second.Meta) != 1 || len(p.call("b", "crm_get").Meta) != 1 || p.told("a")+p.told("b") != "" {
					t.Error("it was told twice, or to somebody who never asked")
				}
				if got := p.call("c", "crm_get").Meta[aggregate.MetaRecovered]; got == nil {
					t.Error("who was told by bulkhead_sources does not hear of it")
				}
				if s := p.source("c", "crm"); s.Away != "" || s.RecoveredAt == "" || s.LastAnswered == "" || !strings.HasPrefix(s.Summary, "crm has answered again for ") {
					t.Errorf("%+v", s)
				}
				if away, back := p.logged("source away"), p.logged("source back"); away != 1 || back != 1 {
					t.Errorf("%d lines that it is away, %d that it is back", away, back)
				}
			})
		})
	}
}

// A source that asked for a login and answered other calls with failures since has
// not been away since then.
func TestALoginIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t, aggregate.Limits{Failures: 1, CoolDown: 5 * time.Second})
		p.ill.Store(&upstream.Error{Kind: upstream.NeedsLogin})
		p.call("a", "crm_get")
		time.Sleep(30 * time.Second)
		p.ill.Store(&upstream.Error{Kind: upstream.Unavailable})
		p.call("a", "crm_get")
		if got := p.call("a", "crm_get").text(); !strings.Contains(got, "its circuit is open") || strings.Contains(got, "away") {
			t.Error(got)
		}
		if s := p.source("a", "crm"); s.Away != aggregate.AwayCircuit || s.AwaySince != "2000-01-01T00:00:30Z" {
			t.Errorf("%+v", s)
		}
		if n := p.logged("source away"); n != 2 {
			t.Errorf("%d lines that it is away", n)
		}
	})
}

// Other settings are often what brings a source back: who was told of the outage
// before is told of its end.
func TestRecoveryByOtherSettingsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t, aggregate.Limits{Failures: 1, CoolDown: time.Hour})
		p.ill.Store(&upstream.Error{Kind: upstream.Unavailable})
		for range 2 {
			if got := p.call("a", "crm_get"); !got.IsError {
				t.Fatal("no failure")
			}
		}
		time.Sleep(5 * time.Second)
		m := member(annotated(t, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.TextResult("ok", false), nil
		}))
		m.Identity = "elsewhere"
		if err := p.agg.Swap([]aggregate.Member{m}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := p.told("a"), fmt.Sprintf(back, 5000, "circuit_open"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if got := p.call("a", "crm_get").Meta[aggregate.MetaRecovered]; got == nil {
			t.Error("the first answer does not say so")
		}
		time.Sleep(time.Minute)
		if again := p.call("a", "crm_get").Meta[aggregate.MetaRecovered]; again != nil || p.told("a")+p.told("b") != "" || p.logged("source back") != 1 {
			t.Error("it was told twice, or to somebody who never asked")
		}
	})
}

// A client that takes log messages with its requests hears of it in the next one,
// whatever that is for.
func TestRecoveryIsToldWithARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t, aggregate.Limits{})
		p.ill.Store(&upstream.Error{Kind: upstream.Unavailable})
		p.turn(upstream.Down)
		var heard []string
		who := upstream.Local()
		call := func(tool string) answer {
			r := &aggregate.Request{Principal: who, Modern: true, Back: upstream.Back{LogLevel: "info",
				Log: func(params json.RawMessage) { heard = append(heard, string(params)) }}}
			return callAs(t, p.v, r, tool, `{}`)
		}
		call("crm_get")
		time.Sleep(5 * time.Second)
		if call("dwh_query"); len(heard) > 0 {
			t.Error(heard)
		}
		p.ill.Store(nil)
		p.turn(upstream.Up)
		p.touch()
		who = upstream.NewPrincipal("idp", "ann") // who never asked for it
		if call("dwh_query"); len(heard) > 0 {
			t.Errorf("somebody else was told %q", heard)
		}
		who = upstream.Local()
		call("dwh_query")
		if got := call("crm_get"); len(heard) != 1 || !strings.Contains(heard[0], `"downForMs":5000,`) || got.Meta[aggregate.MetaRecovered] == nil {
			t.Errorf("%q, %s", heard, got.Meta)
		}
	})
}

// A source that comes and goes is announced every ten seconds at most, and at
// the end everybody knows.
func TestFlappingMakesNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t, aggregate.Limits{})
		for range 100 {
			p.ill.Store(&upstream.Error{Kind: upstream.NeedsLogin})
			p.call("a", "crm_get")
			p.call("b", "crm_get")
			time.Sleep(100 * time.Millisecond)
			p.ill.Store(nil)
			p.call("z", "crm_get")
			time.Sleep(200 * time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		for _, msg := range []string{"source away", "source back"} {
			if n := p.logged(msg); n < 3 || n > 5 {
				t.Errorf("%d times %q in 30 s", n, msg)
			}
		}
		if a := p.told("a"); strings.Count(a, "\n") > 4 || !strings.HasSuffix(a, `"logger":"bulkhead"}`) {
			t.Errorf("a was told %s", a)
		}
		if p.told("b") == "" || p.told("a") != "" {
			t.Error("b was not told, or a twice")
		}
	})
}

// What fails says of one tool, one call or one caller nothing of the source.
func TestWhatIsNoOutage(t *testing.T) {
	for _, e := range []upstream.Error{
		{Kind: upstream.Timeout, Sent: true}, {Kind: upstream.Denied}, {Kind: upstream.NotFound}, {Kind: upstream.InvalidArguments},
		{Kind: upstream.RateLimited, RetryAfter: time.Second}, {Kind: upstream.Unavailable, Sent: true},
		{Kind: upstream.UpstreamError, RPC: &upstream.RPCError{Code: -32000, Message: "x"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPatient(t, aggregate.Limits{Failures: 2, CoolDown: time.Second}) // the tool's circuit opens
			p.ill.Store(&e)
			for range 5 {
				p.call("a", "crm_get")
			}
			if s := p.source("a", "crm"); s.Away != "" || s.AwaySince != "" || p.logged("source away") != 0 {
				t.Errorf("%s: %+v", e.Kind, s)
			}
			time.Sleep(time.Minute)
			p.ill.Store(nil)
			if got := p.call("a", "crm_get"); len(got.Meta) != 1 || p.told("a") != "" {
				t.Errorf("%s: %s", e.Kind, got.Meta)
			}
		})
	}
}
