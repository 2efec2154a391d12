package mcpserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const canAll = `{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}`

type answerer func(ctx context.Context, q upstream.Question) (json.RawMessage, error)

// asked is a call of a tool of a talker, whose client answers by ask.
func asked(who, session, tool, text string, ask answerer) *upstream.Call {
	args := fmt.Sprintf(`{"text":%q}`, text)
	return &upstream.Call{
		Principal: upstream.NewPrincipal("test", who), Session: session,
		Op: upstream.CallTool, Name: tool, Tool: &upstream.Tool{Name: tool}, Exposed: tool,
		Params: json.RawMessage(`{"name":"x","arguments":` + args + `}`), Arguments: json.RawMessage(args),
		Back: upstream.Back{Ask: ask, Capabilities: json.RawMessage(canAll)},
	}
}

// says answers everything with s and the question's message.
func says(s string) answerer {
	return func(_ context.Context, q upstream.Question) (json.RawMessage, error) {
		msg, _ := rawjson.GetString(q.Params, "message")
		return fmt.Appendf(nil, `{"action":"accept", "content":{"by":%q,"to":%q,"n":1e400}}`, s, msg), nil
	}
}

func mustText(t *testing.T, a *mcpserver.Adapter, c *upstream.Call) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hanging)
	defer cancel()
	r, err := a.Call(ctx, c)
	if err != nil {
		t.Errorf("%s: %v", c.Name, err)
		return ""
	}
	return text(r)
}

func TestAQuestionIsAnswered(t *testing.T) {
	everywhere(t, func(t *testing.T, start func(mcpserver.Options) *mcpserver.Adapter, _ bool) {
		a := start(quickly())
		want := `{"action":"accept", "content":{"by":"me","to":"well?","n":1e400}}`
		if got := mustText(t, a, asked("u", "s", "ask", "well?", says("me"))); got != want {
			t.Errorf("the server got %s, want %s", got, want)
		}
		var q upstream.Question
		params := `{"messages":[], "x":1e400,"maxTokens":1}`
		got := mustText(t, a, asked("u", "s", "raw", params, func(_ context.Context, asked upstream.Question) (json.RawMessage, error) {
			q = asked
			return nil, &upstream.RPCError{Code: -1, Message: `the "user" refused`, Data: json.RawMessage(`{"y":1e400}`)}
		}))
		if want := `{"code":-1,"message":"the \"user\" refused","data":{"y":1e400}}`; got != want {
			t.Errorf("the server got %s, want %s", got, want)
		}
		if q.Method != upstream.AskSampling || string(q.Params) != params {
			t.Errorf("the question is %s %s", q.Method, q.Params)
		}
		got = mustText(t, a, asked("u", "s", "roots", "", func(context.Context, upstream.Question) (json.RawMessage, error) {
			return nil, errors.New("token abc in /etc/secret")
		}))
		if !strings.Contains(got, "could not be asked") || strings.Contains(got, "secret") {
			t.Errorf("the server got %s", got)
		}
		if got := mustText(t, a, asked("u", "s", "declared", "", nil)); got != canAll+" " {
			t.Errorf("declared is %s", got)
		}
	})
}

// TestQuestionsNeverCross has two users of one session each with the same
// everything; every answer must be that of the call that asked.
func TestQuestionsNeverCross(t *testing.T) {
	o := quickly()
	o.Era = mcpserver.Legacy
	a := talkers()["http"](t, o)
	const calls = 400
	var wg sync.WaitGroup
	room := make(chan struct{}, 30) // questions count until their answers have arrived
	for i := range calls {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			mark := fmt.Sprint("mark ", i)
			ctx, cancel := context.WithTimeout(t.Context(), hanging)
			defer cancel()
			gone := i%7 == 0
			c := asked(fmt.Sprint("user ", i%2), "same", "ask", mark, func(ctx context.Context, q upstream.Question) (json.RawMessage, error) {
				if got, _ := rawjson.GetString(q.Params, "message"); got != mark {
					t.Errorf("%s was asked what %s was to be", mark, got)
				}
				if gone {
					cancel()
				}
				select {
				case <-time.After(rand.N(10 * time.Millisecond)):
				case <-ctx.Done():
				}
				return says(mark)(ctx, q)
			})
			c.Params = fmt.Appendf(nil, `{"name":"x","arguments":{"text":%q,"ms":1}}`, mark)
			r, err := a.Call(ctx, c)
			if gone {
				if r == nil {
					wantKind(t, err, upstream.Cancelled, true)
				}
				return
			}
			if err != nil {
				t.Errorf("%s: %v", mark, err)
				return
			}
			if want := fmt.Sprintf(`{"action":"accept", "content":{"by":%q,"to":%q,"n":1e400}}`, mark, mark); text(r) != want {
				t.Errorf("%s got %s", mark, text(r))
			}
		})
	}
	wg.Wait()
}

// TestOnSharedChannelsNobodyGuesses holds one call while another asks.
func TestOnSharedChannelsNobodyGuesses(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, start func(mcpserver.Options) *mcpserver.Adapter, shared bool) {
		for name, c := range map[string]struct {
			who, session string
			ask          answerer
			want         string // who answers on a shared channel; "" is a refusal
		}{
			"the same conversation":    {"u", "s", says("first"), `"by":"first"`},
			"another conversation":     {"u", "other", says("first"), ""},
			"another user":             {"other", "s", says("first"), ""},
			"a mute of the user":       {"u", "other", nil, `"by":"second"`},
			"a mute of another user":   {"other", "s", nil, ""},
			"a mute of the same place": {"u", "s", nil, `"by":"second"`},
		} {
			t.Run(name, func(t *testing.T) {
				a := start(quickly())
				held := asked(c.who, c.session, "hold", "", c.ask)
				running := make(chan struct{})
				held.Back.Progress = func(json.RawMessage) { close(running) }
				var wg sync.WaitGroup
				wg.Go(func() { mustText(t, a, held) })
				<-running
				want := `"by":"second"`
				if shared {
					want = c.want
				}
				if want == "" {
					want = "calls of several clients are running"
				}
				if got := mustText(t, a, asked("u", "s", "ask", "who?", says("second"))); !strings.Contains(got, want) {
					t.Errorf("the server got %s, want %s", got, want)
				}
				mustText(t, a, asked("u", "s", "release", "", nil))
				wg.Wait()
			})
		}
	})
}

// waits is a client that is asked and does not answer. over is closed when it
// need not any more.
func waits() (ask answerer, begun, over chan struct{}) {
	begun, over = make(chan struct{}), make(chan struct{})
	return func(ctx context.Context, _ upstream.Question) (json.RawMessage, error) {
		close(begun)
		<-ctx.Done()
		close(over)
		return nil, context.Cause(ctx)
	}, begun, over
}

func TestWhatEndsAQuestion(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, start func(mcpserver.Options) *mcpserver.Adapter, _ bool) {
		t.Run("its server", func(t *testing.T) {
			a := start(quickly())
			ask, _, over := waits()
			done := make(chan string)
			go func() { done <- mustText(t, a, asked("u", "s", "withdraw", "", ask)) }()
			select {
			case <-over:
			case <-done:
				t.Error("the call ended before the question")
			}
			if got := <-done; got != "no answer" {
				t.Errorf("a withdrawn question was answered: %s", got)
			}
		})
		t.Run("its call", func(t *testing.T) {
			a := start(quickly())
			ask, begun, over := waits()
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-begun
				cancel()
			}()
			_, err := a.Call(ctx, asked("u", "s", "ask", "", ask))
			wantKind(t, err, upstream.Cancelled, true)
			select {
			case <-over:
			default:
				t.Error("the client is still being asked after its call")
			}
			// What comes late is never taken for another user's.
			if got := mustText(t, a, asked("u", "s", "ask", "", says("me"))); !strings.Contains(got, `"by":"me"`) {
				t.Errorf("the next one gets %s", got)
			}
		})
		t.Run("its connection", func(t *testing.T) {
			a := start(quickly())
			ask, _, over := waits()
			_, err := a.Call(t.Context(), asked("u", "s", "die", "", ask))
			wantKind(t, err, upstream.Unavailable, true)
			<-over
			if got := mustText(t, a, asked("u", "s", "none", "", nil)); got != "done" {
				t.Errorf("the next call gets %s", got)
			}
		})
		t.Run("close", func(t *testing.T) {
			a := start(quickly())
			ask, begun, over := waits()
			done := make(chan error)
			go func() {
				_, err := a.Call(t.Context(), asked("u", "s", "ask", "", ask))
				done <- err
			}()
			<-begun
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			<-over
			wantKind(t, <-done, upstream.Unavailable, true)
		})
	})
}

func TestACallGivenUpStillCounts(t *testing.T) {
	o := quickly()
	o.Era = mcpserver.Legacy
	a := talkers()["shared stdio"](t, o)
	ctx, cancel := context.WithCancel(t.Context())
	c := asked("other", "s", "hold", "", nil)
	c.Back.Progress = func(json.RawMessage) { cancel() }
	_, err := a.Call(ctx, c)
	wantKind(t, err, upstream.Cancelled, true)
	if got := mustText(t, a, asked("u", "s", "ask", "", says("me"))); !strings.Contains(got, "calls of several clients") {
		t.Errorf("the server got %s, which may be for the call of another user that was given up", got)
	}
}

func TestQuestionsAreRefused(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, start func(mcpserver.Options) *mcpserver.Adapter, _ bool) {
		a := start(quickly())
		c := asked("u", "s", "ask", "", says("me"))
		c.Back.Capabilities = json.RawMessage(`{"elicitation":{"url":{}}}`)
		if got := mustText(t, a, c); !strings.Contains(got, "-32601") || !strings.Contains(got, "elicitation.form") {
			t.Errorf("without the capability the server got %s", got)
		}
		if got := mustText(t, a, asked("u", "s", "ask", "", nil)); !strings.Contains(got, "-32601") {
			t.Errorf("where nobody can be asked the server got %s", got)
		}
		c = asked("u", "s", "ask", "", says("me"))
		c.Params = json.RawMessage(`{"name":"x","arguments":{"ms":80}}`)
		slow := make(chan struct{})
		c.Back.Ask = func(ctx context.Context, q upstream.Question) (json.RawMessage, error) {
			select {
			case <-slow:
			case <-ctx.Done():
			}
			return says("me")(ctx, q)
		}
		time.AfterFunc(500*time.Millisecond, func() { close(slow) })
		got := mustText(t, a, c)
		if yes, no := strings.Count(got, `"by":"me"`), strings.Count(got, "64 questions are open already"); yes < 64 || yes+no != 80 || no == 0 {
			t.Errorf("of 80 questions at once %d were answered and %d refused", yes, no)
		}
	})
}

func TestDenyAsk(t *testing.T) {
	everywhere(t, func(t *testing.T, start func(mcpserver.Options) *mcpserver.Adapter, _ bool) {
		o := quickly()
		o.DenyAsk = true
		a := start(o)
		for _, tool := range []string{"ask", "roots", "raw"} {
			if got := mustText(t, a, asked("u", "s", tool, "{}", says("me"))); !strings.Contains(got, "-32601") {
				t.Errorf("%s: the server got %s", tool, got)
			}
		}
		if got := mustText(t, a, asked("u", "s", "declared", "", nil)); got != "{} " {
			t.Errorf("declared is %s", got)
		}
	})
}
