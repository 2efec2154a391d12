package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// counted is an upstream that answers with how many calls it has had.
type counted struct {
	*fake
	oracle
	fails error // what it answers instead
	takes time.Duration
}

// remembering runs one counted upstream "crm" whose annotations are trusted.
func remembering(t *testing.T, c aggregate.Cache) (*aggregate.View, *counted, *aggregate.Aggregate) {
	t.Helper()
	s := &counted{}
	s.fake = annotated(t, s.answer)
	m := member(s.fake)
	m.Limits.TrustAnnotations, m.Cache = true, c
	a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	names(t, v)
	synctest.Wait()
	return v, s, a
}

func (s *counted) answer(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	defer s.enter(c)()
	n := s.arrivals()
	s.oracle.mu.Lock()
	fails, takes := s.fails, s.takes
	s.oracle.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, upstream.AsError(c.Upstream, c.Name, ctx.Err())
	}
	if fails != nil {
		return nil, fails
	}
	return upstream.TextResult(fmt.Sprint(n), false), nil
}

func (s *counted) set(takes time.Duration, fails error) {
	s.oracle.mu.Lock()
	defer s.oracle.mu.Unlock()
	s.takes, s.fails = takes, fails
}

// heard is what a client reads of an answer: its texts, and what its _meta says of
// memory.
func heard(a answer) string {
	var out []string
	for _, item := range a.Content {
		out = append(out, item.Text)
	}
	if raw, ok := a.Meta[aggregate.MetaCache]; ok {
		var facts struct {
			State string
			AgeMs int64
			Error struct{ Code, Source string }
		}
		_ = json.Unmarshal(raw, &facts) // nothing shows in the test
		out = append(out, strings.TrimSpace(fmt.Sprint(facts.State, " ", facts.AgeMs, " ", facts.Error.Code, facts.Error.Source)))
	}
	return strings.Join(out, "; ")
}

func expect(t *testing.T, v *aggregate.View, tool, arguments, want string) {
	t.Helper()
	if got := heard(call(t, v, tool, arguments)); got != want {
		t.Errorf("%s %s: %s, want %s", tool, arguments, got, want)
	}
}

func TestAnswersAreGivenAgainForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, s, _ := remembering(t, aggregate.Cache{TTL: 10 * time.Second})
		expect(t, v, "crm_get", `{"a":1,"b":[1,2]}`, "1")
		time.Sleep(4 * time.Second)
		expect(t, v, "crm_get", ` { "b" : [ 1, 2 ], "a":1}`, "1; fresh 4000")
		expect(t, v, "crm_get", `{"a":1,"b":[2,1]}`, "2")
		expect(t, v, "crm_get", `{"a":1.0,"b":[1,2]}`, "3")
		time.Sleep(6 * time.Second)
		expect(t, v, "crm_get", `{"a":1,"b":[1,2]}`, "4")
		if n := s.arrivals(); n != 4 {
			t.Errorf("%d calls", n)
		}
	})
}

// What is out of date is given at once, with its age, and read anew once behind
// it.
func TestStaleAnswersAreRenewedBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, s, a := remembering(t, aggregate.Cache{TTL: 10 * time.Second, Stale: time.Minute})
		expect(t, v, "crm_get", `{}`, "1")
		s.set(3*time.Second, nil)
		time.Sleep(42 * time.Second)
		const stale = "[crm: this answer is 42 s old; a newer one is being fetched]; stale 42000"
		began := time.Now()
		for range 5 {
			expect(t, v, "crm_get", `{}`, "1; "+stale)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("answered after %s", took)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		expect(t, v, "crm_get", `{}`, "2; fresh 0")
		if n := s.arrivals(); n != 2 {
			t.Errorf("renewed %d times", n-1)
		}
		if c := a.Status().Sources[0].Load.Cache; *c != (aggregate.CacheStatus{Entries: 1, Bytes: c.Bytes, Hits: 6, StaleHits: 5}) || c.Bytes < 40 {
			t.Errorf("%+v", *c)
		}
		time.Sleep(70 * time.Second)
		began = time.Now()
		expect(t, v, "crm_get", `{}`, "3")
		if time.Since(began) != 3*time.Second {
			t.Error("what is too old is given")
		}
	})
}

// While the source cannot be asked, the old answer is given with the reason; what
// says something of the answer itself ends it.
func TestStaleAnswersWhileTheSourceFails(t *testing.T) {
	for kind, want := range map[upstream.Kind]string{
		upstream.Unavailable: "1; [crm: this answer is 20 s old; the source could not be asked anew: unavailable: it is away]; stale 20000 unavailablecrm",
		upstream.Timeout:     "1; [crm: this answer is 20 s old; the source could not be asked anew: timeout: it is away]; stale 20000 timeoutcrm",
		upstream.RateLimited: "1; [crm: this answer is 20 s old; the source could not be asked anew: rate_limited: it is away]; stale 20000 rate_limitedcrm",
		upstream.Overloaded:  "1; [crm: this answer is 20 s old; the source could not be asked anew: overloaded: it is away]; stale 20000 overloadedcrm",
		// The source's own words were for one caller.
		upstream.UpstreamError:    "1; [crm: this answer is 20 s old; the source could not be asked anew: upstream_error: the source answered with a failure]; stale 20000 upstream_errorcrm",
		upstream.NeedsLogin:       "needs_login: ",
		upstream.Denied:           "denied: ",
		upstream.NotFound:         "not_found: ",
		upstream.InvalidArguments: "invalid_arguments: ",
		upstream.Internal:         "internal: ",
	} {
		synctest.Test(t, func(t *testing.T) {
			v, s, _ := remembering(t, aggregate.Cache{TTL: 10 * time.Second, Stale: time.Minute})
			expect(t, v, "crm_get", `{}`, "1")
			time.Sleep(20 * time.Second)
			e := &upstream.Error{Upstream: "crm", Tool: "get", Kind: kind, Public: "it is away"}
			if kind == upstream.UpstreamError {
				e.RPC = &upstream.RPCError{Code: 7, Message: "secret of one caller"}
			}
			s.set(0, e)
			expect(t, v, "crm_get", `{}`, "1; [crm: this answer is 20 s old; a newer one is being fetched]; stale 20000")
			synctest.Wait()
			if got := heard(call(t, v, "crm_get", `{}`)); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s", kind, got)
			}
			synctest.Wait()
			s.set(0, nil)
			time.Sleep(40 * time.Second) // that of a rate limit comes late
			call(t, v, "crm_get", `{}`)
			synctest.Wait()
			if got := heard(call(t, v, "crm_get", `{}`)); !strings.HasSuffix(got, "; fresh 0") {
				t.Errorf("%s: after it came back: %s", kind, got)
			}
		})
	}
}

// An open circuit and a full queue cost no answer that is kept, and what is
// answered from memory costs no quota.
func TestMemoryStandsOutsideTheGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &counted{}
		s.fake = annotated(t, s.answer)
		m := limited(s.fake, aggregate.Limits{Concurrency: 1, Rate: 0.001, Burst: 2, Failures: 1, CoolDown: time.Hour, Attempts: 3, TrustAnnotations: true})
		m.Cache = aggregate.Cache{TTL: time.Minute, Stale: time.Hour}
		v, _ := start(t, aggregate.Options{}, m)
		names(t, v)
		synctest.Wait()
		expect(t, v, "crm_get", `{}`, "1")
		s.set(30*time.Second, &upstream.Error{Upstream: "crm", Tool: "get", Kind: upstream.UpstreamError, Sent: false})
		var w sync.WaitGroup
		w.Go(func() { call(t, v, "crm_get", `{"other":1}`) })
		synctest.Wait()
		for range 10 { // the only place is taken
			expect(t, v, "crm_get", `{}`, "1; fresh 0")
		}
		w.Wait()
		time.Sleep(31 * time.Second) // the circuit is open and the quota used up
		call(t, v, "crm_get", `{}`)
		synctest.Wait()
		got := heard(call(t, v, "crm_get", `{}`))
		if !strings.HasPrefix(got, "1; [crm: this answer is 61 s old; the source could not be asked anew: unavailable: its circuit is open") {
			t.Error(got)
		}
		if n := s.arrivals(); n != 2 {
			t.Errorf("%d calls", n)
		}
	})
}

// A result is cut for the one who asks, each time: what is kept is whole.
func TestShapingStandsOutsideMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := annotated(t, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.TextResult(strings.Repeat("x", 5_000), false), nil
		})
		m := limited(f, aggregate.Limits{TrustAnnotations: true})
		m.Cache.TTL = time.Minute
		a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{MaxResult: 2_000})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		names(t, v)
		handles := map[string]bool{}
		for _, who := range []string{"alice", "bob", "alice"} {
			got := callAs(t, v, &aggregate.Request{Principal: upstream.NewPrincipal("x", who)}, "crm_get", `{}`)
			last := got.Content[len(got.Content)-1].Text
			if !strings.HasPrefix(last, "[truncated: crm: ") {
				t.Fatal(last)
			}
			handles[last] = true
		}
		if len(handles) != 3 {
			t.Errorf("%d handles for three answers", len(handles))
		}
	})
}

// Renewals end with the member.
func TestRenewalsEndWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &counted{}
		s.fake = annotated(t, s.answer)
		m := limited(s.fake, aggregate.Limits{TrustAnnotations: true})
		m.Cache = aggregate.Cache{TTL: time.Second, Stale: time.Hour}
		v, stop := start(t, aggregate.Options{}, m)
		names(t, v)
		synctest.Wait()
		expect(t, v, "crm_get", `{}`, "1")
		time.Sleep(2 * time.Second)
		s.set(time.Hour, nil)
		call(t, v, "crm_get", `{}`)
		synctest.Wait()
		began := time.Now()
		stop()
		if s.oracle.mu.Lock(); s.now != 0 || time.Since(began) > time.Second {
			t.Errorf("%d renewals are left after %s", s.now, time.Since(began))
		}
		s.oracle.mu.Unlock()
		expect(t, v, "crm_get", `{}`, "1; [crm: this answer is 2 s old; a newer one is being fetched]; stale 2000")
	})
}

// A renewal that hangs is given up like any other call.
func TestRenewalsHaveADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, s, _ := remembering(t, aggregate.Cache{TTL: time.Second, Stale: time.Hour})
		expect(t, v, "crm_get", `{}`, "1")
		time.Sleep(2 * time.Second)
		s.set(time.Hour, nil)
		call(t, v, "crm_get", `{}`)
		time.Sleep(51 * time.Second)
		const want = "1; [crm: this answer is 53 s old; the source could not be asked anew: timeout: no answer within 50s, the time a call may take]; stale 53000 timeoutcrm"
		expect(t, v, "crm_get", `{}`, want)
	})
}

// Nobody is answered with what another asked for.
func TestUsersAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, _, _ := remembering(t, aggregate.Cache{TTL: time.Minute})
		as := func(who, want string) {
			t.Helper()
			r := &aggregate.Request{Principal: upstream.NewPrincipal("x", who)}
			if got := heard(callAs(t, v, r, "crm_get", `{}`)); got != want {
				t.Errorf("%s: %s, want %s", who, got, want)
			}
		}
		as("alice", "1")
		as("bob", "2")
		as("alice", "1; fresh 0")
		as("bob", "2; fresh 0")
	})
}

// Only final, good answers of what is known to read are kept.
func TestWhatIsNotKept(t *testing.T) {
	final := func(raw string) handler {
		return func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.ParseResult([]byte(raw))
		}
	}
	typed := func(typ upstream.ResultType) handler {
		return func(context.Context, *upstream.Call) (*upstream.Result, error) {
			res, err := upstream.ParseResult([]byte(`{"resultType":"x","task":{"taskId":"1"}}`))
			res.Type = typ
			return res, err
		}
	}
	all := aggregate.Cache{TTL: time.Hour, Stale: time.Hour}
	trust := aggregate.Limits{TrustAnnotations: true}
	for name, tt := range map[string]struct {
		tool   string
		limits aggregate.Limits
		cache  aggregate.Cache
		says   aggregate.Hints
		answer handler
		kept   bool
	}{
		"a trusted read":           {"get", trust, all, aggregate.Hints{}, final(`{"content":[]}`), true},
		"the operator's word":      {"act", aggregate.Limits{}, all, aggregate.Hints{ReadOnly: new(true)}, final(`{"content":[]}`), true},
		"a tool's own time":        {"get", trust, aggregate.Cache{Tools: map[string]time.Duration{"get": time.Hour}}, aggregate.Hints{}, final(`{"content":[]}`), true},
		"a tool's own and nothing": {"get", trust, aggregate.Cache{TTL: -1, Tools: map[string]time.Duration{"get": time.Hour}}, aggregate.Hints{}, final(`{"content":[]}`), true},
		"a word against it":        {"get", trust, all, aggregate.Hints{ReadOnly: new(false)}, final(`{"content":[]}`), false},
		"no trust":                 {"get", aggregate.Limits{}, all, aggregate.Hints{}, final(`{"content":[]}`), false},
		"idempotent":               {"act", trust, all, aggregate.Hints{Idempotent: new(true)}, final(`{"content":[]}`), false},
		"nothing said":             {"act", trust, all, aggregate.Hints{}, final(`{"content":[]}`), false},
		"no time":                  {"get", trust, aggregate.Cache{}, aggregate.Hints{}, final(`{"content":[],"ttlMs":1000,"resultType":"complete"}`), false},
		"nothing at all":           {"get", trust, aggregate.Cache{TTL: -1}, aggregate.Hints{}, final(`{"content":[]}`), false},
		"not this tool":            {"get", trust, aggregate.Cache{TTL: time.Hour, Tools: map[string]time.Duration{"get": 0}}, aggregate.Hints{}, final(`{"content":[]}`), false},
		"isError":                  {"get", trust, all, aggregate.Hints{}, final(`{"content":[],"isError":true}`), false},
		"an error":                 {"get", trust, all, aggregate.Hints{}, failing(upstream.Error{Kind: upstream.NotFound}), false},
		"questions":                {"get", trust, all, aggregate.Hints{}, typed(upstream.InputRequired), false},
		"a task":                   {"get", trust, all, aggregate.Hints{}, typed(upstream.TaskCreated), false},
		"with gaps": {"get", trust, all, aggregate.Hints{}, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return &upstream.Result{Raw: []byte(`{"content":[]}`), Gaps: true}, nil
		}, false},
		"more than a quarter": {"get", trust, all, aggregate.Hints{}, final(`{"content":[],"x":"` + strings.Repeat("x", 300_000) + `"}`), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var o oracle
				f := annotated(t, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
					defer o.enter(c)()
					return tt.answer(ctx, c)
				})
				m := limited(f, tt.limits)
				m.Cache, m.Override = tt.cache, map[string]aggregate.Hints{tt.tool: tt.says}
				v, _ := start(t, aggregate.Options{CacheSize: 1 << 20}, m)
				names(t, v)
				synctest.Wait()
				for range 2 {
					call(t, v, "crm_"+tt.tool, `{}`)
				}
				if n := o.arrivals(); (n == 1) != tt.kept {
					t.Errorf("%d calls", n)
				}
			})
		})
	}
}

// An answer for which somebody was asked something is that one's alone.
func TestAnswersToQuestionsAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o oracle
		f := annotated(t, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			defer o.enter(c)()
			return elicit(ctx, c)
		})
		m := limited(f, aggregate.Limits{TrustAnnotations: true})
		m.Cache.TTL = time.Hour
		v, _ := start(t, aggregate.Options{}, m)
		names(t, v)
		for i := range 2 {
			answer := fmt.Sprintf(`{"action":"accept","content":{"n":%d}}`, i)
			r := &aggregate.Request{Principal: upstream.Local(), Back: upstream.Back{
				Capabilities: []byte(`{"elicitation":{}}`),
				Ask:          func(context.Context, upstream.Question) (json.RawMessage, error) { return []byte(answer), nil },
			}}
			if got := callAs(t, v, r, "crm_get", `{}`).text(); got != "told "+answer {
				t.Error(got)
			}
		}
		if n := o.arrivals(); n != 2 {
			t.Errorf("%d calls", n)
		}
	})
}

// What belongs to one call does not come with the answer to another.
func TestAHitIsNobodysButTheAskers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := annotated(t, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.ParseResult([]byte(`{"content":[],"_meta":{"progressToken":7,"x":[1],"traceparent":"00-a","io.modelcontextprotocol/related-task":{"taskId":"t"}}}`))
		})
		m := limited(f, aggregate.Limits{TrustAnnotations: true})
		m.Cache.TTL = time.Hour
		v, _ := start(t, aggregate.Options{}, m)
		names(t, v)
		call(t, v, "crm_get", `{}`)
		r := &aggregate.Request{Principal: upstream.Local(),
			Params: []byte(`{"name":"crm_get","arguments":{},"_meta":{"progressToken":"mine","traceparent":"00-b","io.modelcontextprotocol/clientInfo":{}}}`)}
		raw, err := v.CallTool(t.Context(), r)
		if want := `{"content":[],"_meta":{"x":[1],"io.github.bulkhead-mcp/cache":{"state":"fresh","ageMs":0}}}`; err != nil || string(raw) != want {
			t.Errorf("%s, %v", raw, err)
		}
		r.Params = []byte(`{"name":"crm_get","arguments":{},"_meta":{"tenant":"b"}}`)
		if raw, err = v.CallTool(t.Context(), r); err != nil || strings.Contains(string(raw), "fresh") {
			t.Errorf("other _meta: %s, %v", raw, err)
		}
	})
}
