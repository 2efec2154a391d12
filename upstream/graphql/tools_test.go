package graphql_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/graphql"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// source reads a file of testdata.
func source(t testing.TB, name string) graphql.Source {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return graphql.Source{Name: name, Text: string(text)}
}

func readSchema(t testing.TB, s graphql.Source) *graphql.Schema {
	t.Helper()
	schema, err := graphql.ReadSchema(s)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// tools returns what documents offer.
func tools(t *testing.T, opt graphql.Options) map[string]upstream.Tool {
	t.Helper()
	opt.ID = "shop"
	a, err := graphql.New(opt, "http://shop.invalid/graphql", &http.Client{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := a.Tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]upstream.Tool)
	for _, tool := range all {
		byName[tool.Name] = tool
	}
	return byName
}

func member(t *testing.T, tool upstream.Tool, name string) string {
	t.Helper()
	raw, _ := rawjson.Get(tool.Raw, name)
	return string(raw)
}

func docs(text string) []graphql.Source { return []graphql.Source{{Name: "q.graphql", Text: text}} }

func TestNamesAndDescriptions(t *testing.T) {
	got := tools(t, graphql.Options{Documents: docs(`# A licence, which is no description.

# Finds one issue.
# By its number.
query GetIssueByID($number: Int!) { issue(number: $number) { title } }

query HTTPStatus { status { code } health } # of the server
query already_snake { a }

"""
Says so itself.
"""
query Described { a }
`)})
	for name, want := range map[string]string{
		"get_issue_by_id": `"Finds one issue.\nBy its number."`,
		"http_status":     `"GraphQL query of status, health."`,
		"already_snake":   `"GraphQL query of a."`,
		"described":       `"Says so itself."`,
	} {
		if tool, ok := got[name]; !ok || member(t, tool, "description") != want {
			t.Errorf("%s: %s, want %s", name, tool.Raw, want)
		}
	}
	if tool := got["get_issue_by_id"]; !tool.Hints.ReadOnly || !tool.Hints.Idempotent || tool.Hints.Destructive {
		t.Errorf("a query has the hints %+v", tool.Hints)
	}
	if in := member(t, got["get_issue_by_id"], "inputSchema"); in != `{"type":"object","properties":{"number":{"type":"integer"}},"required":["number"],"additionalProperties":false}` {
		t.Error(in)
	}
	if in := member(t, got["http_status"], "inputSchema"); in != `{"type":"object","additionalProperties":false}` {
		t.Error(in)
	}
}

func TestMutationsAreOfferedWhereWritesAre(t *testing.T) {
	const text = `query Read { a } mutation CloseIssue($id: ID!) { close(id: $id) { id } }`
	if got := tools(t, graphql.Options{Documents: docs(text)}); len(got) != 1 {
		t.Errorf("offered without writes: %v", got)
	}
	got := tools(t, graphql.Options{Documents: docs(text), Writes: true})
	tool, ok := got["close_issue"]
	if !ok || tool.Hints.ReadOnly || !tool.Hints.Destructive || !tool.HasHints {
		t.Errorf("%+v", tool)
	}
}

func TestFaultsOfDocuments(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "there is no operation",
		"fragment F on T { a }":               "there is no operation",
		"\n\nquery A { a":                     "q.graphql:3: ",
		"query A { a }\n{ b }":                "q.graphql:2: an operation without a name",
		"query { b }":                         "q.graphql:1: an operation without a name",
		"subscription S { a }":                "q.graphql:1: subscription S: subscriptions cannot be called",
		"query A { a }\nquery A { b }":        "q.graphql:2: operation A is defined a second time; first in q.graphql:1",
		"query GetA { a }\nquery get_a { b }": "q.graphql:2: operation get_a would be the tool get_a, as GetA in q.graphql:1",
		"query A {\n ...F }":                  "q.graphql:2: operation A needs the fragment F, which no document defines",
		"query A { ...F }\nfragment F on T { ...F }":                                  "q.graphql:2: fragment F contains itself",
		"query A { a }\nfragment F on T { ...G }\nfragment G on T { ...F }":           "contains itself",
		"query A { ...F }\nfragment F on T { a }\nfragment F on T { b }":              "q.graphql:3: fragment F is defined a second time; first in q.graphql:2",
		"query A { ...F }\nfragment F on T { a(x: {y: [$v]}) }":                       "q.graphql:2: operation A uses $v, which it does not declare",
		"query A { a @include(if: $v) }":                                              "uses $v, which it does not declare",
		"query A($v: Int) { a }":                                                      "q.graphql:1: operation A declares $v and does not use it",
		"query A($v: Int, $v: Int) { a(x: $v) }":                                      "declares $v twice",
		"type Query { a: Int }":                                                       "q.graphql:1: ",
		"query A { a }\xff":                                                           "q.graphql: is not UTF-8",
		"query A { " + strings.Repeat("a{", 5_000) + "b" + strings.Repeat("}", 5_001): "q.graphql:1: exceeded maximum nesting",
		"query A { " + strings.Repeat("a ", 200_000) + "}":                            "token limit",
		"query A { " + strings.Repeat("a ", 1<<20) + "}":                              "at most 1048576 are read",
	} {
		_, err := graphql.New(graphql.Options{ID: "shop", Documents: docs(text)}, "http://shop.invalid/", &http.Client{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := graphql.New(graphql.Options{ID: "shop", Documents: []graphql.Source{
		{Name: "a.graphql", Text: "query A { ...Gone }"},
		{Name: "b.graphql", Text: "query B { a(x: $x) }"},
		{Name: "c.graphql", Text: "{ a }\nsubscription S { a }"},
	}}, "http://shop.invalid/", &http.Client{})
	for _, want := range []string{"b.graphql:1", "c.graphql:1", "c.graphql:2", "a.graphql:1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
}

// A text that cannot be read hides the faults of no other, nor does one fault of
// an operation another; what could be in that text is not missed.
func TestFaultsHideNoOthers(t *testing.T) {
	schema, err := graphql.ReadSchema(graphql.Source{Name: "s.graphql", Text: "type Query { a(x: Int): Int }"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = graphql.New(graphql.Options{ID: "shop", Schema: schema, Documents: []graphql.Source{
		{Name: "a.graphql", Text: "query A { a"},
		{Name: "b.graphql", Text: "query B($x: Int) { a nope }"},
		{Name: "c.graphql", Text: "query C($y: Int) { ...Perhaps }\nquery D { a(x: $z) gone }"},
	}}, "http://shop.invalid/", &http.Client{})
	if err == nil {
		t.Fatal("no fault")
	}
	for want, times := range map[string]int{
		"a.graphql:1: ": 1, "b.graphql:1: operation B declares $x and does not use it": 1, `b.graphql:1: Cannot query field "nope"`: 1,
		"c.graphql:2: operation D uses $z": 1, `c.graphql:2: Cannot query field "gone"`: 1, "Perhaps": 0, "$y": 0, "is never used": 0, `"$z"`: 0,
	} {
		if strings.Count(err.Error(), want) != times {
			t.Errorf("%q is not told %d times:\n%v", want, times, err)
		}
	}
}

func TestFragmentsAreSharedBetweenDocuments(t *testing.T) {
	s := serve(t, `{"data":{"issue":null}}`)
	a := adapter(t, s, graphql.Options{Documents: []graphql.Source{
		{Name: "a.graphql", Text: "query Issue($id: ID! = \"<&>\") {\n  # a comment\n  issue(id: $id) { ...Whole }\n}\nquery Other { b }"},
		{Name: "b.graphql", Text: "fragment Whole on Issue { title, ...Who }\n fragment Who on Issue { author { login } } fragment Unused on X { y }"},
	}})
	call(t, a, "issue", `{"id":"7"}`)
	want := `{"query":"query Issue($id:ID!=\"<&>\") {\nissue(id: $id) {\n...Whole\n}\n}\nfragment Whole on Issue {\ntitle\n...Who\n}\nfragment Who on Issue {\nauthor {\nlogin\n}\n}","operationName":"Issue","variables":{"id":"7"}}`
	if got := s.last().body; !sameRequest(got, want) {
		t.Errorf("sent\n%s, want\n%s", got, want)
	}
}

// sameRequest compares two requests, whose documents may be spaced in another way.
func sameRequest(a, b string) bool {
	flat := func(s string) string {
		var r map[string]json.RawMessage
		if json.Unmarshal([]byte(s), &r) != nil {
			return s
		}
		var query string
		_ = json.Unmarshal(r["query"], &query)
		return strings.Join(strings.Fields(strings.NewReplacer(":", " : ", "(", " ( ", ")", " ) ", "=", " = ").Replace(query)), " ") + string(r["operationName"]) + string(r["variables"])
	}
	return flat(a) == flat(b)
}

// TestTypes holds the schemas of tools to the types of the service, in both forms
// in which those may be given.
func TestTypes(t *testing.T) {
	byText := tools(t, graphql.Options{Documents: []graphql.Source{source(t, "shop.graphql")}, Schema: readSchema(t, source(t, "shop.sdl")), Writes: true})
	byJSON := tools(t, graphql.Options{Documents: []graphql.Source{source(t, "shop.graphql")}, Schema: readSchema(t, source(t, "shop.json")), Writes: true})
	golden, err := os.ReadFile(filepath.Join("testdata", "shop.tools.json"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var all []json.RawMessage
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range byText {
			if !yield(name) {
				return
			}
		}
	}) {
		if string(byText[name].Raw) != string(byJSON[name].Raw) {
			t.Errorf("%s: from text\n%s\nfrom introspection\n%s", name, byText[name].Raw, byJSON[name].Raw)
		}
		all = append(all, byText[name].Raw)
	}
	got, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(filepath.Join("testdata", "shop.tools.json"), append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if string(got) != strings.TrimSpace(string(golden)) {
		t.Errorf("the tools are not those of testdata/shop.tools.json (UPDATE=1 writes them):\n%s", got)
	}
}

func TestWithoutTypesTheRestIsFree(t *testing.T) {
	got := tools(t, graphql.Options{Documents: docs(`query A($a: Int = 5, $b: [Float!]!, $c: Filter, $d: Boolean! = true, $e: ID, $f: In = {n: 12345678901234567890, s: ["<", RED, null]}) {
  a(a: $a, b: $b, c: $c, d: $d, e: $e, f: $f) }`)})
	want := `{"type":"object","properties":{"a":{"type":"integer","default":5},"b":{"type":"array","items":{"type":"number"}},` +
		`"c":{"description":"GraphQL type Filter."},"d":{"type":"boolean","default":true},"e":{"type":"string"},` +
		`"f":{"description":"GraphQL type In.","default":{"n":12345678901234567890,"s":["<","RED",null]}}},"required":["b"],"additionalProperties":false}`
	if in := member(t, got["a"], "inputSchema"); in != want {
		t.Errorf("%s, want\n%s", in, want)
	}
	if out := member(t, got["a"], "outputSchema"); out != "" {
		t.Errorf("it promises an answer of which it knows nothing: %s", out)
	}
}

// TestLargeTypesAreBounded: input types that lead to each other in many ways.
func TestLargeTypesAreBounded(t *testing.T) {
	var sdl strings.Builder
	sdl.WriteString("type Query { find(where: In0): Int }\n")
	const n = 60
	for i := range n {
		sdl.WriteString("input In" + string(rune('0'+i/10)) + string(rune('0'+i%10)) + " { name: String ")
		for j := range n {
			ref := string(rune('0'+j/10)) + string(rune('0'+j%10))
			sdl.WriteString("f" + ref + ": In" + ref + " ")
		}
		sdl.WriteString("}\n")
	}
	text := strings.Replace(sdl.String(), "where: In0)", "where: In00)", 1)
	got := tools(t, graphql.Options{Documents: docs(`query Find($where: In00) { find(where: $where) }`), Schema: readSchema(t, graphql.Source{Name: "big.graphql", Text: text})})
	in := member(t, got["find"], "inputSchema")
	if len(in) > 40<<10 || !strings.Contains(in, `"f59"`) || !strings.Contains(in, "GraphQL input type In") {
		t.Errorf("the schema has %d bytes: %.300s", len(in), in)
	}
}

func TestOperationsAreHeldToTheSchema(t *testing.T) {
	schema := readSchema(t, source(t, "shop.sdl"))
	for text, want := range map[string]string{
		"query A {\n  gone\n}":                                    `q.graphql:2: Cannot query field "gone"`,
		"query A($id: String!) { order(id: $id) { id } }":         "q.graphql:1: ",
		"query A { order(id: 5) { } }":                            "q.graphql:1: ",
		"query A { order(id: 5) }":                                "q.graphql:1: ",
		"query A { orders(first: 5) { nodes { status(x: 1) } } }": `q.graphql:1: Unknown argument "x"`,
		"mutation M { nothing }":                                  "Cannot query field",
	} {
		_, err := graphql.New(graphql.Options{ID: "shop", Documents: docs(text), Schema: schema, Writes: true}, "http://shop.invalid/", &http.Client{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestFaultsOfSchemas(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "s: is empty",
		"type Query { a: Gone }":     "s:1: ",
		"type Query {":               "s:1: ",
		"query A { a }":              "s:1: ",
		"type Other { a: Int }":      "no type of queries",
		"{}":                         "no __schema",
		`{"data":{"__schema":null}}`: "no __schema",
		`{"__schema":{"queryType":{"name":"Q"},"types":[`:    "is no answer to introspection",
		`{"__schema":{"queryType":{"name":"Q"},"types":[]}}`: "Q that does not exist",
		`{"__schema":{"queryType":{"name":"Q"},"types":[{"kind":"OBJECT","name":"Q","fields":[{"name":"a","args":[],"type":{"kind":"LIST"}}]}]}}`:                                                               `type "Q": field "a": its type is not told to the end`,
		`{"__schema":{"queryType":{"name":"Q"},"types":[{"kind":"OBJECT","name":"Q","fields":[{"name":"a","type":` + strings.Repeat(`{"kind":"LIST","ofType":`, 40) + `{}` + strings.Repeat("}", 40) + `}]}]}}`: "wrapped too often",
	} {
		_, err := graphql.ReadSchema(graphql.Source{Name: "s", Text: text})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %v, want %q", text, err, want)
		}
	}
}
