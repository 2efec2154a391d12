package metrics_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/metrics"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// quick answers at once.
type quick struct{ leaky }

func (quick) Call(context.Context, *upstream.Call) (*upstream.Result, error) {
	return &upstream.Result{Raw: json.RawMessage(`{"content":[{"type":"text","text":"` + strings.Repeat("one two ", 200) + `"}]}`)}, nil
}

// BenchmarkCallTool is a call through the whole aggregate, counted and not: the
// difference is what counting costs.
func BenchmarkCallTool(b *testing.B) {
	for name, observer := range map[string]aggregate.Observer{"not counted": nil, "counted": metrics.New("v1")} {
		b.Run(name, func(b *testing.B) {
			a, err := aggregate.New([]aggregate.Member{{ID: "crm", Adapter: quick{leaky{"x"}}, Prefix: "crm", Identity: "x"}}, aggregate.Options{Observer: observer, Plain: true})
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			if err := a.Settled(ctx); err != nil {
				b.Fatal(err)
			}
			v, _ := a.View("")
			r := &aggregate.Request{
				Principal: upstream.Local(), Session: "s", Client: "claude-code", ClientVersion: "2.1.0",
				Method: "tools/call", Params: json.RawMessage(`{"name":"crm_t_x","arguments":{"q":"a"}}`),
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.CallTool(ctx, r); err != nil {
					b.Fatal(err)
				}
			}
			stop()
			if err := <-done; err != nil {
				b.Error(err)
			}
		})
	}
}
