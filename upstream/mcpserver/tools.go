package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// What one list may amount to.
const (
	maxPages     = 1_000
	maxTools     = 100_000
	maxListBytes = 64 << 20
)

// Tools implements [upstream.Adapter]. A tool that cannot be offered is held
// back, see [Adapter.Held], and costs only itself.
func (a *Adapter) Tools(ctx context.Context) ([]upstream.Tool, error) {
	l := listing{id: a.opt.ID, names: map[string]bool{}}
	cursor, cursors := json.RawMessage(nil), map[string]bool{}
	for page := 1; ; page++ {
		next, err := a.page(ctx, &l, cursor)
		switch {
		case err != nil:
		case next == nil:
			a.hold(l.held)
			return l.tools, nil
		case cursors[string(next)]:
			err = failure(upstream.UpstreamError, true, "its list of tools goes round in circles: a page has the cursor of an earlier one", nil)
		case page == maxPages:
			err = failure(upstream.UpstreamError, true, fmt.Sprintf("its list of tools has more than %d pages", maxPages), nil)
		}
		if err != nil {
			return nil, a.named(err, "", methodTools)
		}
		cursors[string(next)] = true
		cursor = next
	}
}

// page reads one page and returns the cursor of the next, nil after the last.
func (a *Adapter) page(ctx context.Context, l *listing, cursor json.RawMessage) (json.RawMessage, error) {
	ans, c, err := a.exchange(ctx, func(p *peer) request {
		members := ""
		if cursor != nil {
			members = `"cursor":` + string(cursor)
		}
		return request{method: methodTools, params: ownParams(members, p.meta)}
	})
	if err != nil {
		// A server without tools need not know the method.
		if e := upstream.AsError("", "", err); e.RPC != nil && e.RPC.Code == upstream.CodeMethodNotFound && !c.peer.hasTools {
			return nil, nil
		}
		return nil, err
	}
	l.headers = c.peer.modern && a.mirror
	if err := l.add(ans.result); err != nil {
		return nil, err
	}
	next, _ := rawjson.Get(ans.result, "nextCursor")
	// An empty cursor is a cursor like any other (MCP 2026-07-28, pagination);
	// before that, servers used to say so that there is no more.
	if rawjson.Kind(next) != '"' || (!c.peer.modern && string(next) == `""`) {
		return nil, nil
	}
	return next, nil
}

// listing collects the pages of one list.
type listing struct {
	id      upstream.ID
	headers bool // header annotations count: modern, over HTTP
	tools   []upstream.Tool
	held    []upstream.Held
	names   map[string]bool
	bytes   int
}

func (l *listing) add(page json.RawMessage) error {
	if l.bytes += len(page); l.bytes > maxListBytes {
		return failure(upstream.UpstreamError, true, fmt.Sprintf("its list of tools is larger than %d MiB", maxListBytes>>20), nil)
	}
	arr, _ := rawjson.Get(page, "tools")
	if rawjson.Kind(arr) != '[' {
		return failure(upstream.UpstreamError, true, "answered tools/list without an array of tools", nil)
	}
	for raw := range rawjson.Elements(arr) {
		if len(l.tools)+len(l.held) == maxTools {
			return failure(upstream.UpstreamError, true, fmt.Sprintf("it lists more than %d tools", maxTools), nil)
		}
		t, err := upstream.ParseTool(l.id, raw)
		switch {
		case err != nil:
		case l.names[t.Name]:
			err = fmt.Errorf("an earlier tool has the same name")
		case l.headers:
			err = checkHeaders(&t)
		}
		if err != nil {
			name := t.Name
			if name == "" {
				name = fmt.Sprintf("#%d", len(l.tools)+len(l.held)+1)
			}
			l.held = append(l.held, upstream.Held{Tool: name, Reason: err.Error()})
			continue
		}
		l.names[t.Name] = true
		l.tools = append(l.tools, t)
	}
	return nil
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

// hold publishes what is held back and warns where that has changed.
func (a *Adapter) hold(held []upstream.Held) {
	old := a.held.Swap(&held)
	if old != nil && slices.Equal(*old, held) {
		return
	}
	for i, h := range held {
		if i == 10 {
			a.opt.Log.Warn("more tools held back", "upstream", a.opt.ID, "count", len(held)-i)
			break
		}
		a.opt.Log.Warn("tool held back", "upstream", a.opt.ID, "tool", escape(bounded(h.Tool, 128)), "reason", h.Reason)
	}
}
