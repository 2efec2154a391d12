package graphql_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/graphql"
)

// renewed is a client that has another token once the first is refused.
type renewed struct {
	refused, asked int
	first          string // the answer to the first token
}

type renewedBody struct {
	io.ReadCloser
	of *renewed
}

func (b renewedBody) RefuseCredential(context.Context) bool {
	b.of.refused++
	return true
}

func (r *renewed) RoundTrip(req *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, req.Body)
	r.asked++
	body := `{"data":{"a":1}}`
	if r.refused == 0 {
		body = r.first
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: renewedBody{io.NopCloser(strings.NewReader(body)), r}}, nil
}

// Errors that refuse the token count as a 401, unless the operation may have
// changed something.
func TestTokenRefusedInErrors(t *testing.T) {
	const errs = `"errors":[{"message":"no","extensions":{"code":"UNAUTHENTICATED"}}]`
	for name, c := range map[string]struct {
		tool, first    string
		asked, refused int
		fails          bool
	}{
		"a query":                       {"Read", `{` + errs + `}`, 2, 1, false},
		"a query that was begun":        {"Read", `{"data":null,` + errs + `}`, 2, 1, false},
		"a mutation":                    {"Write", `{` + errs + `}`, 2, 1, false},
		"a mutation that was begun":     {"Write", `{"data":null,` + errs + `}`, 1, 1, true},
		"a query that has some of it":   {"Read", `{"data":{"a":null,"b":1},` + errs + `}`, 1, 0, false},
		"a query that has nothing":      {"Read", `{"data":{"a":null,"b":null},` + errs + `}`, 2, 1, false},
		"a mutation that has nothing":   {"Write", `{"data":{"a":null},` + errs + `}`, 1, 1, true},
		"a query of which each says so": {"Read", `{"data":{"a":null,"b":null},"errors":[{"message":"no","path":["a",0],"extensions":{"code":"UNAUTHENTICATED"}},{"message":"no","path":["b"],"extensions":{"code":"UNAUTHENTICATED"}}]}`, 2, 1, false},
		"null that is the answer":       {"Write", `{"data":{"a":null,"b":null},"errors":[{"message":"no","path":["b"],"extensions":{"code":"UNAUTHENTICATED"}}]}`, 1, 0, false},
		"nothing, and not only for it":  {"Read", `{"data":{"a":null},"errors":[{"message":"no","extensions":{"code":"UNAUTHENTICATED"}},{"message":"b"}]}`, 1, 0, false},
		"a query that is about the may": {"Read", `{"errors":[{"message":"no","extensions":{"code":"FORBIDDEN"}}]}`, 1, 0, true},
	} {
		r := &renewed{first: c.first}
		a, err := graphql.New(graphql.Options{ID: "shop", Documents: docs(`query Read { a } mutation Write { a }`), Writes: true}, "https://crm.example.com/", &http.Client{Transport: r})
		if err != nil {
			t.Fatal(err)
		}
		all, err := a.Tools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tool := all[0].Name
		if c.tool == "Write" {
			tool = all[1].Name
		}
		_, err = try(t.Context(), a, tool, `{}`)
		if r.asked != c.asked || r.refused != c.refused || (err != nil) != c.fails {
			t.Errorf("%s: asked %d times, refused %d times: %v", name, r.asked, r.refused, err)
		}
		if err != nil && name == "a mutation that was begun" {
			failure(t, err, upstream.NeedsLogin, true)
		}
	}
}

// What a mutation says of its input in a field of its own is a failure that names
// it, with what was done beside it; of a query it is data.
func TestUserErrors(t *testing.T) {
	s := serve(t, "")
	a := adapter(t, s, graphql.Options{Documents: docs(readers), Writes: true})
	for _, c := range []struct{ tool, data, says string }{
		{"write", `{"write":{"order":null,"userErrors":[{"field":["input","lines",0],"message":"is sold out","code":"TAKEN"},{"field":null,"message":"no"}]}}`,
			"write: it refuses this: input.lines.0: is sold out (TAKEN); no"},
		{"write", `{"write":{"customer":{"id":"1"},"customerUserErrors":[{"field":["email"],"message":"is no address"}]}}`, "write: it refuses this: email: is no address"},
		{"write", `{"write":{"order":{"id":"1"},"userErrors":[]}}`, ""},
		{"write", `{"write":{"errors":[{"message":"x"}],"userErrors":null}}`, ""},
		{"read", `{"thing":{"userErrors":[{"message":"an old one"}]}}`, ""},
	} {
		s.answer(200, `{"data":`+c.data+`}`)
		r, err := try(t.Context(), a, c.tool, `{}`)
		if err != nil {
			t.Fatal(err)
		}
		structured, _ := r.Get("structuredContent")
		if r.IsError != (c.says != "") || string(structured) != `{"data":`+c.data+`}` || !strings.Contains(string(r.Raw), c.says) {
			t.Errorf("%s: %s", c.data, r.Raw)
		}
	}
}
