package inbound_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
)

// A client of another make lists, calls and is told of changes, over both
// transports in both eras.
func TestRealClient(t *testing.T) {
	for _, transportName := range []string{"stdio", "http", "sse"} {
		for _, era := range []string{"legacy", "modern"} {
			t.Run(transportName+" "+era, func(t *testing.T) {
				f := newFake()
				f.custom = counting
				s := newServer(t, f, inbound.Options{})
				var tr transport.Interface
				switch transportName {
				case "stdio":
					tr = overPipes(t, s)
				case "http":
					tr = overHTTP(t, s, era)
				case "sse":
					tr = overEvents(t, s)
				}
				var opts []client.ClientOption
				want := mcp.ProtocolVersion20260728
				if era == "legacy" {
					opts = append(opts, client.WithLegacyProtocolOnly()) //nolint:staticcheck // legacy clients are what is tested
					want = mcp.ProtocolVersion20251125
				}
				c := client.NewClient(tr, opts...)
				defer c.Close()
				converse(t, c, f, want)
				// Over HTTP this client cancels by leaving, which is none in the
				// legacy era, and over HTTP+SSE in neither.
				cancelCall(t, c, f, transportName == "stdio" || transportName == "http" && era == "modern")
			})
		}
	}
}

func overPipes(t *testing.T, s *inbound.Server) transport.Interface {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := s.ServeStdio(context.Background(), inR, outW)
		outW.Close()
		done <- err
	}()
	t.Cleanup(func() {
		inW.Close()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("ServeStdio did not return")
		}
	})
	return transport.NewIO(outR, inW, io.NopCloser(new(neverReader)))
}

// neverReader is the standard error of a server that has nothing to say.
type neverReader struct{}

func (*neverReader) Read([]byte) (int, error) { return 0, io.EOF }

func overHTTP(t *testing.T, s *inbound.Server, era string) transport.Interface {
	w := serve(t, s)
	opts := []transport.StreamableHTTPCOption{transport.WithHTTPBasicClient(w.client), transport.WithHTTPLogger(slog.New(slog.DiscardHandler))}
	if era == "legacy" {
		opts = append(opts, transport.WithContinuousListening()) //nolint:staticcheck // legacy clients are what is tested
	}
	tr, err := transport.NewStreamableHTTP(w.url+"/mcp", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func overEvents(t *testing.T, s *inbound.Server) transport.Interface {
	w := serve(t, s)
	c, err := client.NewSSEMCPClient(w.url+"/sse", transport.WithHTTPClient(w.client), transport.WithSSELogger(slog.New(slog.DiscardHandler))) //nolint:staticcheck // legacy clients are what is tested
	if err != nil {
		t.Fatal(err)
	}
	return c.GetTransport()
}

func converse(t *testing.T, c *client.Client, f *fake, version string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// The stream of HTTP+SSE lives as long as this context.
	if err := c.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	changes, progress := make(chan struct{}, 100), make(chan string, 100)
	c.OnNotification(func(n mcp.JSONRPCNotification) {
		if n.Method == "notifications/progress" {
			progress <- fmt.Sprint(n.Params.AdditionalFields["progressToken"], n.Params.AdditionalFields["progress"])
		}
		if n.Method == mcp.MethodNotificationToolsListChanged {
			changes <- struct{}{}
		}
	})
	init := mcp.InitializeRequest{}
	init.Params.ProtocolVersion = version
	init.Params.ClientInfo = mcp.Implementation{Name: "real", Version: "1"}
	res, err := c.Initialize(ctx, init)
	if err != nil {
		t.Fatal(err)
	}
	if c.ProtocolVersion() != version || res.Instructions != "Use echo." || res.Capabilities.Tools == nil || !res.Capabilities.Tools.ListChanged {
		t.Fatalf("%s %+v", c.ProtocolVersion(), res)
	}
	tools, err := c.ListTools(ctx, mcp.ListToolsRequest{})
	if err != nil || len(tools.Tools) != 1 || tools.Tools[0].Name != "echo" {
		t.Fatal(tools, err)
	}
	req := mcp.CallToolRequest{}
	req.Params.Name = "echo"
	if _, err := c.CallTool(ctx, req); err != nil {
		t.Fatal(err)
	}
	if r := f.request(); r.Client != "real" || r.Modern != mcp.IsModernProtocol(version) {
		t.Fatalf("%+v", r)
	}
	req.Params.Name = "custom"
	req.Params.Arguments = map[string]any{"n": 3}
	req.Params.Meta = &mcp.Meta{ProgressToken: "mine"}
	if _, err := c.CallTool(ctx, req); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		select {
		case got := <-progress:
			if want := fmt.Sprint("mine", i+1); got != want {
				t.Fatalf("%s instead of %s", got, want)
			}
		case <-ctx.Done():
			t.Fatal("the client was not told of progress")
		}
	}
	if mcp.IsModernProtocol(version) {
		stop, err := c.ListenAsync(ctx, mcp.SubscriptionFilter{ToolsListChanged: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	eventually(t, "the client subscribes", func() bool { return f.subscribers() == 1 })
	f.changed()
	select {
	case <-changes:
	case <-ctx.Done():
		t.Fatal("the client was not told of the change")
	}
}

func cancelCall(t *testing.T, c *client.Client, f *fake, effective bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req := mcp.CallToolRequest{}
	req.Params.Name = "block"
	done := make(chan error, 1)
	go func() { _, err := c.CallTool(ctx, req); done <- err }()
	f.awaitEntered(t, 1)
	cancel()
	if err := <-done; err == nil {
		t.Fatal("the cancelled call was answered")
	}
	if effective {
		f.awaitCancelled(t)
		return
	}
	close(f.release)
	eventually(t, "the call finishes", func() bool { return f.running() == 0 })
	if len(f.ended) != 0 {
		t.Fatal("the call was cancelled by a disconnect")
	}
}
