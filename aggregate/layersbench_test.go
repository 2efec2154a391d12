package aggregate_test

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// BenchmarkLayers measures a call of an upstream that answers at once, with more
// and more layers at work. Each call is another question.
func BenchmarkLayers(b *testing.B) {
	trusted := allLimits
	trusted.TrustAnnotations = true
	hedged := allLimits
	hedged.Hedge = map[string]bool{"get": true}
	for _, c := range []struct {
		name    string
		limits  aggregate.Limits
		ttl     time.Duration
		attempt time.Duration
	}{
		{"none", aggregate.Limits{}, 0, 0},
		{"limits", allLimits, 0, 0},
		{"timeout", allLimits, 0, time.Minute},
		{"coalesce", trusted, 0, 0},
		{"cache", trusted, time.Minute, 0},
		{"hedge", hedged, 0, 0},
	} {
		b.Run(c.name, func(b *testing.B) { benchLayers(b, c.limits, c.ttl, c.attempt) })
	}
}

// BenchmarkPromise measures the same for a tool that has declared what it answers.
func BenchmarkPromise(b *testing.B) {
	const answer = `{"content":[],"structuredContent":{"id":"C-1042","name":"Acme"}}`
	for name, schema := range map[string]string{"none": "", "some": `,"outputSchema":{"type":"object","properties":{"id":{"type":"string"},"name":{"type":"string"}},"required":["id","name"]}`} {
		b.Run(name, func(b *testing.B) {
			res, err := upstream.ParseResult(json.RawMessage(answer))
			if err != nil {
				b.Fatal(err)
			}
			f := &fake{id: "crm", state: upstream.Connecting}
			f.tools = []upstream.Tool{parse(b, "crm", `{"name":"get","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}`+schema+`}`)}
			f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) { return res, nil }
			benchCalls(b, limited(f, aggregate.Limits{}))
		})
	}
}

func benchLayers(b *testing.B, limits aggregate.Limits, ttl, attempt time.Duration) {
	f := &fake{id: "crm", state: upstream.Connecting}
	tool, err := upstream.ParseTool("crm", json.RawMessage(`{"name":"get","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}`))
	if err != nil {
		b.Fatal(err)
	}
	f.tools = []upstream.Tool{tool}
	res := upstream.TextResult("ok", false)
	f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) { return res, nil }
	m := limited(f, limits)
	m.Cache.TTL, m.Attempt = ttl, attempt
	benchCalls(b, m)
}

func benchCalls(b *testing.B, m aggregate.Member) {
	a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	v, _ := a.View("")
	n := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		params := append(strconv.AppendInt([]byte(`{"name":"crm_get","arguments":{"customer":"C-1042","n":`), n, 10), "}}"...)
		if _, err := v.CallTool(ctx, &aggregate.Request{Principal: upstream.Local(), Params: params}); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
