package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

var (
	legacyClients = []way{{"http", "legacy"}, {"sse", "legacy"}, {"stdio", "legacy"}}
	modernClients = []way{{"http", "modern"}, {"stdio", "modern"}}
)

// form are the members of a call that asks the user.
func form(message string) string {
	return tool("odd_elicit_form", fmt.Sprintf(`{"message":%q}`, message))
}

// questioned makes a call of a modern client that has to be answered with
// questions, and returns the members to come back with.
func questioned(c *wire, members string) (again string) {
	c.t.Helper()
	result, err := c.begin(c.t.Context(), "tools/call", members, "").result()
	if err != nil || at(result, "resultType") != `"input_required"` {
		c.t.Fatalf("%s: %v %.300s", members, err, result)
	}
	return c.answers(result, &reading{})
}

// refused makes a call that has to be refused with -32602.
func refused(c *wire, what, members string) {
	c.t.Helper()
	if _, err := c.begin(c.t.Context(), "tools/call", members, "").result(); err == nil || !strings.Contains(err.Error(), `"code":-32602`) {
		c.t.Errorf("%s: %v", what, err)
	}
}

// What a modern client brings back counts for the request that it was given for,
// as it was given, and once.
func rowStates(t *testing.T, program string) {
	eachUpstream(t, program, ways, func(t *testing.T, s *site, _ way) {
		for _, w := range modernClients {
			c := s.join(w)
			members := form("for this call")
			again := questioned(c, members)
			refused(c, w.String()+", other arguments", form("for another call")+again)
			refused(c, w.String()+", another tool", tool("odd_elicit_url", `{"message":"for this call"}`)+again)
			refused(c, w.String()+", a changed state", members+strings.Replace(again, `"requestState":"`, `"requestState":"A`, 1))
			result, err := c.begin(t.Context(), "tools/call", members+again, "").result()
			if err != nil || !strings.Contains(firstText(result), "action=accept") {
				t.Errorf("%s: %v %.300s", w, err, result)
			}
			refused(c, w.String()+", for the second time", members+again)

			again = questioned(c, members)
			first := c.begin(t.Context(), "tools/call", members+again, "")
			second := c.begin(t.Context(), "tools/call", members+again, "")
			_, err1 := first.result()
			_, err2 := second.result()
			if (err1 == nil) == (err2 == nil) {
				t.Errorf("%s, twice at once: %v and %v", w, err1, err2)
			}
		}
	})
}

// Each legacy client is asked for its own call, and no other can answer for it.
func rowAnswers(t *testing.T, program string) {
	eachUpstream(t, program, overHTTPBoth, func(t *testing.T, s *site, _ way) {
		for _, w := range legacyClients[:2] {
			asked, stranger := s.join(w), s.join(w)
			questions, forged := make(chan string, 2), make(chan struct{})
			answering := func(name string) func(string, []byte) string {
				return func(_ string, params []byte) string {
					questions <- name + ": " + at(params, "message")
					<-forged
					return fmt.Sprintf(`"result":{"action":"accept","content":{"username":%q,"email":"e"}}`, name)
				}
			}
			asked.reply, stranger.reply = answering("asked"), answering("stranger")
			one := asked.begin(t.Context(), "tools/call", form("first"), "")
			other := stranger.begin(t.Context(), "tools/call", form("second"), "")
			got := <-questions + ", " + <-questions
			if !strings.Contains(got, `asked: "[fixture] first"`) || !strings.Contains(got, `stranger: "[fixture] second"`) {
				t.Errorf("%s: %s", w, got)
			}
			id := at(asked.all("elicitation/create")[0], "id")
			if id != at(stranger.all("elicitation/create")[0], "id") {
				stranger.expect(id)     // whatever is said to such an answer
				stranger.expect("null") // is nobody else's matter
				if err := stranger.put(t.Context(), fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{"action":"accept","content":{"username":"forged","email":"e"}}}`, id), nil); err != nil {
					t.Error(err)
				}
			}
			close(forged)
			for name, f := range map[string]*flight{"asked": one, "stranger": other} {
				if result, err := f.result(); err != nil || !strings.Contains(firstText(result), fmt.Sprintf(`"username":%q`, name)) {
					t.Errorf("%s, %s: %v %.300s", w, name, err, result)
				}
			}
		}
	})
}

// A question that nobody answers ends with its time, and so does the call.
func rowNoAnswer(t *testing.T, program string) {
	for _, upstream := range ways {
		t.Run(upstream.String()+" upstream", func(t *testing.T) {
			t.Parallel()
			s := before(t, flatNames+"ask_timeout = '1s'\n"+upstreamBy(t, program, upstream))
			if !upstream.modern() { // a modern one remembers nothing, nor do we for it
				c := s.join(way{"http", "modern"})
				again := questioned(c, form("too late"))
				time.Sleep(1200 * time.Millisecond)
				refused(c, "too late", form("too late")+again)
			}
			for _, w := range legacyClients {
				c := s.join(w)
				late := make(chan struct{})
				c.reply = func(string, []byte) string {
					<-late
					return `"result":{"action":"decline"}`
				}
				c.expect("null") // should a late answer be refused
				result, err := c.begin(t.Context(), "tools/call", form("anybody?"), "").result()
				want := "no answer within 1s"
				if upstream.modern() { // its question has a result for that
					want = "action=cancel"
				}
				if err != nil || !strings.Contains(string(result), want) {
					t.Errorf("%s: %v %.500s", w, err, result)
				}
				c.told("notifications/cancelled")
				close(late)
				if got := c.says("test_simple_text", `{}`); got == "" {
					t.Errorf("%s: nothing works afterwards", w)
				}
			}
		})
	}
}

// Where the configuration denies it, nobody is asked, and the call says why it
// failed.
func rowDeny(t *testing.T, program string) {
	for _, upstream := range ways {
		t.Run(upstream.String()+" upstream", func(t *testing.T) {
			t.Parallel()
			s := before(t, flatNames+upstreamBy(t, program, upstream)+"ask = 'deny'\n")
			for _, w := range ways {
				c := s.join(w)
				for name, capability := range map[string]string{"odd_elicit_form": "elicitation", "odd_elicit_url": "elicitation",
					"odd_sample": "sampling", "odd_roots": "roots"} {
					r := c.call(name, `{}`)
					if r.failed || at(r.answer, "isError") != "true" || !strings.Contains(string(r.answer), capability) || len(r.asked) > 0 {
						t.Errorf("%s, %s: asked %v, %.300s", w, name, r.asked, r.answer)
					}
				}
				refusal := c.converse(step{name: "a resource that asks", method: "resources/read", members: `"uri":"test://will-ask"`})
				if !refusal.failed || len(refusal.asked) > 0 {
					t.Errorf("%s: asked %v, %.300s", w, refusal.asked, refusal.answer)
				}
				if rawjson.Kind(refusal.answer) != '{' {
					t.Errorf("%s: no error object", w)
				}
			}
		})
	}
}
