package inbound

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// handshake answers initialize and server/discover, and refuses what neither
// mcp-go nor we know. It has no tools: they never pass through it.
type handshake struct{ core *mcpserver.MCPServer }

type serviceKey struct{}

func newHandshake(o Options) handshake {
	hooks := &mcpserver.Hooks{}
	hooks.AddAfterInitialize(func(ctx context.Context, _ any, _ *mcp.InitializeRequest, res *mcp.InitializeResult) {
		res.Instructions = instructions(ctx)
	})
	hooks.AddAfterDiscover(func(ctx context.Context, _ any, _ *mcp.DiscoverRequest, res *mcp.DiscoverResult) {
		res.Instructions = instructions(ctx)
	})
	opts := []mcpserver.ServerOption{
		// Also while nothing of a kind is there: what is offered is fixed for as
		// long as a client stays, and an upstream may come later.
		mcpserver.WithToolCapabilities(true),
		mcpserver.WithPromptCapabilities(true),
		mcpserver.WithResourceCapabilities(true, true),
		mcpserver.WithCompletions(),
		mcpserver.WithLogging(),
		mcpserver.WithHooks(hooks),
	}
	if o.Title != "" {
		opts = append(opts, mcpserver.WithTitle(o.Title))
	}
	return handshake{mcpserver.NewMCPServer(o.Name, o.Version, opts...)}
}

func instructions(ctx context.Context) string {
	if svc, ok := ctx.Value(serviceKey{}).(Service); ok {
		return svc.Instructions()
	}
	return ""
}

// answer has mcp-go answer a request. It sees an id of ours, because it would
// read the client's through a float64, and a session of its own, because it
// keeps what a session said.
func (h handshake) answer(ctx context.Context, r *request) (json.RawMessage, error) {
	text, err := json.Marshal(struct {
		Version string          `json:"jsonrpc"`
		ID      int             `json:"id"`
		Method  string          `json:"method"`
		Params  json.RawMessage `json:"params,omitempty"`
	}{"2.0", 1, r.method, r.params})
	if err != nil {
		return nil, err
	}
	ctx = context.WithValue(ctx, serviceKey{}, r.service)
	ctx = h.core.WithContext(ctx, &handshakeSession{id: fmt.Sprintf("%p", r)})
	switch resp := h.core.HandleMessage(ctx, text).(type) {
	case mcp.JSONRPCResponse:
		result, err := json.Marshal(resp.Result)
		if err != nil {
			return nil, err
		}
		return withExtensions(result, r.service)
	case mcp.JSONRPCError:
		e := &upstream.RPCError{Code: resp.Error.Code, Message: resp.Error.Message}
		if resp.Error.Data != nil {
			e.Data, err = json.Marshal(resp.Error.Data)
		}
		if err != nil {
			return nil, err
		}
		return nil, e
	default:
		return nil, fmt.Errorf("mcp-go answered %s with %T", r.method, resp)
	}
}

// withExtensions adds those of the service to the capabilities in a result.
// Legacy hosts read them too, although only MCP 2026-07-28 has them.
func withExtensions(result json.RawMessage, svc Service) (json.RawMessage, error) {
	capabilities, ok := rawjson.Get(result, "capabilities")
	offered := svc.Extensions()
	if !ok || len(offered) == 0 {
		return result, nil
	}
	extensions := []byte("{}")
	for _, id := range slices.Sorted(maps.Keys(offered)) {
		var err error
		if extensions, err = rawjson.Add(extensions, id, offered[id]); err != nil {
			return nil, err
		}
	}
	capabilities, err := rawjson.Set(capabilities, "extensions", extensions)
	if err != nil {
		return nil, err
	}
	return rawjson.Set(result, "capabilities", capabilities)
}

// handshakeSession is the session of a single request inside mcp-go. Nothing is
// ever sent to it.
type handshakeSession struct {
	id    string
	ready bool
}

func (c *handshakeSession) Initialize()       { c.ready = true }
func (c *handshakeSession) Initialized() bool { return c.ready }
func (c *handshakeSession) SessionID() string { return c.id }
func (c *handshakeSession) NotificationChannel() chan<- mcp.JSONRPCNotification {
	return nil
}
