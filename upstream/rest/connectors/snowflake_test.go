package connectors_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest/connectors"
)

func snowflake(t *testing.T) (*connected, *vendors.Snowflake) {
	t.Helper()
	acc := vendors.NewSnowflake(vendors.SnowflakeOptions{User: "READER", Static: "snowflake-pat"})
	values := map[string]string{"account": "myorg-myaccount", "token_type": "PROGRAMMATIC_ACCESS_TOKEN"}
	return connect(t, "snowflake", acc, values, always(credentials.Bearer(credentials.NewSecret("snowflake-pat")))), acc
}

func TestSnowflakeActions(t *testing.T) {
	c, acc := snowflake(t)
	const root = "/api/v2/statements"
	content, _, err := c.tell(t.Context(), "query_data", `{"statement":"SELECT 1"}`)
	if err != nil {
		t.Fatal(err)
	}
	handle := handleOf(t, content)
	waiting, _, err := c.tell(t.Context(), "query_data", `{"statement":"CALL SYSTEM$WAIT(9)"}`)
	if err != nil || !strings.Contains(string(waiting), "Asynchronous execution in progress") {
		t.Fatalf("%s %v", waiting, err)
	}
	information := func(what string) string {
		for _, a := range c.def.Actions {
			if a.Name == what {
				return string(quoted(t, a.Constant["statement"]))
			}
		}
		return ""
	}
	c.play(t, []turn{
		{tool: "query_data", args: `{"statement":"SELECT * FROM t WHERE id = ?","bindings":{"1":{"type":"FIXED","value":"123"}},"database":"D","schema":"PUBLIC","warehouse":"W","timeout":30}`,
			asks: "POST " + root + "?retry=true", body: `{"statement":"SELECT * FROM t WHERE id = ?","bindings":{"1":{"type":"FIXED","value":"123"}},"database":"D","schema":"PUBLIC",
				"warehouse":"W","timeout":30,"parameters":{"MULTI_STATEMENT_COUNT":"1"}}`,
			says: []string{`"numRows":5`, `{"name":"N","type":"fixed"}`, `["1","90071992547409931",null]`, `"partitionInfo":[{"rowCount":2},{"rowCount":2},{"rowCount":1}]`}},
		{tool: "get_statement", args: `{"handle":"` + handle + `"}`, asks: "GET " + root + "/" + handle, says: []string{`"message":"Statement executed successfully."`}},
		{tool: "list_rows", args: `{"handle":"` + handle + `"}`, asks: "GET " + root + "/" + handle, says: []string{`"count":2`, `"total":5`, `"next_cursor":`}},
		{tool: "list_databases", args: `{"database":"D"}`, asks: "POST " + root, body: `{"database":"D","statement":` + information("list_databases") + `}`, says: []string{`"count":2`}},
		{tool: "list_tables", args: `{"table_like":"ORD%"}`, asks: "POST " + root,
			body: `{"bindings":{"1":{"type":"TEXT","value":"%"},"2":{"type":"TEXT","value":"ORD%"}},"statement":` + information("list_tables") + `}`, says: []string{`"count":2`}},
		{tool: "list_columns", args: `{"table":"ORDERS' OR 1=1 --","schema_like":"PUBLIC"}`, asks: "POST " + root,
			body: `{"bindings":{"1":{"type":"TEXT","value":"PUBLIC"},"2":{"type":"TEXT","value":"ORDERS' OR 1=1 --"}},"statement":` + information("list_columns") + `}`, says: []string{`"count":2`}},
		{tool: "list_statements", args: `{}`, asks: "POST " + root, body: `{"statement":` + information("list_statements") + `}`, says: []string{`"count":2`}},
		{tool: "cancel_statement", args: `{"handle":"` + handleOf(t, waiting) + `"}`, asks: "POST " + root + "/" + handleOf(t, waiting) + "/cancel", says: []string{"SQL execution canceled"}},
	})
	h := acc.Last().Header
	if h.Get("X-Snowflake-Authorization-Token-Type") != "PROGRAMMATIC_ACCESS_TOKEN" || h.Get("User-Agent") != "bulkhead" {
		t.Errorf("the fields are %v", h)
	}
}

func quoted(t *testing.T, v any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func handleOf(t *testing.T, content json.RawMessage) string {
	t.Helper()
	var one struct{ StatementHandle string }
	if json.Unmarshal(content, &one) != nil || one.StatementHandle == "" {
		t.Fatalf("no handle in %s", content)
	}
	return one.StatementHandle
}

// A statement that takes long is asked for by its handle until it is done, then
// read a partition at a time.
func TestSnowflakeLongStatements(t *testing.T) {
	c, acc := snowflake(t)
	content, _, err := c.tell(t.Context(), "query_data", `{"statement":"CALL SYSTEM$WAIT(2)"}`)
	if err != nil {
		t.Fatal(err)
	}
	handle := handleOf(t, content)
	rows, _, err := c.tell(t.Context(), "list_rows", `{"handle":"`+handle+`"}`)
	if err != nil || !strings.Contains(string(rows), `"count":0,"note":"it is not done yet`) {
		t.Errorf("rows that are not there yet: %s %v", rows, err)
	}
	polls := 1
	for !strings.Contains(string(content), `"data":[`) {
		if polls++; polls > 5 {
			t.Fatalf("it never ends: %s", content)
		}
		if content, _, err = c.tell(t.Context(), "get_statement", `{"handle":"`+handle+`"}`); err != nil {
			t.Fatal(err)
		}
	}
	sizes, total := c.pages(t, "list_rows", map[string]any{"handle": handle})
	if polls != 2 || !reflect.DeepEqual(sizes, []int{2, 2, 1}) || total != 5 {
		t.Errorf("%d polls, partitions of %d rows, %d in all", polls, sizes, total)
	}
	if last := acc.Last(); last.Query.Get("partition") != "2" || acc.Executed() != 1 {
		t.Errorf("the last partition is %q, %d executed", last.Query.Get("partition"), acc.Executed())
	}
	if d := c.Drift(); len(d) > 0 {
		t.Errorf("it finds that the source has changed: %+v", d)
	}
}

// A statement whose answer is lost is sent again and not executed again.
func TestSnowflakeIdempotency(t *testing.T) {
	acc := vendors.NewSnowflake(vendors.SnowflakeOptions{Static: "pat"})
	var lost atomic.Bool
	lost.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lost.Swap(false) {
			acc.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		acc.ServeHTTP(w, r)
	}))
	defer server.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	def, err := connectors.Load("snowflake")
	if err != nil {
		t.Fatal(err)
	}
	a, err := rest.New(rest.Options{ID: "src", Definition: def, BaseURL: server.URL, Writes: true, Values: map[string]string{"account": "a", "token_type": "PROGRAMMATIC_ACCESS_TOKEN"}},
		&http.Client{Transport: rerouted(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer pat")
			return tr.RoundTrip(r)
		})})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	c := &connected{Adapter: a}
	_, _, err = c.tell(t.Context(), "query_data", `{"statement":"INSERT INTO t VALUES (1)"}`)
	if e := upstream.AsError("", "", err); err == nil || !e.Sent {
		t.Fatalf("the lost one: %v", err)
	}
	if _, _, err = c.tell(t.Context(), "query_data", `{"statement":"INSERT INTO t VALUES (1)"}`); err != nil || acc.Executed() != 1 {
		t.Errorf("%v, executed %d times", err, acc.Executed())
	}
	tools, _ := a.Tools(context.Background())
	for _, tool := range tools {
		if tool.Name == "query_data" && (tool.Hints.ReadOnly || !tool.Hints.Idempotent) {
			t.Errorf("query_data claims %+v", tool.Hints)
		}
	}
	seen := acc.Requests()
	id := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if one, two := seen[0].Query.Get("requestId"), seen[1].Query.Get("requestId"); one != two || !id.MatchString(one) {
		t.Errorf("the ids are %q and %q", one, two)
	}
}

func TestSnowflakeFailures(t *testing.T) {
	c, acc := snowflake(t)
	said := func(status int, code, message string) vendors.Answer {
		return vendors.Answer{Status: status, Body: `{"code":"` + code + `","message":"` + message + `","sqlState":"42601","statementHandle":"019c06a4"}`}
	}
	c.fail(t, "get_statement", `{"handle":"019c06a4"}`, map[string]failing{
		"compilation": {said(422, "002140", "SQL compilation error"), upstream.InvalidArguments, false, 0, "SQL compilation error"},
		"privileges":  {said(422, "003001", "Insufficient privileges"), upstream.Denied, false, 0, "Insufficient privileges"},
		"time limit":  {said(408, "000630", "Statement reached its statement or warehouse timeout"), upstream.InvalidArguments, false, 0, "timeout"},
		"token ended": {said(401, "390318", "OAuth access token expired."), upstream.NeedsLogin, false, 0, "expired"},
		"signed":      {said(401, "390144", "JWT token is invalid."), upstream.NeedsLogin, false, 0, "JWT"},
		"role":        {said(403, "390189", "Role 'X' is not granted to this user."), upstream.Denied, false, 0, "not granted"},
		"not found":   {said(404, "000709", "Statement not found"), upstream.NotFound, false, 0, "not found"},
		"bare 429":    {vendors.Answer{Status: 429}, upstream.RateLimited, false, 0, "wait"},
		"503":         {vendors.Answer{Status: 503}, upstream.Unavailable, true, 0, ""},
		"504":         {vendors.Answer{Status: 504}, upstream.Unavailable, true, 0, ""},
		"500":         {vendors.Answer{Status: 500, Body: `{"code":"391500","message":"internal"}`}, upstream.UpstreamError, true, 0, "internal"},
	})
	for statement, want := range map[string]upstream.Kind{
		"SELEC 1": upstream.InvalidArguments, "SELECT * FROM SECRETS": upstream.Denied, "SELECT 1; DROP TABLE t": upstream.InvalidArguments,
		"SELECT ?": upstream.InvalidArguments, "SELECT FOREVER": upstream.InvalidArguments,
	} {
		_, _, err := c.tell(t.Context(), "query_data", `{"statement":"`+statement+`"}`)
		if e := upstream.AsError("", "", err); err == nil || e.Kind != want || e.Sent {
			t.Errorf("%s: %+v", statement, e)
		}
	}
	if acc.Executed() != 0 {
		t.Errorf("%d executed", acc.Executed())
	}
}
