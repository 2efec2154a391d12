package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/mark3labs/mcp-go/client"           //nolint:depguard // what is measured here is the library itself
	"github.com/mark3labs/mcp-go/client/transport" //nolint:depguard // as above
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server" //nolint:depguard // as above
)

// relayHandler is the least that relays tools with mcp-go's own transports and
// types on both sides. stop ends its client.
func relayHandler(ctx context.Context, era, upstream string) (h http.Handler, stop func() error, err error) {
	pooled := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512}} // its default of 2 would be measured instead
	over, err := transport.NewStreamableHTTP(upstream, transport.WithHTTPBasicClient(pooled))
	if err != nil {
		return nil, nil, err
	}
	var options []client.ClientOption
	if era == "legacy" {
		options = append(options, client.WithLegacyProtocolOnly()) //nolint:staticcheck // deprecated as the era is, which is what is measured
	}
	c := client.NewClient(over, options...)
	tools, err := connect(ctx, c)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("relay: %w", err), c.Close())
	}
	s := server.NewMCPServer("relay", "1", server.WithToolCapabilities(true))
	for _, tool := range tools {
		s.AddTool(tool, c.CallTool)
	}
	mux := http.NewServeMux()
	mux.Handle("/mcp", server.NewStreamableHTTPServer(s))
	return mux, c.Close, nil
}

func connect(ctx context.Context, c *client.Client) ([]mcp.Tool, error) {
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	var hello mcp.InitializeRequest
	hello.Params.ProtocolVersion = mcp.LATEST_PROTOCOL_VERSION
	hello.Params.ClientInfo = mcp.Implementation{Name: "relay", Version: "1"}
	if _, err := c.Initialize(ctx, hello); err != nil {
		return nil, err
	}
	list, err := c.ListTools(ctx, mcp.ListToolsRequest{})
	if err != nil {
		return nil, err
	}
	return list.Tools, nil
}
