package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// newGraphQL starts the GraphQL service, which asks for token. done returns what
// it has carried out so far.
func newGraphQL(t *testing.T, token string) (url string, done func() []string) {
	t.Helper()
	bin, err := npm()
	needed(t, err)
	cmd := exec.Command(filepath.Join(bin, "node"), filepath.Join("graphql", "service.mjs"))
	cmd.Env = append(os.Environ(), "TOKEN="+token)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var said []string
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("it does not start: %v", lines.Err())
	}
	url = lines.Text()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines.Scan() {
			mu.Lock()
			said = append(said, lines.Text())
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		<-read
		_ = cmd.Wait()
	})
	return url, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(said)
	}
}

// writeFile writes a file of a configuration.
func writeFile(t *testing.T, text string, path ...string) {
	t.Helper()
	name := filepath.Join(path...)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

const shopOperations = `
# Reads one order.
query GetOrder($id: ID!) { order(id: $id) { ...Head lines { sku count } } }
query FindOrders($where: OrderFilter, $first: Int = 10) { orders(where: $where, first: $first) { nodes { ...Head } count } }
query GetSecret($id: ID!) { order(id: $id) { id secret } }
mutation CancelOrder($id: ID!, $reason: Reason!) { cancel(id: $id, reason: $reason) { id status } }
`

// TestGraphQL: operations of files against a real service, with its credential.
func TestGraphQL(t *testing.T) {
	t.Parallel()
	url, done := newGraphQL(t, "canary-token")
	home := t.TempDir()
	env := []string{"SHOP_TOKEN=canary-token"}
	writeFile(t, shopOperations, home, "queries", "shop.graphql")
	writeFile(t, "fragment Head on Order { id total status }", home, "queries", "parts.graphql")
	shop := func(more ...string) string {
		return upstreamTable("shop", append([]string{`kind = "graphql"`, fmt.Sprintf("url = %q", url), `documents = ["queries/*.graphql"]`,
			`auth = { type = "bearer", token = { env = "SHOP_TOKEN" } }`}, more...)...)
	}

	// Without a schema, and without writes.
	p := startIn(t, home, shop(), env)
	c := p.stdio(true)
	c.ready()
	if tools := c.tools(); !slices.Contains(tools, "shop_get_order") || slices.Contains(tools, "shop_cancel_order") {
		t.Errorf("the tools are %q", tools)
	}
	if got := c.mustCall("shop_get_order", map[string]any{"id": "9007199254740993"}).text(); got != `{"data":{"order":{"id":"9007199254740993","total":1250,"status":"OPEN","lines":[{"sku":"a-1","count":2}]}}}` {
		t.Error(got)
	}
	if got := c.mustCall("shop_find_orders", map[string]any{"where": map[string]any{"status": "SENT"}}).text(); got != `{"data":{"orders":{"nodes":[{"id":"2","total":99,"status":"SENT"}],"count":1}}}` {
		t.Error(got)
	}
	partial := c.mustCall("shop_get_secret", map[string]any{"id": "2"})
	if got := partial.text(); partial.IsError || got != `{"data":{"order":{"id":"2","secret":null}},"errors":[{"message":"not for you","path":["order","secret"],"code":"FORBIDDEN"}]}` {
		t.Errorf("%+v", partial)
	}
	for args, want := range map[string]string{
		`{"id":"77"}`:            `{"data":{"order":null},"errors":[{"message":"there is no order 77","path":["order"],"code":"NOT_FOUND"}]}`,
		`{}`:                     "invalid_arguments: shop: id is missing",
		`{"id":"1","nr":5}`:      `invalid_arguments: shop: "nr" is no argument; there are: id`,
		`{"id":{"not":"an id"}}`: `invalid_arguments: shop: it answered "`,
	} {
		if r, err := c.call("shop_get_order", json.RawMessage(args)); err != nil || !strings.HasPrefix(r.text(), want) {
			t.Errorf("%s: %+v, %v", args, r, err)
		}
	}
	_ = p.in.Close()
	p.wait()

	// With its schema, as it tells it itself, and with writes.
	out, log, code := run(t, shop(), env, "import-graphql", "shop", "--out", filepath.Join(home, "all"), "--mutations")
	if code != 0 {
		t.Fatalf("status %d: %s%s", code, out, log)
	}
	p = startIn(t, home, strings.Replace(shop(out, `writes = "serial"`), `documents = ["queries/*.graphql"]`, "", 1), env)
	c = p.stdio(true)
	c.ready()
	if tools := c.tools(); !slices.Contains(tools, "shop_cancel") || !slices.Contains(tools, "shop_orders") || !slices.Contains(tools, "shop_me") {
		t.Fatalf("the proposed tools are %q", tools)
	}
	if got := c.mustCall("shop_orders", map[string]any{"first": 1}).text(); got != `{"data":{"orders":{"nodes":[{"id":"9007199254740993","total":1250,"status":"OPEN","lines":[{"sku":"a-1","count":2}],"secret":null}],"pageInfo":{"endCursor":null,"hasNextPage":false},"count":1}},"errors":[{"message":"not for you","path":["orders","nodes",0,"secret"],"code":"FORBIDDEN"}]}` {
		t.Error(got)
	}
	if r, err := c.call("shop_cancel", map[string]any{"id": "2", "reason": "BORED"}); err != nil || !strings.HasPrefix(r.text(), "invalid_arguments: shop: ") || len(done()) > 0 {
		t.Errorf("%+v, %v; done: %q", r, err, done())
	}
	c.mustCall("shop_cancel", map[string]any{"id": "2", "reason": "MISTAKE"})
	if !eventually(func() bool { return len(done()) > 0 }) || len(done()) != 1 || done()[0] != "cancelled 2" {
		t.Errorf("carried out: %q", done())
	}
	if s := c.source("shop"); s.State != "up" {
		t.Errorf("%+v", s)
	}
	_ = p.in.Close()
	p.wait()
	if strings.Contains(p.log.String()+out+log, "canary") {
		t.Error("the token is in what was said")
	}
}

// TestImportGraphQL: what there is to propose from, and what cannot be.
func TestImportGraphQL(t *testing.T) {
	t.Parallel()
	var answer atomic.Value
	answer.Store(`{"errors":[{"message":"introspection is off"}]}`)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer.Load().(string))
	}))
	defer s.Close()
	dir := t.TempDir()
	writeFile(t, "type Query { \"A thing.\" thing(id: ID!): Thing other: Int } type Thing { name: String }", dir, "s.graphql")
	file := filepath.Join(dir, "s.graphql")
	const thing = "# A thing.\nquery Thing($id: ID!) {\n  thing(id: $id) {\n    name\n  }\n}\n"
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{file, "--query", "thing"}, 0, thing},
		{[]string{file}, 0, thing + "\n# Other.\nquery Other {\n  other\n}\n"},
		{[]string{file, "--query", "gone,thing"}, 1, "the schema has no such field to ask for: gone"},
		{[]string{file, "--depth", "0"}, 2, "--depth 0 is out of range"},
		{[]string{s.URL}, 1, "it does not tell its schema"},
		{[]string{"ftp://x"}, 2, "the URL is none that can be asked"},
		{[]string{filepath.Join(dir, "none")}, 1, `no file called "`},
		{[]string{dir}, 1, "is no file"},
		{[]string{}, 2, "takes one argument"},
	} {
		out, log, code := run(t, sandboxUpstream("crm", "crm", 0), nil, append([]string{"import-graphql"}, c.args...)...)
		if code != c.code || code == 0 && out != c.want || code != 0 && !strings.Contains(log, c.want) {
			t.Errorf("%q: status %d\n%s%s", c.args, code, out, log)
		}
	}
	answer.Store(`{"data":{"__schema":{"queryType":{"name":"Q"},"types":[{"kind":"OBJECT","name":"Q","fields":[{"name":"a","args":[],"type":{"kind":"SCALAR","name":"Int"}}]}]}}}`)
	to := filepath.Join(dir, "out")
	writeFile(t, "mine", to, "a.graphql")
	out, log, code := run(t, "", nil, "import-graphql", s.URL, "--out", to)
	kept, err := os.ReadFile(filepath.Join(to, "a.graphql"))
	if _, err2 := os.Stat(filepath.Join(to, "schema.json")); code != 0 || err != nil || err2 != nil || string(kept) != "mine" || !strings.Contains(log, "1 file written") || !strings.Contains(out, "documents = [") {
		t.Errorf("status %d, %q, %v, %v\n%s%s", code, kept, err, err2, out, log)
	}
}

// TestDocumentsAreReadAgain with the configuration, also if that is the same.
func TestDocumentsAreReadAgain(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	writeFile(t, "query One { a }", home, "a.graphql")
	p := startIn(t, home, upstreamTable("shop", `kind = "graphql"`, `url = "http://127.0.0.1:9/graphql"`, `documents = ["*.graphql"]`), nil)
	c := p.stdio(true)
	c.ready()
	if tools := c.tools(); !slices.Contains(tools, "shop_one") {
		t.Errorf("%q", tools)
	}
	writeFile(t, "query Two { a }", home, "b.graphql")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return slices.Contains(c.tools(), "shop_two") }) {
		t.Errorf("%q\n%s", c.tools(), p.log)
	}
	writeFile(t, "query Two {", home, "b.graphql") // changes nothing that runs
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.logged(regexp.MustCompile(`configuration not reloaded.*b.graphql:1`))
	if tools := c.tools(); !slices.Contains(tools, "shop_two") {
		t.Errorf("%q", tools)
	}
}

// TestFaultyDocuments: what is wrong with them is said before anything is asked,
// also where a credential is still to be fetched.
func TestFaultyDocuments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := upstreamTable("shop", `kind = "graphql"`, `url = "http://127.0.0.1:9/graphql"`, fmt.Sprintf("documents = [%q]", filepath.Join(dir, "*.graphql")))
	for text, want := range map[string]string{
		"":                                    "there is no operation in the documents",
		"query A {\n  a(":                     "a.graphql:2: ",
		"query A { a }\nsubscription B { b }": "a.graphql:2: subscription B",
	} {
		writeFile(t, text, dir, "a.graphql")
		for _, auth := range []string{"", `auth = { type = "bearer", token = { env = "TOKEN" } }` + "\n"} {
			if _, log, code := run(t, config+auth, []string{"TOKEN=x"}, "check"); code == 0 || !strings.Contains(log, want) {
				t.Errorf("%q: status %d\n%s", text, code, log)
			}
		}
	}
	if _, log, code := run(t, upstreamTable("shop", `kind = "graphql"`, `url = "http://127.0.0.1:9/graphql"`), nil, "check"); code == 0 || !strings.Contains(log, "hint: bulkhead import-graphql shop") {
		t.Errorf("status %d\n%s", code, log)
	}
}

// TestDrift: a source whose answers have changed is told of, and its calls are
// answered.
func TestDrift(t *testing.T) {
	t.Parallel()
	answer := atomic.Value{}
	answer.Store(`{"data":{"deals":[{"id":"1","owner":"Ann"}]}}`)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer.Load().(string))
	}))
	defer s.Close()
	dir := t.TempDir()
	writeFile(t, "query Deals { deals { id owner } }", dir, "q.graphql")
	writeFile(t, "type Query { deals: [Deal!]! } type Deal { id: ID! owner: String! }", dir, "s.graphql")
	p := startIn(t, shortHome(t), upstreamTable("crm", `kind = "graphql"`, fmt.Sprintf("url = %q", s.URL),
		fmt.Sprintf("documents = [%q]", filepath.Join(dir, "q.graphql")), fmt.Sprintf("schema_file = %q", filepath.Join(dir, "s.graphql"))), nil)
	c := p.stdio(true)
	c.ready()
	drift := func() string {
		var st struct {
			Sources []struct{ Drift json.RawMessage }
		}
		if err := json.Unmarshal([]byte(c.mustCall("bulkhead_sources", nil).text()), &st); err != nil {
			t.Fatal(err)
		}
		return string(st.Sources[0].Drift)
	}
	c.mustCall("crm_deals", nil)
	if got := drift(); got != "" {
		t.Errorf("as it was declared: %s", got)
	}
	const changed = `{"data":{"deals":[{"id":1}]}}`
	answer.Store(changed)
	if got := c.mustCall("crm_deals", nil).text(); got != changed {
		t.Error(got)
	}
	for _, want := range []string{`"field":"data.deals[].id","problem":"is a number, not a string"`, `"field":"data.deals[].owner","problem":"is gone"`} {
		if got := drift(); !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if text := says(p, "sources"); !strings.Contains(text, "changed: deals data.deals[].owner is gone, ") {
		t.Error(text)
	}
	if text := says(p, "sources", "--json"); !strings.Contains(text, `"problem": "is gone"`) {
		t.Error(text)
	}
	answer.Store(`{"errors":[{"message":"Cannot query field \"owner\" on type \"Deal\".","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`)
	if r, err := c.call("crm_deals", nil); err != nil || !r.IsError {
		t.Errorf("%+v, %v", r, err)
	}
	if got := drift(); !strings.Contains(got, "the service refuses the operation: Cannot query field") {
		t.Error(got)
	}
	if n := strings.Count(p.log.String(), "source has changed"); n != 3 {
		t.Errorf("%d lines in the log", n)
	}
}
