package aggregate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func sealsOf(t *testing.T, key string) seals {
	t.Helper()
	s, err := newSeals([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStateSurvivesSealing(t *testing.T) {
	s := sealsOf(t, "0123456789abcdef")
	now := time.UnixMilli(time.Now().UnixMilli())
	for _, own := range []string{"", `"x"`, `"` + strings.Repeat("ä", 1000) + `"`} {
		st := state{kind: relayed, expires: now, own: []byte(own)}
		token, id := s.sealState(st, []byte("b"))
		got, ok := s.openState(token, []byte("b"))
		if !ok || got.id != id || got.kind != relayed || !got.expires.Equal(now) || string(got.own) != own || (got.own == nil) != (own == "") {
			t.Errorf("%+v, %v", got, ok)
		}
		for what, open := range map[string]func() (state, bool){
			"another binding": func() (state, bool) { return s.openState(token, []byte("c")) },
			"another key":     func() (state, bool) { return sealsOf(t, "0123456789abcdeX").openState(token, []byte("b")) },
			"longer":          func() (state, bool) { return s.openState(token+"A", []byte("b")) },
			"padded":          func() (state, bool) { return s.openState(token+"=", []byte("b")) },
			"nothing":         func() (state, bool) { return s.openState("", []byte("b")) },
		} {
			if _, ok := open(); ok {
				t.Errorf("%s opens it", what)
			}
		}
		for range 200 { // one character altered
			i := rand.IntN(len(token))
			altered := []byte(token)
			altered[i] = "ABCDEFabcdef0123-_"[rand.IntN(18)]
			if _, ok := s.openState(string(altered), []byte("b")); ok && string(altered) != token {
				t.Fatalf("altered at %d, it opens", i)
			}
		}
	}
}

func TestBindingMeansTheSame(t *testing.T) {
	call := func(params string) *upstream.Call {
		return &upstream.Call{Principal: upstream.Local(), Upstream: "crm", Op: upstream.CallTool, Name: "get", Params: json.RawMessage(params)}
	}
	base := bindingOf(call(`{"name":"n","arguments":{"a":[1,{"b":"ü"}],"c":null}}`), "x")
	for params, same := range map[string]bool{
		` { "arguments" : {"c":null , "\u0061":[ 1,{"b":"\u00fc"}]},"name":"n","_meta":{"p":2},"requestState":"s","inputResponses":{}}`: true,
		`{"name":"n","arguments":{"a":[1,{"b":"u"}],"c":null}}`:                                                                         false,
		`{"name":"n","arguments":{"a":[1,{"b":"ü"}]}}`:                                                                                  false,
		`{"name":"n","arguments":{"a":["1",{"b":"ü"}],"c":null}}`:                                                                       false,
		`{"name":"n","arguments":{"a":[[1],{"b":"ü"}],"c":null}}`:                                                                       false,
		`{"name":"n"}`: false,
		``:             false,
	} {
		if got := bytes.Equal(base, bindingOf(call(params), "x")); got != same {
			t.Errorf("%s: the same %v, want %v", params, got, same)
		}
	}
	for what, change := range map[string]func(*upstream.Call){
		"principal": func(c *upstream.Call) { c.Principal = upstream.NewPrincipal("local", "Local") },
		"upstream":  func(c *upstream.Call) { c.Upstream = "crn" },
		"op":        func(c *upstream.Call) { c.Op = upstream.GetPrompt },
		"name":      func(c *upstream.Call) { c.Name = "gets" },
		"boundary":  func(c *upstream.Call) { c.Upstream, c.Op = "crmt", "ools/call" },
	} {
		c := call(`{"name":"n","arguments":{"a":[1,{"b":"ü"}],"c":null}}`)
		change(c)
		if bytes.Equal(base, bindingOf(c, "x")) {
			t.Errorf("another %s makes no difference", what)
		}
	}
	if bytes.Equal(base, bindingOf(call(`{"name":"n","arguments":{"a":[1,{"b":"ü"}],"c":null}}`), "y")) {
		t.Error("another source under the same name makes no difference")
	}
}

// Many states of one user take no other user's waiting call away: their answers
// are taken once because the call is.
func TestManyStatesRefuseNoWaitingCall(t *testing.T) {
	v := bareView(t)
	m := memberCalled(v.agg.members(), "crm")
	used := &v.agg.asked.used
	used.floor = time.Now().Add(stateLasts)
	c := &upstream.Call{Principal: upstream.Local(), Op: upstream.CallTool, Upstream: "crm", Name: "x", Params: json.RawMessage(`{}`)}
	token, id := v.agg.asked.seals.sealState(state{kind: waiting, expires: time.Now().Add(time.Minute)}, bindingOf(c, ""))
	c.Params = fmt.Appendf(nil, `{"requestState":%q}`, token)
	st, _, err := conversation{m, &Request{Modern: true}, c}.retried()
	if err != nil || st.id != id {
		t.Error(err)
	}
}

// However many are used, none is ever used twice.
func TestConsumedOnce(t *testing.T) {
	var u consumed
	now := time.Now()
	var all []state
	for i := range maxConsumed + 5000 {
		st := state{expires: now.Add(time.Duration(1+rand.IntN(600)) * time.Second)}
		copy(st.id[:], fmt.Sprintf("%012d", i))
		if u.take(st, now) {
			all = append(all, st)
		}
	}
	if len(all) < maxConsumed {
		t.Errorf("only %d could be used", len(all))
	}
	if len(u.used) > maxConsumed || len(u.order) != len(u.used) {
		t.Errorf("%d remembered, %d in order", len(u.used), len(u.order))
	}
	for _, st := range all {
		if u.take(st, now) {
			t.Fatal("used twice")
		}
	}
	later := now.Add(time.Hour)
	if !u.take(state{id: stateID{1}, expires: later.Add(time.Minute)}, later) || len(u.used) != 1 {
		t.Errorf("what has expired is kept: %d", len(u.used))
	}
}

func TestTaskIDs(t *testing.T) {
	s := sealsOf(t, "0123456789abcdef")
	a, b := upstream.NewPrincipal("i", "a"), upstream.NewPrincipal("i", "b")
	id := s.sealTask(a, taskRef{"crm", markOf("x"), "task/ü 1"})
	if id != s.sealTask(a, taskRef{"crm", markOf("x"), "task/ü 1"}) {
		t.Error("the same task gets another id")
	}
	if strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || len(id) > 100 {
		t.Errorf("not fit for a header: %s", id)
	}
	for _, other := range []string{s.sealTask(b, taskRef{"crm", markOf("x"), "task/ü 1"}), s.sealTask(a, taskRef{"erp", markOf("x"), "task/ü 1"}), s.sealTask(a, taskRef{"crm", markOf("x"), "task/ü 2"})} {
		if other == id {
			t.Error("two tasks with one id")
		}
	}
	if ref, ok := s.openTask(a, id); !ok || ref != (taskRef{"crm", markOf("x"), "task/ü 1"}) {
		t.Error(ref, ok)
	}
	token, _ := s.sealState(state{kind: relayed}, []byte(a.Key()))
	for _, foreign := range []string{"", "x", id + "A", strings.ToLower(id), token, strings.Repeat("A", 4000)} {
		if _, ok := s.openTask(a, foreign); ok {
			t.Errorf("%.40q opens", foreign)
		}
	}
	if _, ok := s.openTask(b, id); ok {
		t.Error("another principal opens it")
	}
}
