package aggregate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// handedOn returns what the layer makes of an answer of this many bytes where
// limit bytes are the most.
func handedOn(t *testing.T, limit, size int, c *upstream.Call, typ upstream.ResultType) (*upstream.Result, error) {
	t.Helper()
	before, after := `{"content":[{"type":"text","text":"`, `"}]}`
	res, err := upstream.ParseResult([]byte(before + strings.Repeat("x", size-len(before)-len(after)) + after))
	if err != nil || len(res.Raw) != size {
		t.Fatal(err, len(res.Raw))
	}
	res.Type = typ
	rests := newRestStore()
	got, err := (&shapes{max: limit, rests: rests}).Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) { return res, nil })(t.Context(), c)
	if got != nil && string(got.Raw) == string(res.Raw) && len(rests.rests) > 0 {
		t.Error("a rest was kept of what was handed on whole")
	}
	return got, err
}

// A tool may say how much of its results Claude Code is to take in; it can only
// raise the limit, and only there.
func TestDeclaredResultSize(t *testing.T) {
	const limit = 2000
	for _, c := range []struct {
		client, meta string
		most         int // what is handed on whole
	}{
		{"claude-code", `{"anthropic/maxResultSizeChars":5000}`, 5000},
		{"claude-code", `{"anthropic/maxResultSizeChars":5e3}`, 5000},
		{"claude-code", `{"anthropic/maxResultSizeChars":500}`, limit},
		{"claude-code", `{"anthropic/maxResultSizeChars":1e400}`, limit},
		{"claude-code", `{"anthropic/maxResultSizeChars":9999999999999}`, 500_000},
		{"claude-code", `{"anthropic/maxResultSizeChars":-5000}`, limit},
		{"claude-code", `{"anthropic/maxResultSizeChars":"5000"}`, limit},
		{"claude-code", `{"maxResultSizeChars":5000}`, limit},
		{"claude-code", `null`, limit},
		{"claude-ai", `{"anthropic/maxResultSizeChars":5000}`, limit},
		{"", `{"anthropic/maxResultSizeChars":5000}`, limit},
	} {
		tool, err := upstream.ParseTool("crm", definition("get", `,"_meta":`+c.meta))
		if err != nil {
			t.Fatal(err)
		}
		call := &upstream.Call{Op: upstream.CallTool, Upstream: "crm", Name: "get", Tool: &tool, Client: c.client}
		if got, err := handedOn(t, limit, c.most, call, upstream.Final); err != nil || len(got.Raw) != c.most {
			t.Errorf("%q %s: %d bytes: %v", c.client, c.meta, c.most, err)
		}
		got, err := handedOn(t, limit, c.most+100, call, upstream.Final)
		if err != nil || !strings.Contains(string(got.Raw), fmt.Sprintf("[truncated: crm: The call succeeded, but its result of %d bytes", c.most+100)) {
			t.Errorf("%q %s: %d bytes: %v", c.client, c.meta, c.most+100, err)
		}
	}
}

// What is not a tool's content is never cut, and refused where it is far too
// long.
func TestWholeAnswers(t *testing.T) {
	const limit = 1000
	tool, err := upstream.ParseTool("crm", definition("get", ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		call *upstream.Call
		typ  upstream.ResultType
	}{
		{&upstream.Call{Op: upstream.ReadResource, Upstream: "crm", Name: "file:///x"}, upstream.Final},
		{&upstream.Call{Op: upstream.GetPrompt, Upstream: "crm", Name: "x"}, upstream.Final},
		{&upstream.Call{Op: upstream.CallTool, Upstream: "crm", Name: "get", Tool: &tool}, upstream.InputRequired},
		{&upstream.Call{Op: upstream.CallTool, Upstream: "crm", Name: "get", Tool: &tool}, upstream.TaskCreated},
	} {
		got, err := handedOn(t, limit, 8*limit, c.call, c.typ)
		if err != nil || len(got.Raw) != 8*limit || got.Type != c.typ {
			t.Errorf("%s: %v", c.call.Op, err)
		}
		_, err = handedOn(t, limit, 8*limit+1, c.call, c.typ)
		e, ok := errors.AsType[*upstream.Error](err)
		if !ok || e.Kind != upstream.UpstreamError || !e.Sent || !strings.HasPrefix(failureText(e),
			"upstream_error: crm: its answer of 8001 bytes is longer than the 8000 that may be handed on in one piece (8 times server.max_result)") {
			t.Errorf("%s: %v", c.call.Op, err)
		}
	}
}
