package sqldb_test

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"testing"
	"time"

	"modernc.org/sqlite"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
	"github.com/bulkhead-mcp/bulkhead/upstream/upstreamtest"
)

// suiteStatements are the tools that the suite asks for.
var suiteStatements = map[sqldb.Driver]map[string]string{
	sqldb.Postgres: {upstreamtest.Echo: "SELECT :text::text AS said", upstreamtest.Sleep: "SELECT pg_sleep(:ms::float8 / 1000)", upstreamtest.Fail: "SELECT broken()"},
	sqldb.MySQL:    {upstreamtest.Echo: "SELECT :text AS said", upstreamtest.Sleep: "SELECT SLEEP(:ms / 1000)", upstreamtest.Fail: "SELECT (SELECT 1 UNION SELECT 2)"},
	sqldb.SQLite: {upstreamtest.Echo: "SELECT :text AS said", upstreamtest.Fail: "SELECT abs(-9223372036854775807 - 1)",
		upstreamtest.Sleep: "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t WHERE i < :ms) SELECT sum(test_sleep(i)) FROM t"},
}

// suiteLong answer with more than the suite lets an answer have.
var suiteLong = map[sqldb.Driver]string{
	sqldb.Postgres: "SELECT repeat('x', 500) FROM generate_series(1, 10000)", sqldb.MySQL: "SELECT repeat('x', 500) FROM seq_1_to_10000",
	sqldb.SQLite: "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT printf('%.500c', 'x') FROM t",
}

func suiteOptions(d sqldb.Driver) sqldb.Options {
	text := suiteStatements[d]
	return sqldb.Options{Driver: d, NoSchema: true, Statements: map[string]sqldb.Statement{
		upstreamtest.Echo:   {SQL: text[upstreamtest.Echo], Params: map[string]sqldb.Param{"text": {Required: true}}},
		upstreamtest.Sleep:  {SQL: text[upstreamtest.Sleep], Params: map[string]sqldb.Param{"ms": {Type: "integer", Required: true}}},
		upstreamtest.Fail:   {SQL: text[upstreamtest.Fail]},
		upstreamtest.Refuse: {SQL: "SELECT :n", Params: map[string]sqldb.Param{"n": {Type: "integer", Required: true}}},
	}}
}

func TestSuite(t *testing.T) {
	// SQLite has nothing that waits: a millisecond for each row.
	// It is registered for good: another run of the test finds it there.
	_ = sqlite.RegisterScalarFunction("test_sleep", 1, func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) {
		time.Sleep(time.Millisecond)
		return int64(1), nil
	})
	each(t, func(t *testing.T, d sqldb.Driver) {
		start(t, suiteOptions(d), "reader") // the server outlives the tests
		upstreamtest.Run(t, upstreamtest.Fixture{
			Start: func(t *testing.T) upstreamtest.Harness {
				return upstreamtest.Harness{Adapter: &firstCell{start(t, suiteOptions(d), "reader"), d}}
			},
			Oversize: func(t *testing.T) upstreamtest.Harness {
				o := suiteOptions(d)
				o.MaxRows, o.MaxBytes, o.MaxCell = 100_000, upstreamtest.Limit, 1000
				o.Statements[upstreamtest.Refuse] = sqldb.Statement{SQL: suiteLong[d]}
				return upstreamtest.Harness{Adapter: &firstCell{start(t, o, "reader"), d}}
			},
			Without: map[upstreamtest.Point]string{
				upstreamtest.Redirect: "a database is asked where the configuration says; no answer of one names another address that a driver would follow",
				upstreamtest.Renewal:  "a connection signs in, not a request",
			},
		})
	})
}

// firstCell is the adapter with an answer of one cell as the text of the result,
// which is what the suite wants to see of an echo.
type firstCell struct {
	*sqldb.Adapter
	driver sqldb.Driver
}

// nul stands for the one character that PostgreSQL has not.
const nul = "\uE000"

func (f *firstCell) Call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	own := *c
	if f.driver == sqldb.Postgres {
		own.Arguments = bytes.ReplaceAll(c.Arguments, []byte(`\u0000`), []byte(nul))
	}
	r, err := f.Adapter.Call(ctx, &own)
	if err != nil || r.IsError || c.Name != upstreamtest.Echo {
		return r, err
	}
	table, _ := r.Get("structuredContent")
	rows, _ := rawjson.Get(table, "rows")
	var cells [][]string
	if err := json.Unmarshal(rows, &cells); err != nil {
		return nil, err
	}
	return upstream.TextResult(string(bytes.ReplaceAll([]byte(cells[0][0]), []byte(nul), []byte{0})), false), nil
}
