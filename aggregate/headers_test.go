package aggregate_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestArgumentsInHeaderFieldsMustAgree(t *testing.T) {
	const mirrored = `{"name":"get","inputSchema":{"type":"object","properties":{` +
		`"region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer"}}}}`
	tests := []struct {
		name, tool, arguments string
		header                http.Header
		refused               bool
	}{
		{"agree", mirrored, `{"region":"eu"}`, http.Header{"Mcp-Param-Region": {"eu"}}, false},
		{"agree, in Base64", mirrored, `{"region":"größe"}`, http.Header{"Mcp-Param-Region": {"=?base64?Z3LDtsOfZQ==?="}}, false},
		{"differ", mirrored, `{"region":"eu"}`, http.Header{"Mcp-Param-Region": {"us"}}, true},
		{"missing field", mirrored, `{"region":"eu"}`, http.Header{}, true},
		{"missing argument", mirrored, `{"n":1}`, http.Header{"Mcp-Param-Region": {"us"}}, true},
		{"neither", mirrored, `{"n":1}`, http.Header{}, false},
		{"no header fields at all, as on stdio", mirrored, `{"region":"eu"}`, nil, false},
		{"a tool that wants none", plainTool, `{"region":"eu"}`, http.Header{"Mcp-Param-Region": {"us"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, "crm")
				f.tools = append(f.tools, parse(t, "crm", tt.tool))
				v, _ := start(t, aggregate.Options{}, member(f))
				names(t, v)
				_, err := v.CallTool(t.Context(), &aggregate.Request{
					Principal: upstream.Local(), Modern: true, Header: tt.header,
					Params: fmt.Appendf(nil, `{"name":"crm_get","arguments":%s}`, tt.arguments),
				})
				rpc, ok := errors.AsType[*upstream.RPCError](err)
				if ok != tt.refused || ok && rpc.Code != -32020 {
					t.Errorf("%v", err)
				}
			})
		})
	}
}
