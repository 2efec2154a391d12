package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Tools implements [upstream.Adapter]. A tool that cannot be offered is held
// back, see [Adapter.Held], and costs only itself.
func (a *Adapter) Tools(ctx context.Context) ([]upstream.Tool, error) {
	var tools []upstream.Tool
	l := listing{a: a, list: upstream.Tools}
	l.take = func(p *peer, raw json.RawMessage) (string, error) {
		t, err := upstream.ParseTool(a.opt.ID, raw)
		switch {
		case err != nil:
		case l.keys[t.Name]:
			err = errTwice
		case p.modern && a.mirror:
			err = checkHeaders(&t)
		}
		if err == nil {
			tools = append(tools, t)
		}
		return t.Name, err
	}
	if err := l.drain(ctx); err != nil {
		return nil, err
	}
	return tools, nil
}

// headerTool returns t as mcp-go's header helpers want it; nil if no argument
// of t travels in a header.
func headerTool(t *upstream.Tool) *mcp.Tool {
	if t == nil || !bytes.Contains(t.Raw, []byte("x-mcp-header")) {
		return nil
	}
	schema, _ := rawjson.Get(t.Raw, "inputSchema")
	return &mcp.Tool{RawInputSchema: schema}
}

// checkHeaders refuses what a client must not offer (MCP 2026-07-28, tools,
// §x-mcp-header).
func checkHeaders(t *upstream.Tool) error {
	if h := headerTool(t); h != nil {
		return mcp.ValidateParamHeaderAnnotations(h)
	}
	return nil
}
