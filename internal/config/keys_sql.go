package config

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// SQL is what an upstream of kind "sql" has besides.
type SQL struct {
	Database   EnvValue              // a URL, or "sqlite:" and an absolute path
	Statements map[string]*Statement // by the name of the tool; nil for none
	Query      bool                  // whether the model may write queries
	Schema     bool                  // whether it may look at the schema
	MaxRows    int                   // of one answer
	MaxCell    int64                 // bytes of one value
	// AllowPrivileged uses a role that may do more than read.
	AllowPrivileged bool
}

// Statement is one [upstream.NAME.statements.TOOL] table.
type Statement struct {
	SQL         string
	Description string
	Write       bool
	Params      map[string]*Param // nil for none
}

// Param is one argument of a statement.
type Param struct {
	Type     string
	Required bool
	Default  any // string, int64, float64, bool or []any of these; nil for none
	Enum     []string
	Doc      string
}

var sqlKind = sourceKind{
	name: "sql", where: []string{"database", "sandbox"}, sample: "warehouse",
	also: []string{"auth", "statements", "query", "schema", "max_rows", "max_cell", "allow_privileged", "latency"},
	hint: `add database = "postgres://reader@db.example.com/sales", or { env = "DATABASE_URL" }`,
}

// value is a text, or where it is kept if it is secret.
var value = &kind{"string or secret reference", decodeValue, func(k *key) map[string]any {
	return object{"oneOf": []any{textSchema(k), object{"$ref": "#/$defs/secret"}}}
}}

// anything is a value of any type that JSON knows but a table.
var anything = &kind{"string, number, boolean or list", decodeAnything, func(*key) map[string]any {
	return object{"type": []any{"string", "number", "boolean", "array"}}
}}

var (
	databaseForm = newForm(`^(sqlite:.|(postgres|postgresql|mysql)://[^/])`)
	paramName    = newForm(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
	statementTab = newForm(`^[A-Za-z0-9_-]{1,64}$`)
)

// sqlKeys stand in the table of the upstream itself.
var sqlKeys = []key{
	{name: "database", kind: value, example: "postgres://reader@db.example.com/sales", pattern: databaseForm, expect: "postgres://, mysql:// or sqlite: and where the database is", check: checkDatabase,
		doc:   "The database of an upstream of kind `sql`: `postgres://USER@HOST:PORT/DATABASE`, `mysql://USER@HOST:PORT/DATABASE` (MariaDB too), or `sqlite:PATH`, where a relative path starts at the configuration's directory and `~/` is the home directory. The password is no part of it: it comes from `auth` of type `basic`, or the whole address is a secret reference. To another machine connections are encrypted and the server's certificate is checked; `?sslmode=require` (`postgres`) or `?tls=skip-verify` (`mysql`) leaves out the check, `?sslmode=disable` or `?tls=false` the encryption, and `?sslrootcert=FILE` (`postgres`) names the certificate to check against. `?search_path=` and `?application_name=` are passed on (`postgres`). No environment variable and no file of the database's own clients is read. The role should only be able to read, unless `statements` write: a superuser and the like is refused (`allow_privileged`).",
		field: func(t target) any { return &t.upstream.SQL.Database }},
	{name: "query", kind: flag, def: false, example: true,
		doc:   "Whether the model may write queries itself, with the tool `query`: one SELECT, in a read-only transaction that is rolled back. With kind `sql` only.",
		field: func(t target) any { return &t.upstream.SQL.Query }},
	{name: "schema", kind: flag, def: true, example: false,
		doc:   "Whether the model may look at what tables and columns there are, with the tool `schema`. With kind `sql` only.",
		field: func(t target) any { return &t.upstream.SQL.Schema }},
	{name: "max_rows", kind: number, def: int64(100), example: int64(500), least: 1, most: 1_000_000,
		doc:   "How many rows an answer has at most; one that is cut short says so. With kind `sql` only.",
		field: func(t target) any { return &t.upstream.SQL.MaxRows }},
	{name: "max_cell", kind: size, def: "4KiB", example: "64KiB", least: 16, most: 16 << 20,
		doc:   "How long one value of an answer may be; one that is cut short says so. With kind `sql` only.",
		field: func(t target) any { return &t.upstream.SQL.MaxCell }},
	{name: "allow_privileged", kind: flag, def: false, example: true,
		doc:   "Whether a database role is used that may do more than a reader should: a superuser, also one of a cloud; one that may read or write the server's files, run programs there, write to all tables (`pg_write_all_data`; MySQL: on `*.*`) or to the server's own database (`mysql`), create databases or roles, replicate, end others' statements, see rows that policies hide, or, with `query`, reach other servers with dblink. The roles count that it has or can take on; with MySQL and MariaDB those that are active by default. Tables that it owns or may write to by name are no reason, because `statements` may write. With it the read-only transaction and what is looked for in the text of queries are all that holds the model. With kind `sql` only.",
		field: func(t target) any { return &t.upstream.SQL.AllowPrivileged }},
}

// sqlSections are the tables below it.
var sqlSections = []section{
	{
		path: "upstream.*.statements.*",
		doc:  "A statement that becomes a tool of that name, with kind `sql`. It is one statement that only reads, unless `write` says otherwise.",
		keys: []key{
			{name: "sql", kind: text, example: "SELECT id, total FROM orders WHERE customer_id = :customer_id", required: true, check: checkFilled,
				doc:   "The statement. `:name` stands for the parameter of that name, wherever a value may stand; it is never pasted into the text.",
				field: func(t target) any { return &t.statement.SQL }},
			{name: "description", kind: text, example: "A customer's orders.",
				doc:   "What the model reads about the tool.",
				field: func(t target) any { return &t.statement.Description }},
			{name: "write", kind: flag, def: false, example: true,
				doc:   "Whether it changes something. Then it is committed, is one of the upstream's writes, and is offered only where `writes` is `serial` or `parallel`.",
				field: func(t target) any { return &t.statement.Write }},
		},
		each: func(t target, name string) target {
			s := &Statement{}
			if t.upstream.SQL.Statements == nil {
				t.upstream.SQL.Statements = map[string]*Statement{}
			}
			t.upstream.SQL.Statements[name] = s
			return target{statement: s}
		},
		named: naming{statementTab, "is no name of a tool", "1 to 64 of A-Z, a-z, 0-9, _ and -", "TOOL"},
	},
	{
		path: "upstream.*.statements.*.params.*",
		doc:  "An argument of that tool, by the name that stands after the colon in `sql`.",
		keys: []key{
			{name: "type", kind: text, def: "string", example: "integer", enum: []string{"string", "integer", "number", "boolean", "date", "timestamp", "decimal", "uuid", "array"},
				doc:   "What it is. `date` is `2026-06-30`, `timestamp` `2026-06-30T18:00:00Z`, `decimal` an exact number. An `array` of strings, numbers and booleans is an array for PostgreSQL (`= ANY(:ids)`), for the others the text of a JSON array (`JSON_TABLE`, `json_each`).",
				field: func(t target) any { return &t.param.Type }},
			{name: "required", kind: flag, def: false, example: true,
				doc:   "Whether a call has to give it.",
				field: func(t target) any { return &t.param.Required }},
			{name: "default", kind: anything, example: int64(10),
				doc:   "What it is where a call does not give it; left out it is NULL then.",
				field: func(t target) any { return &t.param.Default }},
			{name: "enum", kind: list, example: []any{"open", "solved"},
				doc:   "The only values that it may have. With type `string`.",
				field: func(t target) any { return &t.param.Enum }},
			{name: "doc", kind: text, example: "Customer id such as C-1001.",
				doc:   "What the model reads about it.",
				field: func(t target) any { return &t.param.Doc }},
		},
		each: func(t target, name string) target {
			p := &Param{}
			if t.statement.Params == nil {
				t.statement.Params = map[string]*Param{}
			}
			t.statement.Params[name] = p
			return target{param: p}
		},
		named: naming{paramName, "is no name of a parameter", "letters, digits and _, not beginning with a digit", "NAME"},
	},
}

func checkFilled(v string) (problem, hint string) {
	if strings.TrimSpace(v) == "" {
		return "is empty", "write the statement"
	}
	return "", ""
}

// checkDatabase takes an address that names no secret.
func checkDatabase(v string) (problem, hint string) {
	if strings.HasPrefix(v, "sqlite:") {
		return "", ""
	}
	u, err := url.Parse(v)
	switch {
	case err != nil:
		return "is no URL", `for example "postgres://reader@db.example.com/sales"`
	case strings.Trim(u.Path, "/") == "" || strings.Contains(strings.Trim(u.Path, "/"), "/"):
		return "names no database", "add it after the host: /sales"
	}
	if _, has := u.User.Password(); has {
		return "has a password in it, which must not stand in the configuration", `add auth = { type = "basic", user = "...", password = { env = "NAME" } }, or make the whole address a reference: { env = "NAME" }`
	}
	return "", ""
}

// checkSQL applies the rules of an upstream of kind "sql".
func checkSQL(d *decoder, at string, u *Upstream) {
	db := &u.SQL.Database
	if path, ok := strings.CutPrefix(db.Literal, "sqlite:"); ok {
		db.Literal = "sqlite:" + d.local(join(at, "database"), path)
	}
	file := strings.HasPrefix(db.Literal, "sqlite:")
	switch {
	case u.Auth.Type == "" || faulty(d, join(at, "auth")) || faulty(d, join(join(at, "auth"), "type")): // which is told already
	case u.Auth.Type != "none" && u.Auth.Type != "basic":
		d.fault(join(join(at, "auth"), "type"), "is none that a database takes", `use type = "basic" with user and password, or make the whole address a reference: database = { env = "NAME" }`)
	case u.Auth.Type == "basic" && file:
		d.fault(join(at, "auth"), "has no effect: a file asks for no password", "remove it")
	case u.Auth.Type == "basic" && db.Ref != nil:
		d.fault(join(at, "auth"), "has no effect: the whole address is a reference, and the password is part of it", "remove it, or write the address without password")
	}
	for name, s := range u.SQL.Statements {
		for p, param := range s.Params {
			if param.Required && param.Default != nil {
				d.fault(join(join(at+".statements", name)+".params", p), "is required and has a default", "remove one of them")
			}
		}
	}
	if len(u.SQL.Statements) == 0 && !u.SQL.Query && !u.SQL.Schema && d.given[join(at, "database")] {
		d.fault(at, "offers nothing", "add a table [upstream."+u.Name+".statements.NAME], or query = true")
	}
}

func decodeValue(d *decoder, k *key, path string, raw, into any) {
	if table, ok := raw.(map[string]any); ok {
		*into.(*EnvValue) = EnvValue{Ref: d.ref(k, path, table)}
		return
	}
	if v, ok := asText(d, k, path, raw); ok && d.fits(k, path, v) {
		*into.(*EnvValue) = EnvValue{Literal: v}
	}
}

func decodeAnything(d *decoder, k *key, path string, raw, into any) {
	switch v := raw.(type) {
	case string, bool, int64, float64:
	case []any:
		if i := slices.IndexFunc(v, func(e any) bool { _, table := e.(map[string]any); _, list := e.([]any); return table || list }); i >= 0 {
			d.wrong(k, path+"["+strconv.Itoa(i)+"]", "must be a string, number or boolean, not "+describe(v[i]))
			return
		}
	default:
		d.wrong(k, path, "must be a string, number, boolean or a list of these, not "+describe(raw))
		return
	}
	*into.(*any) = raw
}
