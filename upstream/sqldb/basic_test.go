package sqldb_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

var drivers = []sqldb.Driver{sqldb.Postgres, sqldb.MySQL, sqldb.SQLite}

// each runs a test for each database.
func each(t *testing.T, test func(t *testing.T, d sqldb.Driver)) {
	for _, d := range drivers {
		t.Run(string(d), func(t *testing.T) { test(t, d) })
	}
}

// asked is what a test asks, and the columns and rows that it wants.
type asked struct{ tool, args, columns, rows string }

// TestQuery has a query be answered, and the schema be told in each detail. The
// numbers of rows that it tells are the server's guesses.
func TestQuery(t *testing.T) {
	wants := map[sqldb.Driver][]asked{
		sqldb.Postgres: {
			{"query", `{"sql":"SELECT id, customer, total FROM orders ORDER BY id LIMIT 2 -- all;"}`, "id:int4,customer:text,total:numeric", `[[1,"C-1",1.50],[2,"C-2",3.00]]`},
			{"schema", `{}`, "schema:name,name:name,kind:text", `[["public","lines","table"],["public","orders","table"]]`},
			{"schema", `{"detail":"summary","filter":"ord*"}`, "schema:name,name:name,kind:text,columns:int8,about_rows:int8,comment:text", `[["public","orders","table",4,N,"What was sold"]]`},
			{"schema", `{"detail":"full","filter":"public.l?nes"}`, "schema:name,table:name,column:name,type:text,nullable:bool,key:text,comment:text", `[["public","lines","order_id","integer",true,"references orders",null],["public","lines","sku","text",true,null,null]]`},
			{"schema", `{"detail":"full","filter":"orders"}`, "", `[["public","orders","id","integer",false,"primary key",null],["public","orders","customer","text",false,null,null],["public","orders","total","numeric(12,2)",true,null,"in EUR"],["public","orders","placed","timestamp with time zone",true,null,null]]`},
			{"schema", `{"detail":"full","filter":"order_"}`, "", `[]`},
		},
		sqldb.MySQL: {
			{"query", `{"sql":"SELECT id, customer, total FROM orders ORDER BY id LIMIT 2 -- all;"}`, "id:int,customer:varchar,total:decimal", `[[1,"C-1",1.50],[2,"C-2",3.00]]`},
			{"schema", `{}`, "schema:varchar,name:varchar,kind:varchar", `[["sales","counter","sequence"],["sales","lines","base table"],["sales","orders","base table"]]`},
			{"schema", `{"detail":"summary","filter":"ord*"}`, "schema:varchar,name:varchar,kind:varchar,columns:bigint,about_rows:unsigned bigint,comment:varchar", `[["sales","orders","base table",4,N,"What was sold"]]`},
			{"schema", `{"detail":"full","filter":"sales.l?nes"}`, "", `[["sales","lines","order_id","int(11)","YES","",""],["sales","lines","sku","varchar(10)","YES","",""]]`},
			{"schema", `{"detail":"full","filter":"orders"}`, "schema:varchar,table:varchar,column:varchar,type:text,nullable:varchar,key:varchar,comment:varchar", `[["sales","orders","id","int(11)","NO","PRI",""],["sales","orders","customer","varchar(40)","NO","",""],["sales","orders","total","decimal(12,2)","YES","","in EUR"],["sales","orders","placed","timestamp","NO","",""]]`},
			{"schema", `{"detail":"full","filter":"order_"}`, "", `[]`},
		},
		sqldb.SQLite: {
			{"query", `{"sql":"SELECT id, customer, total FROM orders ORDER BY id LIMIT 2 -- all;"}`, "id:integer,customer:text,total:numeric", `[[1,"C-1",1.5],[2,"C-2",3]]`},
			{"schema", `{}`, "name:text,kind:text", `[["lines","table"],["orders","table"]]`},
			{"schema", `{"detail":"summary","filter":"ord*"}`, "name:text,kind:text,columns:any", `[["orders","table",4]]`},
			{"schema", `{"detail":"full","filter":"l?nes"}`, "", `[["lines","order_id","INTEGER",1,null,"orders.id"],["lines","sku","TEXT",1,null,null]]`},
			{"schema", `{"detail":"full","filter":"order_"}`, "", `[]`},
		},
	}
	guess := regexp.MustCompile(`(4,)(null|[0-9]+)(,"What)`)
	each(t, func(t *testing.T, d sqldb.Driver) {
		a := start(t, sqldb.Options{Driver: d, Query: true, MaxRows: 3}, "reader")
		for _, c := range wants[d] {
			r, err := call(t, a, c.tool, c.args)
			if got := guess.ReplaceAllString(rowsOf(t, r, err), "${1}N$3"); got != c.rows {
				t.Errorf("%s %s:\n got %s\nwant %s", c.tool, c.args, got, c.rows)
			}
			if got := columnsOf(t, r, err); c.columns != "" && got != c.columns {
				t.Errorf("%s %s: the columns are %s, not %s", c.tool, c.args, got, c.columns)
			}
		}
		r, err := query(t, a, "SELECT id FROM orders ORDER BY id;")
		if got := body(t, r, err); !strings.Contains(got, `"rows":[[1],[2],[3]],"row_count":3,"truncated":"there are more rows than these 3`) {
			t.Errorf("all: %s", got)
		}
	})
}

// columnsOf returns the columns of an answer as name:type.
func columnsOf(t testing.TB, r *upstream.Result, err error) string {
	t.Helper()
	columns, _ := rawjson.Get([]byte(body(t, r, err)), "columns")
	var out []string
	for c := range rawjson.Elements(columns) {
		name, _ := rawjson.GetString(c, "name")
		typ, _ := rawjson.GetString(c, "type")
		out = append(out, name+":"+typ)
	}
	return strings.Join(out, ",")
}
