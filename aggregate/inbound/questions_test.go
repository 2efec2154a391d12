package inbound_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const everyCapability = `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{"listChanged":true}}`

// asking is a tool that asks what its arguments say, and hands over what came
// of it.
func asking(f *fake) chan outcome {
	out := make(chan outcome, 10_000)
	f.custom = func(ctx context.Context, r *aggregate.Request) {
		args, _ := rawjson.Get(r.Params, "arguments")
		method, _ := rawjson.GetString(args, "method")
		params, _ := rawjson.Get(args, "params")
		result, err := r.Back.Ask(ctx, upstream.Question{Method: method, Params: params})
		out <- outcome{string(result), err}
	}
	return out
}

type outcome struct {
	result string
	err    error
}

func await(t testing.TB, out <-chan outcome) outcome {
	t.Helper()
	select {
	case o := <-out:
		return o
	case <-time.After(patience):
		t.Fatal("the question does not end")
		return outcome{}
	}
}

// refusal is the error object that o ended with.
func (o outcome) refusal(t testing.TB) *upstream.RPCError {
	t.Helper()
	e, ok := errors.AsType[*upstream.RPCError](o.err)
	if !ok {
		t.Fatalf("%+v", o)
	}
	return e
}

// questionIn reads the id of a question and checks the rest.
func questionIn(t testing.TB, text, method, params string) (id string) {
	t.Helper()
	id, _ = rawjson.GetString([]byte(text), "id")
	want := `{"jsonrpc":"2.0","id":"` + id + `","method":"` + method + `"`
	if params != "" {
		want += `,"params":` + params
	}
	if want += "}"; text != want {
		t.Fatalf("got  %s\nwant %s", text, want)
	}
	return id
}

func answering(id, what string) string { return `{"jsonrpc":"2.0","id":` + id + `,` + what + `}` }

func TestQuestionsOverEveryTransport(t *testing.T) {
	f := newFake()
	out := asking(f)
	for name, p := range peers(t, newServer(t, f, inbound.Options{}), everyCapability) {
		t.Run(name, func(t *testing.T) {
			ask := func(method, params string) (id string) {
				t.Helper()
				args := `{"method":"` + method + `"`
				if params != "" {
					args += `,"params":` + params
				}
				p.send(call("1", "custom", args+"}"))
				return questionIn(t, p.recv(), method, params)
			}
			ended := func() {
				t.Helper()
				if got := p.recv(); got != `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}` {
					t.Fatal(got)
				}
			}
			for method, params := range map[string]string{
				upstream.AskElicitation: `{"message":"<&>","n":1e400,"requestedSchema":{}}`,
				upstream.AskSampling:    `{"messages":[]}`, upstream.AskRoots: "",
			} {
				id := ask(method, params)
				// Nothing of this is the answer.
				p.send(answering(`"other"`, `"result":{}`), answering("1", `"result":{}`), answering("null", `"result":{}`),
					`{"jsonrpc":"1.0","id":`+"7"+`,"result":{}}`)
				p.send(answering(`"`+id+`"`, `"result":{"n":1e400,"a":"<"}`))
				ended()
				if o := await(t, out); o.err != nil || o.result != `{"n":1e400,"a":"<"}` {
					t.Fatalf("%+v", o)
				}
				p.send(answering(`"`+id+`"`, `"result":{}`)) // once is enough
			}
			id := ask(upstream.AskElicitation, `{"mode":"url","url":"https://x"}`)
			p.send(answering(`"`+id+`"`, `"error":{"code":-7,"message":"no","data":[1e400]}`))
			ended()
			if e := await(t, out).refusal(t); e.Code != -7 || e.Message != "no" || string(e.Data) != "[1e400]" {
				t.Fatalf("%+v", e)
			}
			for _, what := range []string{`"result":[]`, `"result":null`, `"error":1`, `"error":{"code":"x"}`} {
				id := ask(upstream.AskRoots, "")
				p.send(answering(`"`+id+`"`, what))
				ended()
				if e := await(t, out).refusal(t); e.Code != upstream.CodeInternal || e.Message == "" {
					t.Fatalf("%s: %+v", what, e)
				}
			}
			// Cancelling the call takes its question back.
			id = ask(upstream.AskRoots, "")
			p.send(cancelled("1"))
			if o := await(t, out); !errors.Is(o.err, context.Canceled) {
				t.Fatalf("%+v", o)
			}
			if got := p.recv(); !strings.HasPrefix(got, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"`+id+`"`) {
				t.Fatal(got)
			}
			p.send(answering(`"`+id+`"`, `"result":{}`), ping("2"))
			if got := p.recv(); got != pong("2") {
				t.Fatal(got)
			}
		})
	}
}

// A question that its asker gives up is taken back, and the call goes on.
func TestQuestionGivenUp(t *testing.T) {
	f := newFake()
	out := make(chan outcome, 1)
	giveUp := make(chan context.CancelFunc, 1)
	f.custom = func(ctx context.Context, r *aggregate.Request) {
		ctx, cancel := context.WithCancel(ctx)
		giveUp <- cancel
		result, err := r.Back.Ask(ctx, upstream.Question{Method: upstream.AskRoots})
		out <- outcome{string(result), err}
	}
	for name, p := range peers(t, newServer(t, f, inbound.Options{}), everyCapability) {
		t.Run(name, func(t *testing.T) {
			p.send(call("1", "custom", "{}"))
			id := questionIn(t, p.recv(), upstream.AskRoots, "")
			(<-giveUp)()
			if o := await(t, out); !errors.Is(o.err, context.Canceled) {
				t.Fatalf("%+v", o)
			}
			if got := p.recv(); !strings.Contains(got, `"requestId":"`+id+`"`) {
				t.Fatal(got)
			}
			if got := p.recv(); got != `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}` {
				t.Fatal(got)
			}
		})
	}
}

// A call that ends leaves no question behind, and cannot ask any more.
func TestQuestionsEndWithTheCall(t *testing.T) {
	f := newFake()
	out := make(chan outcome, 2)
	type ask = func(context.Context, upstream.Question) (json.RawMessage, error)
	later := make(chan ask, 1)
	f.custom = func(ctx context.Context, r *aggregate.Request) {
		go func() {
			result, err := r.Back.Ask(context.WithoutCancel(ctx), upstream.Question{Method: upstream.AskRoots})
			out <- outcome{string(result), err}
		}()
		later <- r.Back.Ask
		<-f.entered
	}
	for name, p := range peers(t, newServer(t, f, inbound.Options{}), everyCapability) {
		t.Run(name, func(t *testing.T) {
			p.send(call("1", "custom", "{}"))
			id := questionIn(t, p.recv(), upstream.AskRoots, "")
			f.entered <- struct{}{}
			if got := p.recv(); !strings.Contains(got, `"requestId":"`+id+`"`) {
				t.Fatal(got)
			}
			if got := p.recv(); got != `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}` {
				t.Fatal(got)
			}
			if o := await(t, out); o.err == nil {
				t.Fatalf("%+v", o)
			}
			if _, err := (<-later)(context.Background(), upstream.Question{Method: upstream.AskRoots}); err == nil {
				t.Fatal("asked after the end")
			}
		})
	}
}

func TestOnlyWhatIsDeclaredIsAsked(t *testing.T) {
	form, url := upstream.Question{Method: upstream.AskElicitation}, upstream.Question{Method: upstream.AskElicitation, Params: json.RawMessage(`{"mode":"url"}`)}
	sampling, roots := upstream.Question{Method: upstream.AskSampling}, upstream.Question{Method: upstream.AskRoots}
	tools := upstream.Question{Method: upstream.AskSampling, Params: json.RawMessage(`{"tools":[],"messages":[]}`)}
	odd := upstream.Question{Method: upstream.AskElicitation, Params: json.RawMessage(`{"mode":"telepathy"}`)}
	other := upstream.Question{Method: "ping"}
	for capabilities, may := range map[string]string{
		`{"elicitation":{}}`:                    "form",
		`{"elicitation":{"form":{}}}`:           "form",
		`{"elicitation":{"url":{}}}`:            "url",
		`{"elicitation":{"form":{},"url":{}}}`:  "form url",
		`{"sampling":{},"elicitation":null}`:    "sampling",
		`{"sampling":{"tools":{}}}`:             "sampling tools",
		`{"roots":{"listChanged":true},"x":{}}`: "roots",
	} {
		f := newFake()
		f.custom = func(ctx context.Context, r *aggregate.Request) {
			for name, q := range map[string]upstream.Question{"form": form, "url": url, "sampling": sampling, "roots": roots, "tools": tools, "odd": odd, "other": other} {
				_, err := r.Back.Ask(ctx, q)
				if e, ok := errors.AsType[*upstream.RPCError](err); ok != !strings.Contains(may, name) || ok && e.Code != upstream.CodeMethodNotFound {
					t.Errorf("%s asks for %s: %v", capabilities, name, err)
				}
			}
		}
		w := dial(t, newServer(t, f, inbound.Options{}))
		w.send(capable(capabilities))
		w.recv()
		w.send(call("1", "custom", "{}"))
		for got := w.recv(); !strings.Contains(got, `"id":1,`); got = w.recv() {
			id, _ := rawjson.GetString([]byte(got), "id")
			w.send(answering(`"`+id+`"`, `"result":{}`))
		}
		w.end()
	}
	// Whoever declares nothing of it cannot be asked at all.
	f := newFake()
	w := dial(t, newServer(t, f, inbound.Options{}))
	for _, capabilities := range []string{`{}`, `{"experimental":{}}`} {
		w.send(capable(capabilities))
		w.recv()
		w.send(call("1", "echo", "{}"))
		w.recv()
		if f.request().Back.Ask != nil {
			t.Error(capabilities)
		}
	}
	w.end()
}

// An answer counts in the session that was asked only.
func TestAnswersOfOtherSessions(t *testing.T) {
	f := newFake()
	out := asking(f)
	s := newServer(t, f, inbound.Options{})
	w := serve(t, s)
	mine, theirs := newHTTPPeer(w), newHTTPPeer(w)
	pipe := dial(t, s)
	for _, p := range []peer{mine, theirs, pipe} {
		p.send(capable(everyCapability))
		p.recv()
	}
	mine.send(call("1", "custom", `{"method":"roots/list"}`))
	id := questionIn(t, mine.recv(), upstream.AskRoots, "")
	for _, p := range []peer{theirs, pipe} {
		p.send(answering(`"`+id+`"`, `"result":{"wrong":1}`), ping("9"))
		if got := p.recv(); got != pong("9") {
			t.Fatal(got)
		}
	}
	w.want(w.post(answering(`"`+id+`"`, `"result":{"wrong":2}`), "Mcp-Protocol-Version: 2026-07-28"), 202)
	mine.send(answering(`"`+id+`"`, `"result":{"right":1}`))
	if o := await(t, out); o.result != `{"right":1}` {
		t.Fatalf("%+v", o)
	}
	pipe.end()
}

func TestTooManyQuestions(t *testing.T) {
	f := newFake()
	out := make(chan outcome, 100)
	f.custom = func(ctx context.Context, r *aggregate.Request) {
		for range 65 {
			go func() {
				result, err := r.Back.Ask(ctx, upstream.Question{Method: upstream.AskRoots})
				out <- outcome{string(result), err}
			}()
		}
		<-f.release
	}
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.send(capable(everyCapability))
	w.recv()
	w.send(call("1", "custom", "{}"))
	ids := map[string]bool{}
	for range 64 {
		ids[questionIn(t, w.recv(), upstream.AskRoots, "")] = true
	}
	if e := await(t, out).refusal(t); len(ids) != 64 || !strings.Contains(e.Message, "too many") {
		t.Fatal(len(ids), e)
	}
	for id := range ids { // in any order
		w.send(answering(`"`+id+`"`, `"result":{}`))
	}
	for range 64 {
		if o := await(t, out); o.err != nil {
			t.Fatal(o.err)
		}
	}
	close(f.release)
	w.recv()
	w.end()
}

// Where the POST cannot become a stream, a stream of the session carries the
// question; without one it fails.
func TestQuestionOnTheSessionsStream(t *testing.T) {
	f := newFake()
	out := asking(f)
	w := serve(t, newServer(t, f, inbound.Options{}))
	session := "Mcp-Session-Id: " + w.post(capable(everyCapability)).header.Get("Mcp-Session-Id")
	ask := call("1", "custom", `{"method":"roots/list"}`)
	w.want(w.post(ask, session), 200, `"content"`)
	if e := await(t, out).refusal(t); !strings.Contains(e.Message, "cannot be asked") {
		t.Fatal(e)
	}
	next, _ := w.events("GET", "/mcp", "", session)
	for _, give := range []string{"an answer", "up"} {
		answered := make(chan answer, 1)
		go func() { answered <- w.post(ask, session, "Accept: application/json") }()
		text, _ := next()
		id := questionIn(t, text, upstream.AskRoots, "")
		if give == "up" {
			w.want(w.post(cancelled("1"), session), 202)
			if got, _ := next(); !strings.Contains(got, `"requestId":"`+id+`"`) {
				t.Fatal(got)
			}
			w.want(<-answered, 202)
			continue
		}
		w.want(w.post(answering(`"`+id+`"`, `"result":{"a":1}`), session), 202)
		if o := await(t, out); o.result != `{"a":1}` {
			t.Fatalf("%+v", o)
		}
		w.want(<-answered, 200, `"content"`)
	}
}

// A client that leaves is not waited for, nor one whose server stops.
func TestQuestionToWhoLeft(t *testing.T) {
	f := newFake()
	out := asking(f)
	s := newServer(t, f, inbound.Options{})
	w := serve(t, s)
	session := "Mcp-Session-Id: " + w.post(capable(everyCapability)).header.Get("Mcp-Session-Id")
	ask := call("1", "custom", `{"method":"roots/list"}`)
	next, end := w.events("POST", "/mcp", ask, session)
	if _, ok := next(); !ok {
		t.Fatal("no question")
	}
	end()
	await(t, out).refusal(t)
	next, _ = w.events("POST", "/mcp", strings.Replace(ask, `"id":1`, `"id":2`, 1), session)
	if _, ok := next(); !ok {
		t.Fatal("no question")
	}
	go w.stop()
	await(t, out).refusal(t)
	pipe := dial(t, s)
	pipe.send(capable(everyCapability))
	pipe.recv()
	pipe.send(ask)
	pipe.recv()
	go pipe.in.Close()
	await(t, out).refusal(t)
	if got := pipe.recv(); !strings.Contains(got, "cancelled") {
		t.Fatal(got)
	}
	if got := pipe.recv(); !strings.Contains(got, `"id":1,"result"`) {
		t.Fatal(got)
	}
	pipe.end()
}

// Answers may come in a batch where there are batches.
func TestAnswersInABatch(t *testing.T) {
	f := newFake()
	out := asking(f)
	w := dial(t, newServer(t, f, inbound.Options{}))
	w.send(strings.Replace(capable(everyCapability), "2025-11-25", "2025-03-26", 1))
	w.recv()
	w.send("[" + call("1", "custom", `{"method":"roots/list"}`) + "," + call("2", "custom", `{"method":"roots/list"}`) + "]")
	a, b := questionIn(t, w.recv(), upstream.AskRoots, ""), questionIn(t, w.recv(), upstream.AskRoots, "")
	w.send(fmt.Sprintf(`[%s,%s]`, answering(`"`+a+`"`, `"result":{}`), answering(`"`+b+`"`, `"result":{}`)))
	for range 2 {
		if o := await(t, out); o.err != nil {
			t.Fatal(o.err)
		}
	}
	w.want(`[{"jsonrpc":"2.0","id":1,"result":{"content":[]}},{"jsonrpc":"2.0","id":2,"result":{"content":[]}}]`)
	w.end()
}
