package aggregate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// tokenTrouble is what a client answers that has no token.
type tokenTrouble struct{ operator bool }

func (tokenTrouble) Error() string { return "no token" }
func (e tokenTrouble) SignIn() (person, operator bool, retry time.Duration) {
	return !e.operator, e.operator, 0
}

// A failure names the command that ends it, if a person can end it.
func TestWhoHasToSignIn(t *testing.T) {
	const command = "bulkhead login crm"
	for name, c := range map[string]struct {
		err   upstream.Error
		known bool // how people sign in
		want  string
	}{
		"a person":     {upstream.Error{Kind: upstream.NeedsLogin, Public: "p", Err: tokenTrouble{}}, true, "p; a person has to run: bulkhead login crm; repeating the call before that will not help."},
		"401":          {upstream.Error{Kind: upstream.NeedsLogin, Public: "p", Err: errors.New("HTTP 401")}, true, "p; a person has to run: bulkhead login crm; "},
		"the operator": {upstream.Error{Kind: upstream.NeedsLogin, Public: "p", Err: tokenTrouble{true}}, true, "p; repeating the call before that will not help."},
		"nobody knows": {upstream.Error{Kind: upstream.NeedsLogin, Public: "p", Err: tokenTrouble{}}, false, "p; a person has to renew the sign-in; repeating"},
		"other":        {upstream.Error{Kind: upstream.Denied, Public: "p", Err: tokenTrouble{}}, true, "p; repeating the call will not help."},
	} {
		f := newFake(t, "crm", "get")
		f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) { return nil, &c.err }
		m := aggregate.Member{ID: "crm", Adapter: f, Prefix: "crm"}
		if c.known {
			m.SignIn = func() *aggregate.SignInStatus {
				return &aggregate.SignInStatus{State: aggregate.SignedIn, Command: command}
			}
		}
		synctest.Test(t, func(t *testing.T) {
			v, stop := start(t, aggregate.Options{}, m)
			defer stop()
			synctest.Wait()
			if got := call(t, v, "crm_get", `{}`).text(); !strings.Contains(got, ": "+c.want) {
				t.Errorf("%s: %s", name, got)
			}
		})
	}
}

// A source that cannot be connected to for want of a sign-in is not down.
func TestAwayForASignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "crm", "get")
		f.turn(upstream.Down)
		state := aggregate.SignInRequired
		a, err := aggregate.New([]aggregate.Member{{ID: "crm", Adapter: f, Prefix: "crm", SignIn: func() *aggregate.SignInStatus {
			return &aggregate.SignInStatus{State: state, Command: "bulkhead login crm"}
		}}}, aggregate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := a.View("")
		for want, text := range map[aggregate.SignInState]string{
			aggregate.SignInRequired: "crm needs a person to sign in", aggregate.SignInRefused: "crm cannot be signed in to",
			aggregate.SignInFailing: "crm cannot be reached", aggregate.SignedIn: "crm cannot be reached",
		} {
			state = want
			if told := v.Instructions(); strings.Contains(told, "crm (needs a person to run: bulkhead login crm)") != (want == aggregate.SignInRequired) {
				t.Errorf("%s: %s", want, told)
			}
			s := a.Status().Sources[0]
			if login := want == aggregate.SignInRequired || want == aggregate.SignInRefused; (s.Away == aggregate.AwayLogin) != login ||
				!strings.HasPrefix(s.Summary, text) || strings.HasSuffix(s.Summary, ": bulkhead login crm.") != (want == aggregate.SignInRequired) || s.SignIn.State != want {
				t.Errorf("%s: %s %s", want, s.Away, s.Summary)
			}
		}
	})
}

// TestNobodySignsIn: where a credential of the configuration is refused, nobody
// is sent to sign in, and the operator reads where to look.
func TestNobodySignsIn(t *testing.T) {
	const where = `upstream.crm.auth.token (auth.type = "bearer")`
	for name, signedIn := range map[string]func() *aggregate.SignInStatus{
		"a fixed token":     nil,
		"tokens of our own": func() *aggregate.SignInStatus { return &aggregate.SignInStatus{State: aggregate.SignedIn} },
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, "crm", "get")
			f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
				return nil, &upstream.Error{Kind: upstream.NeedsLogin, Public: "HTTP 401", Err: errors.New("HTTP 401")}
			}
			v := withOwn(t, aggregate.Options{}, aggregate.Member{ID: "crm", Adapter: f, Prefix: "crm", SignIn: signedIn, Credential: where})
			if st := call(t, v, "bulkhead_sources", `{}`); strings.Contains(string(st.Structured), "auth.token") {
				t.Errorf("%s: before anything was refused: %s", name, st.Structured)
			}
			if got := call(t, v, "crm_get", `{}`).text(); !strings.Contains(got, ": HTTP 401; the operator has to look at "+where+"; repeating the call before that will not help") {
				t.Errorf("%s: %s", name, got)
			}
			st := call(t, v, "bulkhead_sources", `{}`)
			if text := string(st.Structured); strings.Contains(text, "person") || !strings.Contains(text, `crm refuses its credential`) || !strings.Contains(text, `"credential":"upstream.crm.auth.token `) {
				t.Errorf("%s: %s", name, text)
			}
			if told := v.Instructions(); !strings.Contains(told, "crm (refuses its credential)") {
				t.Errorf("%s: %s", name, told)
			}
		})
	}
}
