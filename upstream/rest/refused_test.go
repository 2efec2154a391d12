package rest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// tokens is a client whose token is the next one each time it is refused, until
// the last.
type tokens struct {
	last, at, asked int
	answer          func(token int) (status int, body string)
}

type tokenBody struct {
	io.ReadCloser
	of *tokens
}

func (b tokenBody) RefuseCredential(context.Context) bool {
	if b.of.at == b.of.last {
		return false
	}
	b.of.at++
	return true
}

func (k *tokens) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	k.asked++
	status, body := k.answer(k.at)
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: tokenBody{io.NopCloser(strings.NewReader(body)), k}}, nil
}

// A body that refuses the token counts as a 401: with another token the request is
// made once more, and never a third time.
func TestTokenRefusedInTheBody(t *testing.T) {
	const definition = `
base_url = "https://crm.example.com"
[errors]
failed = { path = "/ok", equals = false }
code = ["/code"]
codes = { ended = "token_refused", unknown = "needs_login", "403 ended" = "token_refused", "500 ended" = "token_refused" }
[action.create_x]
method = "POST"
path = "/x"
params.a = {}
`
	ended := `{"ok":false,"code":"ended"}`
	for name, c := range map[string]struct {
		good, last  int // the token that is good, and the last that there is
		status      int
		body        string
		asked, used int
		fails, sent bool
	}{
		"replaced":         {1, 9, 200, ended, 2, 1, false, false},
		"another status":   {1, 9, 403, ended, 2, 1, false, false},
		"no other":         {1, 0, 200, ended, 1, 0, true, false},
		"not twice":        {2, 9, 200, ended, 2, 1, true, false},
		"not for a token":  {1, 9, 200, `{"ok":false,"code":"unknown"}`, 1, 0, true, false},
		"perhaps executed": {1, 9, 500, ended, 1, 0, true, true},
		"known by the 401": {1, 9, 401, ended, 1, 0, true, false},
	} {
		k := &tokens{last: c.last, answer: func(token int) (int, string) {
			if token >= c.good {
				return 200, `{"ok":true}`
			}
			return c.status, c.body
		}}
		a, err := rest.New(rest.Options{ID: "crm", Definition: parse(t, definition), Writes: true}, &http.Client{Transport: k})
		if err != nil {
			t.Fatal(err)
		}
		_, err = call(t.Context(), a, "create_x", `{"a":"b"}`)
		if k.asked != c.asked || k.at != c.used || (err != nil) != c.fails {
			t.Errorf("%s: asked %d times, up to token %d: %v", name, k.asked, k.at, err)
		}
		if err != nil {
			wantKind(t, err, upstream.NeedsLogin, c.sent, "login")
		}
	}
}

// A source that is taken out in the middle of a call is not available; nobody has
// given the call up.
func TestClosedInMidCall(t *testing.T) {
	begun := make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	})
	a := open(t, "[action.get_x]\nmethod='GET'\npath='/x'", s)
	go func() {
		<-begun
		_ = a.Close()
	}()
	_, err := call(t.Context(), a, "get_x", `{}`)
	wantKind(t, err, upstream.Unavailable, true, "closed")
	_, err = call(t.Context(), a, "get_x", `{}`)
	wantKind(t, err, upstream.Unavailable, false, "closed")
}

// A service may say itself whether another attempt makes sense. That it does is
// believed only where a request that was executed can be made again.
func TestRetryHeader(t *testing.T) {
	const definition = `
[errors]
retry_header = "Should-Retry"
[action.get_x]
method = "GET"
path = "/x"
[action.create_x]
method = "POST"
path = "/x"
[action.create_keyed]
method = "POST"
path = "/x"
idempotency = "Idempotency-Key"
`
	for _, c := range []struct {
		tool, says string
		status     int
		kind       upstream.Kind
		sent       bool
	}{
		{"get_x", "true", 500, upstream.Unavailable, true},
		{"create_keyed", "TRUE", 500, upstream.Unavailable, true},
		{"create_x", "true", 500, upstream.UpstreamError, true},
		{"get_x", "perhaps", 500, upstream.UpstreamError, true},
		{"get_x", "", 500, upstream.UpstreamError, true},
		{"get_x", "true", 422, upstream.InvalidArguments, false},
		{"get_x", "true", 429, upstream.RateLimited, false},
		{"get_x", "false", 503, upstream.Unavailable, true},
		{"create_x", "false", 429, upstream.RateLimited, false},
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if c.says != "" {
				w.Header().Set("Should-Retry", c.says)
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, `{"message":"oops"}`)
		})
		_, err := call(t.Context(), open(t, definition, s), c.tool, `{}`)
		wantKind(t, err, c.kind, c.sent, "oops")
		if final := errors.Is(err, upstream.ErrFinal); final != (c.says == "false") {
			t.Errorf("%+v: final %v", c, final)
		}
	}
}

// A list in a good answer says what of the input was not taken.
func TestRefusedInput(t *testing.T) {
	const definition = `
[action.update_x]
method = "POST"
path = "/x"
records = "/data/x"
refused = "/data/problems"
`
	for problems, says := range map[string]string{
		`[]`: "", `null`: "", `{"a":1}`: "", `"x"`: "",
		`[{"field":"name","message":"is too long"}]`:          "it refuses this: name: is too long",
		`["one",{"code":"TAKEN"}]`:                            `it refuses this: one; {\"code\":\"TAKEN\"} (TAKEN)`,
		"[" + strings.Repeat(`{"message":"a"},`, 20) + `"b"]`: "; a; and 11 more",
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"data":{"x":{"id":1},"problems":`+problems+`}}`)
		})
		r, err := call(t.Context(), open(t, definition, s), "update_x", `{}`)
		if err != nil {
			t.Fatal(err)
		}
		structured, _ := r.Get("structuredContent")
		if r.IsError != (says != "") || string(structured) != `{"id":1}` || !strings.Contains(string(r.Raw), says) {
			t.Errorf("%s: %s", problems, r.Raw)
		}
	}
}
