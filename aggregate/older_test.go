package aggregate_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Each client gets what its revision has room for, and the rest as text.
func TestEachRevisionGetsWhatItKnows(t *testing.T) {
	const (
		text    = `{"type":"text","text":"a \"resource_link\""}`
		link    = `{"type":"resource_link","name":"the\nlog","uri":"log://1","x":1e400}`
		asLink  = `{"type":"text","text":"[resource the log: log://1]"}`
		audio   = `{"type":"audio","mimeType":"audio/wav","data":"AAAA"}`
		asAudio = `{"type":"text","text":"[audio, audio/wav, 4 bytes in base64, which this client does not take]"}`
	)
	tests := []struct {
		version, said, heard string
	}{
		{"2026-07-28", `{"content":[` + link + `],"structuredContent":[1e400]}`, `{"content":[` + link + `],"structuredContent":[1e400],"resultType":"complete"}`},
		{"2025-11-25", `{"content":[` + link + `,` + audio + `],"structuredContent":{"a":1}}`, ""},
		{"", `{"content":[` + link + `]}`, ""},
		{"2025-11-25", `{"content":[` + text + `],"structuredContent":[1],"x":1}`, `{"content":[{"type":"text","text":"[1]"},` + text + `],"x":1}`},
		{"2025-11-25", `{"content":[{"type":"text","text":"[1, {\"b\":2,\"a\":1}]"}],"structuredContent":[1,{"a":1,"b":2}]}`, `{"content":[{"type":"text","text":"[1, {\"b\":2,\"a\":1}]"}]}`},
		{"2025-11-25", `{"content":[{"type":"text","text":"{\"a\":1}"},{"type":"text","text":"{\"a\":2}"}],"structuredContent":[{"a":1},{"a":2}]}`, `{"content":[{"type":"text","text":"{\"a\":1}"},{"type":"text","text":"{\"a\":2}"}]}`},
		{"2025-11-25", `{"content":[{"type":"text","text":"{\"a\":1}"}],"structuredContent":[{"a":1},{"a":2}]}`, `{"content":[{"type":"text","text":"[{\"a\":1},{\"a\":2}]"},{"type":"text","text":"{\"a\":1}"}]}`},
		{"2025-11-25", `{"content":[{"type":"text","text":"a\"b"}],"structuredContent":"a\"b"}`, `{"content":[{"type":"text","text":"a\"b"}]}`},
		{"2025-11-25", `{"content":[{"type":"text","text":"Three."}],"structuredContent": 3}`, `{"content":[{"type":"text","text":"3"},{"type":"text","text":"Three."}]}`},
		{"2025-11-25", `{"content":[{"type":"text","text":"3"}],"structuredContent":3}`, `{"content":[{"type":"text","text":"3"}]}`},
		{"2025-06-18", `{"content":[],"structuredContent":["\"",1e400]}`, `{"content":[{"type":"text","text":"[\"\\\"\",1e400]"}]}`},
		{"2025-06-18", `{"structuredContent":null}`, `{"content":[{"type":"text","text":"null"}]}`},
		{"2025-06-18", `{"content":[` + link + `,` + audio + `]}`, ""},
		{"2025-03-26", `{ "content":[` + text + `, ` + link + `,` + audio + `]}`, `{ "content":[` + text + `,` + asLink + `,` + audio + `]}`},
		{"2024-11-05", `{"content":[` + link + `,` + audio + `]}`, `{"content":[` + asLink + `,` + asAudio + `]}`},
		{"2024-11-05", `{ "content" : [ ` + text + ` , 5 ] }`, ""},
		{"2024-11-05", `{"messages":[{"content":` + text + `,"role":"user"},{"role":"user","content":` + audio + `}]}`,
			`{"messages":[{"content":` + text + `,"role":"user"},{"role":"user","content":` + asAudio + `}]}`},
	}
	synctest.Test(t, func(t *testing.T) {
		said := ""
		v := serve(t, aggregate.Options{}, func(context.Context, *upstream.Call) (*upstream.Result, error) {
			return upstream.ParseResult([]byte(said))
		})
		for _, tt := range tests {
			said = tt.said
			if tt.heard == "" {
				tt.heard = tt.said
			}
			raw, err := v.CallTool(t.Context(), &aggregate.Request{Principal: alice, Params: []byte(`{"name":"crm_get"}`),
				Version: tt.version, Modern: tt.version == "2026-07-28"})
			if err != nil || string(raw) != tt.heard {
				t.Errorf("%s: %v\n got %s\nwant %s", tt.version, err, raw, tt.heard)
			}
		}
	})
}

// Earlier revisions know output schemas of objects only, and hosts of theirs drop
// every tool of the server over another.
func TestOutputSchemasOfNoObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			a   = `{"name":"a","inputSchema":{"type":"object"},"outputSchema":{"type":"object"}}`
			bee = `{"name":"b","inputSchema":{"type":"object"}`
			sea = `{"name":"c","inputSchema":{"type":"object"},"description":"outputSchema"}`
		)
		f := newFake(t, "crm")
		f.tools = []upstream.Tool{parse(t, "crm", a), parse(t, "crm", bee+`,"outputSchema":{"type":"array","items":{"const":1e400}}}`), parse(t, "crm", sea)}
		m := member(f)
		m.Prefix = ""
		v, _ := start(t, aggregate.Options{PageSize: 2}, m)
		for modern, page := range map[bool]string{
			false: `{"tools":[` + a + `,` + bee + `}],"nextCursor":"`,
			true:  `{"tools":[` + a + `,` + bee + `,"outputSchema":{"type":"array","items":{"const":1e400}}}],"nextCursor":"`,
		} {
			if got, _ := ask(t, v, modern, "tools/list", ``); len(got) < len(page) || got[:len(page)] != page {
				t.Errorf("got %s, want %s", got, page)
			}
		}
	})
}
