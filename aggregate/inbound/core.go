package inbound

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

type serviceKey struct{}

// newCore makes the mcp-go server that answers the handshake and refuses what
// neither it nor we know. It has no tools: they never pass through it.
func newCore(o Options) *mcpserver.MCPServer {
	hooks := &mcpserver.Hooks{}
	hooks.AddAfterInitialize(func(ctx context.Context, _ any, _ *mcp.InitializeRequest, res *mcp.InitializeResult) {
		res.Instructions = instructions(ctx)
	})
	hooks.AddAfterDiscover(func(ctx context.Context, _ any, _ *mcp.DiscoverRequest, res *mcp.DiscoverResult) {
		res.Instructions = instructions(ctx)
	})
	opts := []mcpserver.ServerOption{
		mcpserver.WithToolCapabilities(true),
		mcpserver.WithHooks(hooks),
	}
	if o.Title != "" {
		opts = append(opts, mcpserver.WithTitle(o.Title))
	}
	return mcpserver.NewMCPServer(o.Name, o.Version, opts...)
}

func instructions(ctx context.Context) string {
	if svc, ok := ctx.Value(serviceKey{}).(Service); ok {
		return svc.Instructions()
	}
	return ""
}

// handleByCore has mcp-go answer a request. It sees an id of ours, because it
// would read the client's through a float64, and a session of its own, because
// it keeps what a session said.
func (s *Server) handleByCore(ctx context.Context, r *request) (json.RawMessage, error) {
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
	ctx = s.core.WithContext(ctx, &coreSession{id: fmt.Sprintf("%p", r)})
	switch resp := s.core.HandleMessage(ctx, text).(type) {
	case mcp.JSONRPCResponse:
		return json.Marshal(resp.Result)
	case mcp.JSONRPCError:
		return nil, coreError(resp.Error)
	default:
		return nil, fmt.Errorf("mcp-go answered %s with %T", r.method, resp)
	}
}

func coreError(e mcp.JSONRPCErrorDetails) *upstream.RPCError {
	out := &upstream.RPCError{Code: e.Code, Message: e.Message}
	if e.Data != nil {
		if data, err := json.Marshal(e.Data); err == nil {
			out.Data = data
		}
	}
	return out
}

// coreSession is the session of a single request inside mcp-go. Nothing is ever
// sent to it.
type coreSession struct {
	id    string
	ready bool
}

func (c *coreSession) Initialize()       { c.ready = true }
func (c *coreSession) Initialized() bool { return c.ready }
func (c *coreSession) SessionID() string { return c.id }
func (c *coreSession) NotificationChannel() chan<- mcp.JSONRPCNotification {
	return nil
}
