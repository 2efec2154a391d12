package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// BenchmarkCallTool is a call from the client's params to the bytes that go
// back, with an adapter that checks and parses its answer like a real one.
func BenchmarkCallTool(b *testing.B) {
	row, _ := json.Marshal(`{"id":1042,"name":"Acme"}` + "\n")
	for _, size := range []int{200, 1 << 20} {
		text := strings.Repeat(strings.Trim(string(row), `"`), size/len(row)+1)
		raw := []byte(`{"content":[{"type":"text","text":"` + text + `"}]}`)
		for _, modern := range []bool{false, true} {
			b.Run(fmt.Sprintf("bytes=%d/modern=%v", size, modern), func(b *testing.B) { benchCall(b, raw, modern, aggregate.Limits{}) })
		}
		b.Run(fmt.Sprintf("bytes=%d/limits", size), func(b *testing.B) { benchCall(b, raw, false, allLimits) })
	}
}

// allLimits has every layer at work and none in the way.
var allLimits = aggregate.Limits{
	Concurrency: 32, Queue: 256, QueueWait: 10 * time.Second, Rate: 1e9, Burst: 1e9,
	Attempts: 3, Failures: 5, CoolDown: 5 * time.Second, Costs: map[string]float64{"other": 2},
}

func benchCall(b *testing.B, raw []byte, modern bool, limits aggregate.Limits) {
	f := &fake{id: "crm", state: upstream.Connecting}
	tool, err := upstream.ParseTool("crm", json.RawMessage(plainTool))
	if err != nil {
		b.Fatal(err)
	}
	f.tools = []upstream.Tool{tool}
	f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
		if err := rawjson.Check(raw, rawjson.Limits{}); err != nil {
			return nil, err
		}
		return upstream.ParseResult(raw)
	}
	a, err := aggregate.New([]aggregate.Member{limited(f, limits)}, aggregate.Options{MaxResult: 4 << 20})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	v, _ := a.View("")
	req := &aggregate.Request{Principal: upstream.Local(), Modern: modern,
		Params: []byte(`{"name":"crm_get","arguments":{"customer":"C-1042"}}`)}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.CallTool(ctx, req); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
