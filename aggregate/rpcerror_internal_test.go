package aggregate

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestProtocolErrors(t *testing.T) {
	const facts = `{"io.github.bulkhead-mcp/error":{"code":"upstream_error","source":"crm","upstream":{"code":%,"message":"m\n","data":{"d":1}}}}`
	const lowered = `-32603 m ` + facts
	in := func(code int) *upstream.Error {
		return &upstream.Error{Upstream: "crm", Kind: upstream.UpstreamError, Sent: true,
			RPC: &upstream.RPCError{Code: code, Message: "m\n", Data: json.RawMessage(`{"d":1}`)}}
	}
	const kept = `% m {"d":1}`
	const disagrees = `-32603 upstream_error: crm: it does not agree with us on the protocol; other sources are unaffected. ` +
		`{"io.github.bulkhead-mcp/error":{"code":"upstream_error","source":"crm"}}`
	merged := strings.Replace(lowered, `{"io`, `{"d":1,"io`, 1)
	for _, tt := range []struct {
		codes          []int
		legacy, modern string
	}{
		{[]int{-32602, -32603, 1, 401, -32100, -31999, -1}, kept, kept},
		{[]int{-32601, -32700, -32600}, merged, merged},
		{[]int{-32002}, kept, `-32602 m {"d":1}`},
		{[]int{-32000, -32001, -32019}, kept, merged},
		{[]int{-32023, -32041, -32099}, kept, merged},
		{[]int{-32020, -32022}, disagrees, disagrees},
		{[]int{-32042}, `-32042 [crm] m {"d":1}`, merged},
		{[]int{-32021}, `-32603 denied: crm: it needs a capability, which this client does not have; repeating the call will not help; ` +
			`other sources are unaffected. {"io.github.bulkhead-mcp/error":{"code":"denied","source":"crm"}}`, kept},
	} {
		for _, code := range tt.codes {
			for modern, want := range map[bool]string{false: tt.legacy, true: tt.modern} {
				got := protocolError(in(code), modern)
				number, _ := json.Marshal(code)
				want = strings.ReplaceAll(want, "%", string(number))
				// Facts are ours, where a line break is written as one character.
				text, _ := json.Marshal(got.Code)
				line := string(text) + " " + strings.ReplaceAll(strings.TrimSpace(got.Message), "\n", `\n`) + " " + string(got.Data)
				line = strings.ReplaceAll(line, `"message":"m "`, `"message":"m\n"`)
				if diff := cmp.Diff(want, line); diff != "" {
					t.Errorf("code %d, modern %v: %s", code, modern, diff)
				}
			}
		}
	}
}

func TestOwnFailuresAsProtocolErrors(t *testing.T) {
	read := string(upstream.ReadResource)
	for _, tt := range []struct {
		e              upstream.Error
		legacy, modern int
	}{
		{upstream.Error{Kind: upstream.Unavailable}, upstream.CodeInternal, upstream.CodeInternal},
		{upstream.Error{Kind: upstream.Timeout}, upstream.CodeInternal, upstream.CodeInternal},
		{upstream.Error{Kind: upstream.Cancelled}, upstream.CodeInternal, upstream.CodeInternal},
		{upstream.Error{Kind: upstream.InvalidArguments}, upstream.CodeInvalidParams, upstream.CodeInvalidParams},
		{upstream.Error{Kind: upstream.NotFound, Op: read}, codeNotFound, upstream.CodeInvalidParams},
		{upstream.Error{Kind: upstream.NotFound, Op: string(upstream.GetPrompt)}, upstream.CodeInvalidParams, upstream.CodeInvalidParams},
	} {
		tt.e.Upstream = "crm"
		for modern, want := range map[bool]int{false: tt.legacy, true: tt.modern} {
			got := protocolError(&tt.e, modern)
			if got.Code != want || got.Message != failureText(&tt.e) || !strings.Contains(string(got.Data), `"code":"`+tt.e.Kind.Code()) {
				t.Errorf("%s, modern %v: %v %s", tt.e.Kind, modern, got, got.Data)
			}
		}
	}
	err := upstream.AsError("crm", "x", refuse("bad state"))
	if got := protocolError(err, true); got.Code != upstream.CodeInvalidParams || got.Message != "bad state" {
		t.Errorf("a refusal became %v", got)
	}
}
