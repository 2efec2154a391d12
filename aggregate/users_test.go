package aggregate_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// users sign in to a source for themselves, in this test by a word of it.
type users struct {
	mu    sync.Mutex
	in    map[upstream.Principal]bool
	news  chan struct{}
	pages atomic.Int64
	// visits are those who wanted to know what there is.
	visits []upstream.Principal
}

func newUsers() *users {
	return &users{in: map[upstream.Principal]bool{}, news: make(chan struct{})}
}

func (u *users) signIn(p upstream.Principal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.in[p] = true
	close(u.news)
	u.news = make(chan struct{})
}

func (u *users) has(p upstream.Principal) (bool, chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.in[p], u.news
}

func (u *users) SignIn(p upstream.Principal) *aggregate.SignInStatus {
	if in, _ := u.has(p); in {
		return &aggregate.SignInStatus{State: aggregate.SignedIn}
	}
	return &aggregate.SignInStatus{State: aggregate.SignInRequired, Page: u.Page(p)}
}

func (u *users) Page(p upstream.Principal) string {
	if p == upstream.Local() || !p.Valid() {
		return ""
	}
	u.pages.Add(1)
	return "https://bulkhead/connect/crm?for=" + p.String()
}

func (u *users) Visit(p upstream.Principal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.visits = append(u.visits, p)
}

func (u *users) Await(ctx context.Context, p upstream.Principal) error {
	for {
		in, news := u.has(p)
		if in {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-news:
		}
	}
}

// personal returns a source that answers who is signed in, and counts its calls.
func personal(t *testing.T, u *users) (f *fake, m aggregate.Member, calls *atomic.Int64) {
	t.Helper()
	f, calls = newFake(t, "crm", "get"), &atomic.Int64{}
	f.call = func(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
		calls.Add(1)
		if in, _ := u.has(c.Principal); !in {
			return nil, &upstream.Error{Upstream: "crm", Kind: upstream.NeedsLogin, Public: "not connected", Err: tokenTrouble{}}
		}
		return upstream.TextResult(c.Principal.String(), false), nil
	}
	m = member(f)
	m.Users = u
	return f, m, calls
}

func legacyUser(who upstream.Principal, caps string, ask func(context.Context, upstream.Question) (json.RawMessage, error)) *aggregate.Request {
	return &aggregate.Request{Principal: who, Session: "s-" + who.String(), Method: "tools/call", Params: []byte(getX),
		Back: upstream.Back{Capabilities: json.RawMessage(caps), Ask: ask}}
}

// Where nobody can be asked, the failure has a link for this user alone, and
// nobody else hears of it.
func TestLinkInTheText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		u.signIn(bob)
		_, m, _ := personal(t, u)
		a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, stop := run(t, a)
		defer stop()
		synctest.Wait()
		r := modernRequest(alice, getX)
		r.Back.Capabilities = json.RawMessage(`{"elicitation":{"form":{}}}`)
		for _, r := range []*aggregate.Request{r, legacyUser(alice, `{"elicitation":{}}`, func(context.Context, upstream.Question) (json.RawMessage, error) {
			t.Error("somebody was asked")
			return nil, errors.New("no")
		})} {
			got := must(t, v, r)
			if !got.IsError || !strings.HasPrefix(got.text(), "needs_login: crm: not connected; show the user this link") || !strings.Contains(got.text(), "https://bulkhead/connect/crm?for=idp/alice -") ||
				!strings.Contains(got.raw, `"signIn":{"page":"https://bulkhead/connect/crm?for=idp/alice"}`) {
				t.Error(got.raw)
			}
		}
		if got := must(t, v, modernRequest(bob, getX)); got.text() != "idp/bob" {
			t.Error(got.raw)
		}
		sources := func(who upstream.Principal) string {
			raw, err := v.CallTool(t.Context(), &aggregate.Request{Principal: who, Params: []byte(`{"name":"bulkhead_sources"}`)})
			if err != nil {
				t.Fatal(err)
			}
			return string(raw)
		}
		if got := sources(alice); !strings.Contains(got, `"away":"needs_login"`) || !strings.Contains(got, "for=idp/alice") {
			t.Error(got)
		}
		if got := sources(bob); strings.Contains(got, "needs_login") || strings.Contains(got, "alice") || !strings.Contains(got, `"state":"signed_in"`) {
			t.Error(got)
		}
		if got := v.Instructions(); strings.Contains(got, "Not answering") {
			t.Error(got)
		}
		if s := a.Status().Sources[0]; s.Away != "" || s.LastFailure != nil {
			t.Errorf("one user's sign-in is everybody's trouble: %+v", s)
		}
		u.signIn(alice)
		if got := must(t, v, modernRequest(alice, getX)); got.text() != "idp/alice" || strings.Contains(got.raw, "recovered") {
			t.Error(got.raw)
		}
	})
}

// A modern client is sent to the page by a question, once for many calls, and
// these go on when its user has signed in.
func TestModernClientSignsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		_, m, _ := personal(t, u)
		v, stop := start(t, aggregate.Options{}, m)
		defer stop()
		synctest.Wait()
		first := must(t, v, modernRequest(alice, getX))
		if q := string(first.Requests["sign_in"].Params); first.ResultType != "input_required" || !strings.Contains(q, `"mode":"url"`) ||
			!strings.Contains(q, `"url":"https://bulkhead/connect/crm?for=idp/alice"`) || !strings.Contains(q, "[crm] ") || strings.Contains(q, "elicitationId") {
			t.Fatal(first.raw)
		}
		var w sync.WaitGroup
		for range 63 {
			w.Go(func() {
				if got := must(t, v, modernRequest(alice, getX)); got.text() != "idp/alice" {
					t.Error(got.raw)
				}
			})
		}
		w.Go(func() {
			if got := must(t, v, modernRequest(alice, retry(first.State, `{"sign_in":{"action":"accept"}}`))); got.text() != "idp/alice" {
				t.Error(got.raw)
			}
		})
		if got := must(t, v, modernRequest(bob, getX)); !strings.Contains(got.raw, "for=idp/bob") {
			t.Errorf("bob waits for alice: %s", got.raw)
		}
		time.Sleep(20 * time.Second)
		u.signIn(alice)
		w.Wait()
		if _, err := send(t, t.Context(), v, modernRequest(alice, retry(first.State, `{"sign_in":{"action":"accept"}}`))); err == nil {
			t.Error("the state counts twice")
		}
	})
}

func TestModernClientDoesNotSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		_, m, _ := personal(t, u)
		v, stop := start(t, aggregate.Options{}, m)
		defer stop()
		synctest.Wait()
		for answer, want := range map[string]string{"decline": "did not agree", "accept": "has not finished signing in"} {
			first := must(t, v, modernRequest(alice, getX))
			if first.State == nil {
				t.Fatal(first.raw)
			}
			var w sync.WaitGroup
			w.Go(func() {
				if got := must(t, v, modernRequest(alice, getX)); !got.IsError || !strings.HasPrefix(got.text(), "needs_login: crm: ") {
					t.Errorf("%s, beside: %s", answer, got.raw)
				}
			})
			synctest.Wait()
			began := time.Now()
			got := must(t, v, modernRequest(alice, retry(first.State, `{"sign_in":{"action":"`+answer+`"}}`)))
			if took := time.Since(began); !got.IsError || !strings.Contains(got.text(), want) || !strings.Contains(got.text(), "for=idp/alice") && answer == "accept" || took > time.Minute || answer == "decline" && took > 0 {
				t.Errorf("%s after %s: %s", answer, took, got.raw)
			}
			w.Wait()
		}
		mallory := must(t, v, modernRequest(alice, getX))
		if _, err := send(t, t.Context(), v, modernRequest(bob, retry(mallory.State, `{"sign_in":{"action":"accept"}}`))); err == nil {
			t.Error("one user's state is good for another")
		}
	})
}

// A legacy client is asked once while many calls wait, and told when it is done.
func TestLegacyClientSignsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		_, m, _ := personal(t, u)
		v, stop := start(t, aggregate.Options{}, m)
		defer stop()
		synctest.Wait()
		var asked atomic.Int64
		var id string
		var told []string
		_, cancel := v.Subscribe(t.Context(), aggregate.Subscription{Principal: alice, Session: "s-idp/alice", Tell: func(n aggregate.Notice) {
			if n.Method == upstream.NoteElicited {
				told = append(told, string(n.Params))
			}
		}})
		defer cancel()
		ask := func(_ context.Context, q upstream.Question) (json.RawMessage, error) {
			asked.Add(1)
			var params struct{ ElicitationID, URL, Mode, Message string }
			if err := json.Unmarshal(q.Params, &params); err != nil || params.Mode != "url" || params.URL != "https://bulkhead/connect/crm?for=idp/alice" || !strings.HasPrefix(params.Message, "[crm] ") {
				t.Errorf("%s", q.Params)
			}
			id = params.ElicitationID
			time.AfterFunc(time.Minute, func() { u.signIn(alice) })
			return json.RawMessage(`{"action":"accept"}`), nil
		}
		r := legacyUser(alice, everything, ask)
		r.Client = "claude-code"
		var w sync.WaitGroup
		for range 64 {
			w.Go(func() {
				own := *r
				if got := must(t, v, &own); got.text() != "idp/alice" {
					t.Error(got.raw)
				}
			})
		}
		w.Wait()
		if asked.Load() != 1 || len(told) != 1 || told[0] != `{"elicitationId":"`+id+`"}` {
			t.Errorf("asked %d times, told %q", asked.Load(), told)
		}
		u.in[alice] = false
		no := legacyUser(alice, everything, func(context.Context, upstream.Question) (json.RawMessage, error) {
			return json.RawMessage(`{"action":"decline"}`), nil
		})
		if got := must(t, v, no); !strings.HasPrefix(got.text(), "needs_login: crm: the user did not agree to sign in there") {
			t.Error(got.raw)
		}
	})
}

// What is kept for a user is for that user, and for as long as it is the same one
// there. What the source calls public is not.
func TestAnswersOfUsersAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		u.signIn(alice)
		u.signIn(bob)
		_, m, calls := personal(t, u)
		yes := true
		m.Override = map[string]aggregate.Hints{"get": {ReadOnly: &yes}}
		m.Cache = aggregate.Cache{TTL: time.Hour}
		a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		v, stop := run(t, a)
		defer stop()
		synctest.Wait()
		ask := func(who upstream.Principal, want string, made int64) {
			t.Helper()
			before := calls.Load()
			if got := must(t, v, modernRequest(who, getX)); got.text() != want || calls.Load()-before != made {
				t.Errorf("%s after %d calls", got.raw, calls.Load()-before)
			}
		}
		ask(alice, "idp/alice", 1)
		ask(bob, "idp/bob", 1)
		ask(alice, "idp/alice", 0)
		a.ForgetUser("crm", alice)
		ask(alice, "idp/alice", 1)
		ask(bob, "idp/bob", 0)
		a.ForgetUser("crm", upstream.Principal{})
		a.ForgetUser("nobody", bob)
		ask(bob, "idp/bob", 0)
	})
}

// A vendor that counts by credential counts each user for himself.
func TestQuotaOfEachUsersCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		u.signIn(alice)
		u.signIn(bob)
		_, m, _ := personal(t, u)
		m.Limits = aggregate.Limits{Rate: 0.001, Burst: 1, Per: aggregate.PerCredential}
		m.Quota = "account"
		v, stop := start(t, aggregate.Options{}, m)
		defer stop()
		synctest.Wait()
		for _, c := range []struct {
			who  upstream.Principal
			want string
		}{{alice, "idp/alice"}, {alice, "rate_limited"}, {bob, "idp/bob"}, {bob, "rate_limited"}} {
			if got := must(t, v, modernRequest(c.who, getX)).text(); !strings.HasPrefix(got, c.want) {
				t.Errorf("%v: %s", c.who, got)
			}
		}
	})
}

// However often one user's token is refused, or cannot be had, others' calls are
// made.
func TestOneUsersTokenOpensNoCircuit(t *testing.T) {
	for name, trouble := range map[string]*upstream.Error{
		"revoked":         {Upstream: "crm", Kind: upstream.NeedsLogin, Err: errors.New("HTTP 401")},
		"no token so far": {Upstream: "crm", Kind: upstream.Unavailable, Err: tokenTrouble{}},
	} {
		synctest.Test(t, func(t *testing.T) {
			u := newUsers()
			u.signIn(bob)
			f, m, _ := personal(t, u)
			well := f.call
			f.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
				if c.Principal == alice {
					return nil, trouble
				}
				return well(ctx, c)
			}
			m.Limits = aggregate.Limits{Failures: 2, CoolDown: time.Hour}
			v, stop := start(t, aggregate.Options{}, m)
			defer stop()
			synctest.Wait()
			r := modernRequest(alice, getX)
			r.Back = upstream.Back{}
			for range 50 {
				must(t, v, r)
			}
			if got := must(t, v, modernRequest(bob, getX)); got.text() != "idp/bob" {
				t.Errorf("%s: %s", name, got.raw)
			}
		})
	}
}

// While nothing is known of a source, those who ask are told of to it: somebody
// has to be the first.
func TestVisits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		f, m, _ := personal(t, u)
		f.fail(&upstream.Error{Upstream: "crm", Kind: upstream.NeedsLogin})
		v, stop := start(t, aggregate.Options{ListWait: -1}, m)
		defer stop()
		list := func(who upstream.Principal) {
			if _, err := v.ListTools(t.Context(), &aggregate.Request{Principal: who}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		list(alice)
		f.fail(nil)
		f.touch()
		time.Sleep(time.Minute)
		list(bob)
		if len(u.visits) != 1 || u.visits[0] != alice {
			t.Errorf("%v", u.visits)
		}
	})
}
