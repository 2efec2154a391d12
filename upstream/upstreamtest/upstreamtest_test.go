package upstreamtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/upstreamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is the smallest adapter that passes the suite.
type memory struct {
	life context.Context
	end  context.CancelFunc
}

func (m memory) Tools(context.Context) ([]upstream.Tool, error) {
	var tools []upstream.Tool
	for _, name := range []string{upstreamtest.Echo, upstreamtest.Sleep, upstreamtest.Fail, upstreamtest.Refuse} {
		t, err := upstream.NewTool("memory", upstream.ToolSpec{Name: name, Input: json.RawMessage(`{"type":"object"}`)})
		if err != nil {
			return nil, err
		}
		tools = append(tools, t)
	}
	return tools, nil
}

func (m memory) Items(_ context.Context, l upstream.List) ([]upstream.Item, error) {
	if m.life.Err() != nil {
		return nil, &upstream.Error{Upstream: "memory", Kind: upstream.Unavailable}
	}
	if l != upstream.Resources {
		return nil, nil
	}
	it, err := upstream.ParseItem("memory", l, json.RawMessage(`{"uri":"memory:all","name":"all"}`))
	return []upstream.Item{it}, err
}

func (m memory) Call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	fail := func(kind upstream.Kind, sent bool) (*upstream.Result, error) {
		return nil, &upstream.Error{Upstream: "memory", Tool: c.Name, Kind: kind, Sent: sent}
	}
	var args struct {
		Text string `json:"text"`
		MS   int    `json:"ms"`
	}
	switch {
	case m.life.Err() != nil:
		return fail(upstream.Unavailable, false)
	case c.Op == upstream.ReadResource && c.Name == "memory:all":
		return upstream.ParseResult(json.RawMessage(`{"contents":[]}`))
	case c.Op != upstream.CallTool:
		return fail(upstream.NotFound, false)
	case ctx.Err() != nil:
		return fail(ended(ctx), false)
	case json.Unmarshal(c.Arguments, &args) != nil:
		return fail(upstream.InvalidArguments, false)
	}
	switch c.Name {
	case upstreamtest.Echo:
		return upstream.TextResult(args.Text, false), nil
	case upstreamtest.Fail:
		return upstream.TextResult("failed", true), nil
	case upstreamtest.Sleep:
		select {
		case <-time.After(time.Duration(args.MS) * time.Millisecond):
			return upstream.TextResult("slept", false), nil
		case <-m.life.Done():
			return fail(upstream.Unavailable, true)
		case <-ctx.Done():
			return fail(ended(ctx), true)
		}
	}
	return fail(upstream.InvalidArguments, true)
}

func ended(ctx context.Context) upstream.Kind {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return upstream.Timeout
	}
	return upstream.Cancelled
}

func (m memory) Close() error {
	m.end()
	return nil
}

func TestSuiteOnTheSmallestAdapter(t *testing.T) {
	upstreamtest.Run(t, upstreamtest.Fixture{
		Start: func(*testing.T) upstreamtest.Harness {
			ctx, cancel := context.WithCancel(context.Background())
			return upstreamtest.Harness{Adapter: memory{ctx, cancel}}
		},
		Without: map[upstreamtest.Point]string{
			upstreamtest.Oversize: "it makes its answers itself", upstreamtest.Redirect: "it asks nobody", upstreamtest.Renewal: "it asks nobody",
		},
	})
}
