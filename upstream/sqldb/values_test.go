package sqldb_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

// TestValues has every kind of value survive.
func TestValues(t *testing.T) {
	for _, c := range []struct {
		driver     sqldb.Driver
		text, want string
	}{
		{sqldb.Postgres, "SELECT 9007199254740992::int8, 9007199254740993::int8, '-9223372036854775808'::int8, 1::int2, NULL::int4", `9007199254740992,"9007199254740993","-9223372036854775808",1,null`},
		{sqldb.Postgres, "SELECT 12.50::numeric, 0.1::numeric, 123456789012345.5::numeric, 99999999999999999999.01::numeric, 'NaN'::numeric", `12.50,0.1,"123456789012345.5","99999999999999999999.01","NaN"`},
		{sqldb.Postgres, "SELECT 0.1::float8 + 0.2, 1e300::float8, 'Infinity'::float8, 1.5::float4", `0.30000000000000004,1e+300,"Infinity",1.5`},
		{sqldb.Postgres, `SELECT true, false, '\x00ff'::bytea, 'a"\' || chr(10) || 'é'`, `true,false,"base64:AP8=","a\"\\\né"`},
		{sqldb.Postgres, "SELECT '2026-06-30 18:00:00.25+02'::timestamptz, '2026-06-30 18:00:00'::timestamp, '2026-06-30'::date, '18:00'::time, '1 day'::interval, 'infinity'::timestamptz", `"2026-06-30T16:00:00.25Z","2026-06-30T18:00:00","2026-06-30","18:00:00","P1D","infinity"`},
		{sqldb.Postgres, `SELECT '{"n":12345678901234567890,"a":[1,{}]}'::jsonb, ARRAY['a','b'], '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid`, `{"a":[1,{}],"n":12345678901234567890},"{a,b}","6ba7b810-9dad-11d1-80b4-00c04fd430c8"`},
		{sqldb.Postgres, "SELECT", ""},
		{sqldb.Postgres, "SELECT repeat('9', 5000)::numeric", `"` + strings.Repeat("9", 4096) + `… [cut: 4096 of 5000 bytes]"`},
		{sqldb.MySQL, "SELECT 9007199254740993, 18446744073709551615, -1, NULL, TRUE", `"9007199254740993","18446744073709551615",-1,null,1`},
		{sqldb.MySQL, "SELECT 12.50, CAST(99999999999999999999.01 AS DECIMAL(30,2)), 1.5e0, 1e300", `12.50,"99999999999999999999.01",1.5,1e+300`},
		{sqldb.MySQL, "SELECT X'00ff' AS a, 'é', TIMESTAMP '2026-06-30 18:00:00.25', DATE '2026-06-30', TIME '18:00:00'", `"base64:AP8=","é","2026-06-30T18:00:00.25","2026-06-30","18:00:00"`},
		{sqldb.SQLite, "SELECT 9007199254740993, 1.5, 'é', x'00ff', NULL, 1e300", `"9007199254740993",1.5,"é","base64:AP8=",null,1e+300`},
		{sqldb.SQLite, "SELECT placed, 9e999 FROM orders WHERE id = 1", `"2026-06-30T18:00:00Z","+Inf"`},
		{sqldb.SQLite, "SELECT CAST(x'ff41' AS TEXT)", `"` + "\uFFFD" + `A"`},
	} {
		a := start(t, sqldb.Options{Driver: c.driver, Query: true}, "reader")
		r, err := query(t, a, c.text)
		if got := rowsOf(t, r, err); got != "[["+c.want+"]]" {
			t.Errorf("%s: %s\n got %s\nwant [[%s]]", c.driver, c.text, got, c.want)
		}
	}
}

// TestCaps has answers end at the caps, and say so.
func TestCaps(t *testing.T) {
	long := map[sqldb.Driver]string{sqldb.Postgres: "SELECT repeat('é', 100) AS a, i FROM generate_series(1, 5000000) i", sqldb.MySQL: "SELECT repeat('é', 100) AS a, seq FROM seq_1_to_5000000 LIMIT 4000000", sqldb.SQLite: "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT replace(printf('%.100c', 'x'), 'x', 'é') AS a, i FROM t"}
	each(t, func(t *testing.T, d sqldb.Driver) {
		a := start(t, sqldb.Options{Driver: d, Query: true, MaxRows: 7, MaxCell: 15, Concurrency: 1}, "reader")
		for range 2 { // the connection can be used again, or is replaced
			r, err := query(t, a, long[d])
			got := body(t, r, err)
			for _, want := range []string{`"row_count":7`, "there are more rows than these 7", `"ééééééé… [cut: 14 of 200 bytes]"`, `"cells_cut":7`} {
				if !strings.Contains(got, want) {
					t.Errorf("%s is missing in %s", want, got)
				}
			}
		}
		r, err := query(t, a, "SELECT id FROM orders WHERE id <= 7")
		if got := body(t, r, err); strings.Contains(got, "truncated") || !strings.Contains(got, `"row_count":7`) {
			t.Errorf("exactly as many as the cap: %s", got)
		}
		wide := start(t, sqldb.Options{Driver: d, Query: true, MaxRows: 100_000, MaxBytes: 20_000, MaxCell: 1000, Concurrency: 1}, "reader")
		r, err = query(t, wide, long[d])
		if got := body(t, r, err); len(got) > 25_000 || !strings.Contains(got, "all that fit into 20000 bytes") {
			t.Errorf("%d bytes: ...%s", len(got), got[max(0, len(got)-200):])
		}
		r, err = query(t, a, "SELECT 1 AS a, 2 AS a")
		if d == sqldb.MySQL {
			if kindOf(err) != "invalid_arguments" || !strings.Contains(public(err), "name of its own") {
				t.Errorf("columns of one name: %v", err)
			}
		} else if got := rowsOf(t, r, err); got != "[[1,2]]" {
			t.Errorf("columns of one name: %s", got)
		}
	})
}

// TestParams has arguments arrive as what they are said to be, and no text of them
// as SQL.
func TestParams(t *testing.T) {
	params := map[string]sqldb.Param{
		"s": {}, "i": {Type: "integer"}, "n": {Type: "number"}, "b": {Type: "boolean"}, "d": {Type: "date"}, "t": {Type: "timestamp"}, "c": {Type: "decimal"}, "u": {Type: "uuid"}, "l": {Type: "array"},
		"e": {Enum: []string{"asc", "desc"}, Default: json.RawMessage(`"asc"`)},
	}
	sql := map[sqldb.Driver]string{
		sqldb.Postgres: "SELECT :s::text, :i::int8, :n::float8, :b::bool, :d::date, :t::timestamptz, :c::numeric, :u::uuid, :l::text[], :e::text, :s::text AS again",
		sqldb.MySQL:    "SELECT :s, :i, :n, :b, :d, CAST(:t AS DATETIME(6)) AS t, CAST(:c AS DECIMAL(30,2)) AS c, :u, :l, :e, :s AS again",
		sqldb.SQLite:   "SELECT :s, :i, :n, :b, :d, :t, :c, :u, :l, :e, :s",
	}
	args := `{"s":"'; DROP TABLE orders; -- é","i":"9007199254740993","n":1.5,"b":"true","d":"2026-06-30","t":"2026-06-30T18:00:00.5+02:00","c":"12345678901234567890.50","u":"6BA7B810-9dad-11d1-80b4-00c04fd430c8","l":["a\"b",2,true]}`
	want := map[sqldb.Driver]string{
		sqldb.Postgres: `["'; DROP TABLE orders; -- é","9007199254740993",1.5,true,"2026-06-30","2026-06-30T16:00:00.5Z","12345678901234567890.50","6ba7b810-9dad-11d1-80b4-00c04fd430c8","{\"a\\\"b\",2,true}","asc","'; DROP TABLE orders; -- é"]`,
		sqldb.MySQL:    `["'; DROP TABLE orders; -- é","9007199254740993",1.5,1,"2026-06-30","2026-06-30T16:00:00.500000","12345678901234567890.50","6ba7b810-9dad-11d1-80b4-00c04fd430c8","[\"a\\\"b\",2,true]","asc","'; DROP TABLE orders; -- é"]`,
		sqldb.SQLite:   `["'; DROP TABLE orders; -- é","9007199254740993",1.5,1,"2026-06-30","2026-06-30T16:00:00.5Z","12345678901234567890.50","6ba7b810-9dad-11d1-80b4-00c04fd430c8","[\"a\\\"b\",2,true]","asc","'; DROP TABLE orders; -- é"]`,
	}
	each(t, func(t *testing.T, d sqldb.Driver) {
		a := start(t, sqldb.Options{Driver: d, Query: true, Statements: map[string]sqldb.Statement{"all": {SQL: sql[d], Params: params}}}, "reader")
		r, err := call(t, a, "all", args)
		if got := rowsOf(t, r, err); got != "["+want[d]+"]" {
			t.Errorf("got  %s\nwant [%s]", got, want[d])
		}
		r, err = call(t, a, "all", `{}`)
		if got := rowsOf(t, r, err); got != `[[null,null,null,null,null,null,null,null,null,"asc",null]]` {
			t.Errorf("without arguments: %s", got)
		}
		for _, wrong := range []string{`{"i":1.5}`, `{"i":1e400}`, `{"i":"1e-999999999"}`, `{"i":9223372036854775808}`, `{"i":"x"}`, `{"b":"yes"}`, `{"d":"30.6.2026"}`, `{"t":"soon"}`, `{"c":"1e5"}`, `{"u":"x"}`, `{"l":[{}]}`, `{"l":"a"}`, `{"e":"up"}`, `{"s":1}`, `{"x":1}`, `[]`, `{`, `{"s":"a","s":"b"}`} {
			if _, err := call(t, a, "all", wrong); kindOf(err) != "invalid_arguments" {
				t.Errorf("%s: %v", wrong, err)
			}
		}
	})
	tools, err := start(t, sqldb.Options{Driver: sqldb.SQLite, Query: true, Statements: map[string]sqldb.Statement{"all": {SQL: sql[sqldb.SQLite], Params: params}}}, "").Tools(t.Context())
	if err != nil || len(tools) != 3 {
		t.Fatal(tools, err)
	}
	schema, _ := rawjson.Get(tools[0].Raw, "inputSchema")
	if !strings.Contains(string(schema), `"e":{"type":"string","enum":["asc","desc"],"default":"asc"}`) {
		t.Errorf("%s", schema)
	}
}
