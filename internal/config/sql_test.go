package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

// database is an upstream of kind "sql" with these lines.
func database(lines ...string) string {
	return upstream(append([]string{`kind = "sql"`, `database = "postgres://db.example/sales"`}, lines...)...)
}

func statement(lines ...string) string {
	return database(append([]string{"[upstream.crm.statements.orders]", `sql = "SELECT :id"`}, lines...)...)
}

func statementOf(field func(*config.Statement) any) func(*config.Config) any {
	return of(func(u config.Upstream) any { return field(u.SQL.Statements["orders"]) })
}

var sqlBehaviour = map[string]behaves{
	"upstream.*.database":                       {upstream(`kind = "sql"`, `database = "sqlite:./a b.db"`), of(func(u config.Upstream) any { return u.SQL.Database }), config.EnvValue{Literal: "sqlite:/etc/bulkhead/a b.db"}},
	"upstream.*.query":                          {database(`query = true`), of(func(u config.Upstream) any { return u.SQL.Query }), true},
	"upstream.*.schema":                         {statement(`write = true`, `[upstream.b]`, `kind = "sql"`, `database = "sqlite:~/x"`, `schema = false`, `query = true`), func(c *config.Config) any { return []bool{c.Upstreams[0].SQL.Schema, c.Upstreams[1].SQL.Schema} }, []bool{false, true}},
	"upstream.*.max_rows":                       {database(`max_rows = 7`), of(func(u config.Upstream) any { return u.SQL.MaxRows }), 7},
	"upstream.*.max_cell":                       {database(`max_cell = "1KiB"`), of(func(u config.Upstream) any { return u.SQL.MaxCell }), int64(1024)},
	"upstream.*.allow_privileged":               {database(`allow_privileged = true`), of(func(u config.Upstream) any { return u.SQL.AllowPrivileged }), true},
	"upstream.*.statements.*.sql":               {statement(), statementOf(func(s *config.Statement) any { return s }), &config.Statement{SQL: "SELECT :id"}},
	"upstream.*.statements.*.description":       {statement(`description = "d"`), statementOf(func(s *config.Statement) any { return s.Description }), "d"},
	"upstream.*.statements.*.write":             {statement(`write = true`), statementOf(func(s *config.Statement) any { return s.Write }), true},
	"upstream.*.statements.*.params.*.type":     {statement(`params.id.type = "uuid"`), statementOf(func(s *config.Statement) any { return s.Params["id"] }), &config.Param{Type: "uuid"}},
	"upstream.*.statements.*.params.*.required": {statement(`params.id.required = true`), statementOf(func(s *config.Statement) any { return s.Params["id"] }), &config.Param{Type: "string", Required: true}},
	"upstream.*.statements.*.params.*.default":  {statement(`params.id.default = [1, "a"]`, `params.n.default = 10`), statementOf(func(s *config.Statement) any { return []any{s.Params["id"].Default, s.Params["n"].Default} }), []any{[]any{int64(1), "a"}, int64(10)}},
	"upstream.*.statements.*.params.*.enum":     {statement(`params.id.enum = ["a", "b"]`), statementOf(func(s *config.Statement) any { return s.Params["id"].Enum }), []string{"a", "b"}},
	"upstream.*.statements.*.params.*.doc":      {statement(`params.id.doc = "d"`), statementOf(func(s *config.Statement) any { return s.Params["id"].Doc }), "d"},
}

func TestDatabase(t *testing.T) {
	whole := mustParse(t, upstream(`kind = "sql"`, `database = { env = "DATABASE_URL" }`))
	if diff := cmp.Diff(config.EnvValue{Ref: &config.Ref{Env: "DATABASE_URL"}}, whole.Upstreams[0].SQL.Database); diff != "" {
		t.Error(diff)
	}
}

var sqlFaults = []faultCase{
	{"a database with a password", upstream("kind = 'sql'", "database = 'postgres://a:hunter2@db.example/sales'"), []string{"upstream.crm.database: has a password in it, which must not stand in the configuration | add auth"}},
	{"no database in it", upstream("kind = 'sql'", "database = 'mysql://a@db.example'"), []string{"upstream.crm.database: names no database | add it after the host"}},
	{"another database", upstream("kind = 'sql'", "database = 'oracle://a@db.example/x'"), []string{"upstream.crm.database: | postgres"}},
	{"no database", upstream("kind = 'sql'", "query = true"), []string{"upstream.crm: says nowhere where the source is | add database"}},
	{"keys of a database elsewhere", upstream("sandbox = 'crm'", "query = true", "statements.a.sql = 'SELECT 1'"), []string{"upstream.crm.query: does not belong to an upstream of kind \"mcp\" | remove it", "upstream.crm.statements: does not belong to an upstream of kind \"mcp\" | remove it"}},
	{"a database takes a password", database("auth = { type = 'bearer', token = { env = 'T' } }"), []string{"upstream.crm.auth.type: is none that a database takes | basic"}},
	{"no type of auth is told once", database("auth = { type = 'nix' }"), []string{"upstream.crm.auth.type: cannot be \"nix\" |"}},
	{"no table of auth is told once", database("auth = 1"), []string{"upstream.crm.auth: must be a table |"}},
	{"a file takes none", upstream("kind = 'sql'", "database = 'sqlite:a'", "auth = { type = 'basic', user = 'a', password = { env = 'T' } }"), []string{"upstream.crm.auth: has no effect | remove it"}},
	{"two passwords", upstream("kind = 'sql'", "database = { env = 'D' }", "auth = { type = 'basic', user = 'a', password = { env = 'T' } }"), []string{"upstream.crm.auth: has no effect | remove it"}},
	{"nothing offered", database("schema = false"), []string{"upstream.crm: offers nothing | query = true"}},
	{"statements", database("[upstream.crm.statements]", "a = { sql = ' ' }", "b = { sqll = 'x' }", "'c d' = { sql = 'x' }", "[upstream.crm.statements.e]", "sql = 'SELECT 1'", "params.x = { type = 'text' }", "params.y = { default = { a = 1 } }", "params.'1' = {}", "params.z = { required = true, default = 1 }", "params.w = { default = [[1]] }"), []string{
		"upstream.crm.statements.a.sql: is empty |", "upstream.crm.statements.b.sqll: unknown key | did you mean sql", "upstream.crm.statements.b.sql: is missing |", "upstream.crm.statements.\"c d\": is no name of a tool |",
		"upstream.crm.statements.e.params.x.type: |", "upstream.crm.statements.e.params.y.default: must be a string, number, boolean or a list of these, not a table |", "upstream.crm.statements.e.params.1: is no name of a parameter |", "upstream.crm.statements.e.params.z: is required and has a default |", "upstream.crm.statements.e.params.w.default[0]: must be a string, number or boolean, not a list |",
	}},
}
