package graphql_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/graphql"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
	"github.com/bulkhead-mcp/bulkhead/upstream/upstreamtest"
)

// suiteTools is what the suite asks for, as operations.
const suiteTools = `
query Echo($text: String!) { echo(text: $text) }
query Sleep($ms: Int!) { sleep(ms: $ms) }
query Fail { fail }
query Refuse { refuse }
`

// suiteService answers them.
func suiteService(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Operation string `json:"operationName"`
		Variables struct {
			Text json.RawMessage `json:"text"`
			MS   int             `json:"ms"`
		} `json:"variables"`
	}
	body, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(body, &req)
	answer := `{"data":{"sleep":"slept"}}`
	switch req.Operation {
	case "Echo":
		answer = `{"data":{"echo":` + string(req.Variables.Text) + `}}`
	case "Sleep":
		select {
		case <-time.After(time.Duration(req.Variables.MS) * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	case "Fail":
		answer = `{"errors":[{"message":"it does not work","path":["fail"]}],"data":null}`
	case "Refuse":
		answer = `{"errors":[{"message":"no such thing","extensions":{"code":"BAD_USER_INPUT"}}]}`
	}
	w.Header().Set("Content-Type", "application/graphql-response+json")
	_, _ = io.WriteString(w, answer)
}

// asTexts is an adapter whose results are the texts that the suite expects: data
// with one string is that string, and a failure in the answer is a result with
// isError.
type asTexts struct{ *graphql.Adapter }

func (a asTexts) Call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	r, err := a.Adapter.Call(ctx, c)
	if e := upstream.AsError("", "", err); err != nil && e.Kind == upstream.UpstreamError && e.RPC != nil {
		return upstream.TextResult(e.RPC.Message, true), nil
	}
	if err != nil {
		return nil, err
	}
	structured, _ := rawjson.Get(r.Raw, "structuredContent")
	data, _ := rawjson.Get(structured, "data")
	for m := range rawjson.Members(data) {
		return upstream.TextResult(rawjson.String(m.Value), false), nil
	}
	return r, nil
}

func TestSuite(t *testing.T) {
	start := func(t *testing.T, h http.Handler, limit int64, client func(http.RoundTripper) *http.Client) upstreamtest.Harness {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		tr := &http.Transport{MaxIdleConnsPerHost: 256}
		t.Cleanup(tr.CloseIdleConnections)
		a, err := graphql.New(graphql.Options{ID: "suite", Documents: docs(suiteTools), MaxMessage: limit}, s.URL, client(tr))
		if err != nil {
			t.Fatal(err)
		}
		return upstreamtest.Harness{Adapter: asTexts{a}}
	}
	upstreamtest.Run(t, upstreamtest.Fixture{
		Start: func(t *testing.T) upstreamtest.Harness {
			return start(t, http.HandlerFunc(suiteService), 0, func(tr http.RoundTripper) *http.Client { return &http.Client{Transport: tr} })
		},
		Trapped: func(t *testing.T, p *upstreamtest.Trap) upstreamtest.Harness {
			return start(t, p.Before(http.HandlerFunc(suiteService), func(_ *http.Request, body []byte) string {
				operation, _ := rawjson.GetString(body, "operationName")
				return strings.ToLower(operation)
			}), upstreamtest.Limit, p.Client)
		},
	})
}

// FuzzDocuments: whatever is in a document, it is refused with a word, or every
// request that is made of it is JSON with one operation that can be read again.
func FuzzDocuments(f *testing.F) {
	for _, text := range []string{
		readers, suiteTools, `query A($a: In = {b: [1, "x", $c]}) @d(e: $a) { f: g(h: """block "quoted" """) ... on T { x } ...F } fragment F on T { a(x: "\u00e9\\ \"") }`,
		"query A { a } # \x00", "query \ufeff { }", `"d" query A("v" $a: Int @x) { a(b: $a) }`, `query A { a(b: -0, c: 1e9, d: null, e: RED, f: {}, g: []) }`,
		"fragment on on on { on }query query{...on on{a}...on}",
	} {
		f.Add(text)
	}
	schema := readSchema(f, source(f, "shop.sdl"))
	f.Fuzz(func(t *testing.T, text string) {
		for _, types := range []*graphql.Schema{nil, schema} {
			requests, err := graphql.Requests(docs(text), types)
			if err != nil {
				if err.Error() == "" {
					t.Fatal("refused without a word")
				}
				continue
			}
			for _, r := range requests {
				if err := rawjson.Check(r, rawjson.Limits{}); err != nil {
					t.Fatalf("%v in %s", err, r)
				}
				query, _ := rawjson.GetString(r, "query")
				again, err := graphql.Requests(docs(query), types)
				if err != nil || len(again) != 1 {
					t.Fatalf("%q became %q: %v", text, query, err)
				}
				if twice, _ := rawjson.GetString(again[0], "query"); twice != query {
					t.Fatalf("%q became %q and then %q", text, query, twice)
				}
			}
		}
	})
}

func FuzzSchema(f *testing.F) {
	f.Add(source(f, "shop.sdl").Text)
	f.Add(source(f, "shop.json").Text)
	f.Add(`{"__schema":{"queryType":{"name":"Q"},"types":[{"kind":"OBJECT","name":"Q","fields":[{"name":"a","args":[{"name":"b","type":{"kind":"SCALAR","name":"Int"},"defaultValue":"1){x} query($a:Int=2"}],"type":{"kind":"SCALAR","name":"Int"}}]}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		schema, err := graphql.ReadSchema(graphql.Source{Name: "s", Text: text})
		if err != nil {
			return
		}
		if _, err := graphql.Propose(schema, graphql.Wanted{Depth: 3}); err != nil && err.Error() == "" {
			t.Fatal("refused without a word")
		}
	})
}
