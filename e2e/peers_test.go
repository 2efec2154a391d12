package e2e_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	mcpclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/mcp"
)

// user answers for a client what the reference server asks.
type user struct {
	mu    sync.Mutex
	asked []string
}

func (u *user) note(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked = append(u.asked, fmt.Sprintf(format, args...))
}

func (u *user) Elicit(_ context.Context, r mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	u.note("%s", r.Params.Message)
	return &mcp.ElicitationResult{ElicitationResponse: mcp.ElicitationResponse{
		Action: mcp.ElicitationResponseActionAccept, Content: map[string]any{"name": "Ada Wire", "check": true},
	}}, nil
}

func (u *user) CreateMessage(_ context.Context, r mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	u.note("sampling of %d messages", len(r.Messages))
	return &mcp.CreateMessageResult{
		SamplingMessage: mcp.SamplingMessage{Role: mcp.RoleAssistant, Content: mcp.NewTextContent("the client's own model")},
		Model:           "wire-1",
	}, nil
}

func (u *user) ListRoots(context.Context, mcp.ListRootsRequest) (*mcp.ListRootsResult, error) {
	return &mcp.ListRootsResult{Roots: []mcp.Root{{URI: "file:///wire", Name: "Wire"}}}, nil
}

// The reference server asks the user of a client of another make in mid-call,
// through every edge in every era, and its prompts, resources and completions
// are there.
func TestOtherPeersAskAndOffer(t *testing.T) {
	t.Parallel()
	bin, err := npm()
	needed(t, err)
	config := "[server]\nlist_wait = '1m'\n" +
		upstreamTable("pipe", fmt.Sprintf("command = [%q, %q]", filepath.Join(bin, "node"), filepath.Join(bin, "mcp-server-everything"))) +
		upstreamTable("web", fmt.Sprintf("url = 'http://127.0.0.1:%d/mcp'", everythingOver(t, "streamableHttp")))
	for _, w := range []way{{"stdio", "legacy"}, {"stdio", "modern"}, {"http", "legacy"}, {"http", "modern"}} {
		t.Run(w.String(), func(t *testing.T) {
			u := &user{}
			c := otherClient(t, config, w.transport, w.era,
				mcpclient.WithElicitationHandler(u), mcpclient.WithSamplingHandler(u), mcpclient.WithRootsHandler(u))
			if _, err := c.ListTools(t.Context(), mcp.ListToolsRequest{}); err != nil {
				t.Fatal(err)
			}
			for _, source := range []string{"pipe", "web"} {
				asks(t, c, u, source)
				offers(t, c, source)
			}
		})
	}
}

func asks(t *testing.T, c *mcpclient.Client, u *user, source string) {
	t.Helper()
	call := func(tool string, arguments map[string]any) string {
		req := mcp.CallToolRequest{}
		req.Params.Name, req.Params.Arguments = source+"_"+tool, arguments
		res, err := c.CallTool(t.Context(), req)
		if err != nil {
			t.Errorf("%s: %v", req.Params.Name, err)
			return ""
		}
		return fmt.Sprint(res.Content)
	}
	if got := call("trigger-elicitation-request", map[string]any{}); !strings.Contains(got, "Ada Wire") {
		t.Errorf("%s: the form came to %.300s", source, got)
	}
	if got := call("trigger-sampling-request", map[string]any{"prompt": "hello", "maxTokens": 10}); !strings.Contains(got, "the client's own model") {
		t.Errorf("%s: sampling came to %.300s", source, got)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.asked) != 2 || !strings.HasPrefix(u.asked[0], "["+source+"] ") {
		t.Errorf("%s asked %q", source, u.asked)
	}
	u.asked = nil
}

func offers(t *testing.T, c *mcpclient.Client, source string) {
	t.Helper()
	prompts, err := c.ListPrompts(t.Context(), mcp.ListPromptsRequest{})
	if err != nil || !strings.Contains(fmt.Sprint(prompts.Prompts), source+"_args-prompt") {
		t.Errorf("%s: prompts %v, %v", source, prompts, err)
	}
	get := mcp.GetPromptRequest{}
	get.Params.Name, get.Params.Arguments = source+"_args-prompt", map[string]string{"city": "Tarnwick"}
	if p, err := c.GetPrompt(t.Context(), get); err != nil || !strings.Contains(fmt.Sprint(p.Messages), "Tarnwick") {
		t.Errorf("%s: %v, %v", source, p, err)
	}
	templates, err := c.ListResourceTemplates(t.Context(), mcp.ListResourceTemplatesRequest{})
	if err != nil || len(templates.ResourceTemplates) < 2 {
		t.Fatalf("%s: templates %v, %v", source, templates, err)
	}
	// Both sources have the same addresses, so each is known by one of its own.
	for _, tpl := range templates.ResourceTemplates {
		raw := tpl.URITemplate.Raw()
		if !strings.Contains(raw, source+".bulkhead/") || !strings.Contains(raw, "text/{resourceId}") {
			continue
		}
		read := mcp.ReadResourceRequest{}
		read.Params.URI = strings.Replace(raw, "{resourceId}", "7", 1)
		res, err := c.ReadResource(t.Context(), read)
		if err != nil || !strings.Contains(fmt.Sprint(res.Contents), "7") || !strings.Contains(fmt.Sprint(res.Contents), source+".bulkhead/") {
			t.Errorf("%s: %v, %v", source, res, err)
		}
		return
	}
	t.Errorf("%s: no template of its own in %v", source, templates.ResourceTemplates)
}
