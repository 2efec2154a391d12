package aggregate_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// BenchmarkAskable is what it costs that a client can be asked, where nobody
// asks.
func BenchmarkAskable(b *testing.B) {
	ask := func(context.Context, upstream.Question) (json.RawMessage, error) { return nil, nil }
	for name, r := range map[string]aggregate.Request{
		"legacy/mute":    {},
		"legacy/asked":   {Back: upstream.Back{Capabilities: json.RawMessage(everything), Ask: ask}},
		"modern/mute":    {Modern: true},
		"modern/asked":   {Modern: true, Back: upstream.Back{Capabilities: json.RawMessage(everything)}},
		"modern/typical": {Modern: true, Back: upstream.Back{Capabilities: json.RawMessage(`{"roots":{"listChanged":true},"elicitation":{}}`)}},
		"modern/unable":  {Modern: true, Back: upstream.Back{Capabilities: json.RawMessage(`{"extensions":{"io.modelcontextprotocol/ui":{}}}`)}},
	} {
		b.Run(name, func(b *testing.B) {
			f := newFake(b, "crm", "get")
			res := upstream.TextResult("done", false)
			f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) { return res, nil }
			a, err := aggregate.New([]aggregate.Member{member(f)}, aggregate.Options{Plain: true})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			v, _ := a.View("")
			r.Principal, r.Params = upstream.Local(), []byte(getX)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.CallTool(ctx, &r); err != nil {
					b.Fatal(err)
				}
			}
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
