package graphql_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/graphql"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

func TestPropose(t *testing.T) {
	schema := readSchema(t, source(t, "shop.sdl"))
	got, err := graphql.Propose(schema, graphql.Wanted{Mutations: true, Depth: 2})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range got {
		texts = append(texts, p.Text)
		if p.Mutation != (p.Field == "cancel") || p.Tool != p.Field {
			t.Errorf("%+v", p)
		}
	}
	const want = `# One order.
query Order($id: ID!) {
  order(id: $id) {
    id
    total
    status
    placed
    lines {
      sku
      count
      weight
      gift
    }
    customer {
      id
      name
      vip
    }
  }
}

# Orders, the newest first.
query Orders($first: Int = 10, $after: String, $where: OrderFilter, $sort: [Sort!]) {
  orders(first: $first, after: $after, where: $where, sort: $sort) {
    nodes {
      id
      total
      status
      placed
      lines {
        sku
        count
        weight
        gift
      }
      customer {
        id
        name
        vip
      }
    }
    pageInfo {
      endCursor
      hasNextPage
    }
    count
  }
}

# Node.
query Node($id: ID!) {
  node(id: $id) {
    __typename
    id
  }
}

# Search.
query Search($text: String!) {
  search(text: $text) {
    __typename
    ... on Order {
      id
      total
      status
      placed
      lines {
        sku
        count
        weight
        gift
      }
      customer {
        id
        name
        vip
      }
    }
    ... on Customer {
      id
      name
      vip
    }
  }
}

# Cancel.
mutation Cancel($input: CancelInput!) {
  cancel(input: $input) {
    order {
      id
      total
      status
      placed
    }
    problems
  }
}
`
	if all := strings.Join(texts, "\n"); all != want {
		t.Errorf("proposed\n%s", all)
	}
	a, err := graphql.New(graphql.Options{ID: "shop", Documents: docs(strings.Join(texts, "\n")), Schema: schema, Writes: true}, "http://shop.invalid/", &http.Client{})
	if err != nil {
		t.Fatal(err)
	}
	if tools, err := a.Tools(t.Context()); err != nil || len(tools) != len(got) {
		t.Errorf("%d tools, %v", len(tools), err)
	}
}

func TestProposeChooses(t *testing.T) {
	schema := readSchema(t, graphql.Source{Name: "s", Text: `
type Query { u: [Pair!] w: Holder a: Int old: Int @deprecated b(first: Int, last: Int): Edged c: Self d(x: Int!): Both e: Blob sameName: Int SameName: Int }
type Edged { edges: [Edge] pageInfo: P! total: Int } type Edge { node: Thing cursor: String } type P { endCursor: String hasNextPage: Boolean! hasPreviousPage: Boolean! }
union Pair = Left | Right type Left { id: ID! name: String! part: Piece only: Int } type Right { id: ID! name: String part: Piece also: Int } type Piece { name: Int }
type Holder { id: ID! id: ID! many(first: Int): Edged few: Edged }
type Thing { id: ID! more(first: Int): Edged must(x: Int!): Int } type Self { self: Self selves: [Self!] } union Both = One | Two type One { x: Int! } type Two { x: String } scalar Blob`})
	text := func(w graphql.Wanted) string {
		t.Helper()
		got, err := graphql.Propose(schema, w)
		if err != nil {
			return err.Error()
		}
		var all []string
		for _, p := range got {
			all = append(all, strings.Join(strings.Fields(p.Text), " "))
		}
		return strings.Join(all, "\n")
	}
	for _, c := range []struct {
		wanted graphql.Wanted
		want   string
	}{
		{graphql.Wanted{Fields: []string{"old"}}, "# Old. query Old { old }"},
		{graphql.Wanted{Fields: []string{"b"}}, "# B. query B($first: Int = 20, $last: Int) { b(first: $first, last: $last) { edges { node { id } cursor } pageInfo { endCursor hasNextPage } total } }"},
		{graphql.Wanted{Fields: []string{"u"}, Depth: 2}, "# U. query U { u { __typename ... on Left { id part { name } only } ... on Right { id part { name } also } } }"},
		{graphql.Wanted{Fields: []string{"w"}, Depth: 2}, "# W. query W { w { id few { edges { node { id } cursor } pageInfo { endCursor hasNextPage } total } } }"},
		{graphql.Wanted{Fields: []string{"d"}}, "# D. query D($x: Int!) { d(x: $x) { __typename } }"},
		{graphql.Wanted{Fields: []string{"c"}}, ""},
		{graphql.Wanted{Fields: []string{"e", "gone"}}, "the schema has no such field to ask for: gone"},
	} {
		if got := text(c.wanted); got != c.want {
			t.Errorf("%v:\n%s, want\n%s", c.wanted, got, c.want)
		}
	}
	if got := text(graphql.Wanted{}); strings.Contains(got, "old") || strings.Count(got, "query SameName") != 1 {
		t.Errorf("of all:\n%s", got)
	}
}

func TestIntrospect(t *testing.T) {
	s := serve(t, source(t, "shop.json").Text)
	got, err := graphql.Introspect(t.Context(), s.Client(), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	schema := readSchema(t, got)
	if p, err := graphql.Propose(schema, graphql.Wanted{Depth: 1}); err != nil || len(p) != 4 {
		t.Errorf("%v, %v", p, err)
	}
	query, _ := rawjson.GetString([]byte(s.last().body), "query")
	if _, err := graphql.Requests(docs(query), schema); err != nil {
		t.Errorf("the question does not fit any schema: %v", err)
	}
	for body, want := range map[string]string{
		`{"errors":[{"message":"introspection is off","extensions":{"code":"FORBIDDEN"}}]}`: "it does not tell its schema: denied: FORBIDDEN: introspection is off",
		`{"data":null}`: "it does not tell its schema",
		`<html>`:        "the body is no JSON object",
	} {
		s.answer(200, body)
		if _, err := graphql.Introspect(t.Context(), s.Client(), s.URL); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
}
