package sqldb_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

// generous bounds what must merely not hang.
const generous = time.Minute

const superTest = "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"

// What the tests ask. reader may only select; writer may insert; the superuser is
// "boss". Ten orders, and a table of every type.
func fillPostgres(s *server) error {
	opt := sqldb.Options{Driver: sqldb.Postgres}
	admin := strings.Replace(s.dsn("boss"), "/sales", "/postgres", 1)
	if err := execAll(opt, admin, superTest, "DROP DATABASE IF EXISTS sales", "CREATE DATABASE sales"); err != nil {
		return err
	}
	return execAll(opt, s.dsn("boss"), superTest,
		"CREATE TABLE orders (id int PRIMARY KEY, customer text NOT NULL, total numeric(12,2), placed timestamptz DEFAULT '2026-06-30 18:00:00+00')",
		"COMMENT ON TABLE orders IS 'What was sold'", "COMMENT ON COLUMN orders.total IS 'in EUR'",
		"INSERT INTO orders SELECT i, 'C-' || i, i * 1.5 FROM generate_series(1, 10) i",
		"CREATE TABLE lines (order_id int REFERENCES orders, sku text)",
		"CREATE SEQUENCE counter",
		"CREATE EXTENSION dblink",
		"CREATE FUNCTION sneaky() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO orders VALUES (99, 'x', 1); RETURN 1; END $$",
		"CREATE FUNCTION broken() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'out of luck'; END $$",
		"CREATE ROLE reader LOGIN PASSWORD '"+superPassword+"'", "GRANT SELECT ON orders, lines TO reader",
		"CREATE ROLE writer LOGIN PASSWORD '"+superPassword+"'", "GRANT SELECT, INSERT, UPDATE ON orders TO writer", "GRANT USAGE, SELECT, UPDATE ON SEQUENCE counter TO reader, writer",
		"CREATE ROLE filer LOGIN PASSWORD '"+superPassword+"' IN ROLE pg_execute_server_program, pg_read_server_files, pg_write_server_files",
		"CREATE ROLE allreader LOGIN PASSWORD '"+superPassword+"' IN ROLE pg_read_all_data, pg_monitor", "CREATE ROLE allwriter LOGIN PASSWORD '"+superPassword+"' IN ROLE pg_write_all_data",
		"CREATE ROLE owner LOGIN PASSWORD '"+superPassword+"'", "CREATE SCHEMA AUTHORIZATION owner",
		"CREATE ROLE keeper LOGIN CREATEDB CREATEROLE REPLICATION BYPASSRLS PASSWORD '"+superPassword+"'", "CREATE ROLE underling LOGIN NOINHERIT PASSWORD '"+superPassword+"' IN ROLE keeper",
		"CREATE ROLE rds_superuser", "CREATE ROLE clouded LOGIN PASSWORD '"+superPassword+"' IN ROLE rds_superuser",
		"CREATE ROLE heir LOGIN NOINHERIT PASSWORD '"+superPassword+"' IN ROLE boss",
		"REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC", "GRANT EXECUTE ON FUNCTION sneaky(), broken() TO PUBLIC",
		"CREATE ROLE linker LOGIN PASSWORD '"+superPassword+"'", "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO linker", "GRANT SELECT ON orders TO linker",
		"CREATE ROLE halflinker LOGIN PASSWORD '"+superPassword+"'", "GRANT EXECUTE ON FUNCTION dblink(text, text) TO halflinker",
	)
}

func fillMariaDB(s *server) error {
	opt := sqldb.Options{Driver: sqldb.MySQL}
	admin := strings.Replace(s.dsn("boss"), "/sales", "/mysql", 1)
	if err := execAll(opt, admin, "CREATE DATABASE IF NOT EXISTS sales"); err != nil {
		return err
	}
	of := "'@'127.0.0.1'"
	by := " IDENTIFIED BY '" + superPassword + "'"
	return execAll(opt, s.dsn("boss"),
		"CREATE TABLE orders (id int PRIMARY KEY, customer varchar(40) NOT NULL, total decimal(12,2) COMMENT 'in EUR', placed timestamp NOT NULL DEFAULT '2026-06-30 18:00:00') COMMENT 'What was sold'",
		"INSERT INTO orders (id, customer, total) SELECT seq, concat('C-', seq), seq * 1.5 FROM seq_1_to_10",
		"CREATE TABLE `lines` (order_id int, sku varchar(10))",
		"CREATE SEQUENCE counter",
		"CREATE FUNCTION sneaky() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO orders (id, customer) VALUES (99, 'x'); RETURN 1; END",
		"CREATE USER 'reader"+of+by, "GRANT SELECT ON sales.* TO 'reader"+of, "GRANT EXECUTE ON sales.* TO 'reader"+of,
		"CREATE USER 'writer"+of+by, "GRANT SELECT, INSERT, UPDATE, EXECUTE, CREATE, DROP ON sales.* TO 'writer"+of,
		"CREATE USER 'filer"+of+by, "GRANT SELECT, FILE ON *.* TO 'filer"+of,
		"CREATE ROLE harmless", "GRANT SELECT, SHOW VIEW, PROCESS ON *.* TO harmless", "CREATE USER 'roled"+of+by, "GRANT harmless TO 'roled"+of, "SET DEFAULT ROLE harmless FOR 'roled"+of,
		"CREATE ROLE inner_role", "GRANT INSERT, FILE ON *.* TO inner_role", "CREATE ROLE outer_role", "GRANT inner_role TO outer_role",
		"CREATE USER 'heir"+of+by, "GRANT SELECT ON sales.* TO 'heir"+of, "GRANT outer_role TO 'heir"+of, "SET DEFAULT ROLE outer_role FOR 'heir"+of,
		"CREATE USER 'idle"+of+by, "GRANT SELECT ON sales.* TO 'idle"+of, "GRANT outer_role TO 'idle"+of, // which nobody activates
		"CREATE USER 'accounts"+of+by, "GRANT SELECT ON sales.* TO 'accounts"+of, "GRANT ALL ON mysql.* TO 'accounts"+of,
		"CREATE USER 'pattern"+of+by, "GRANT SELECT ON sales.* TO 'pattern"+of, "GRANT SELECT, INSERT ON `my_q%`.* TO 'pattern"+of,
		"CREATE USER 'columns"+of+by, "GRANT SELECT ON sales.* TO 'columns"+of, "GRANT SELECT (Host, User, Db), UPDATE (Host, User, Db) ON mysql.db TO 'columns"+of,
		"CREATE USER 'giver"+of+by, "GRANT SELECT ON *.* TO 'giver"+of+" WITH GRANT OPTION",
	)
}

// fillSQLite makes a file of its own for the test.
func fillSQLite(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "sales.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // of a test
	for _, s := range []string{
		"CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, total NUMERIC, placed TIMESTAMP DEFAULT '2026-06-30T18:00:00Z')",
		"WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM t WHERE i < 10) INSERT INTO orders (id, customer, total) SELECT i, 'C-' || i, i * 1.5 FROM t",
		"CREATE TABLE lines (order_id INTEGER REFERENCES orders (id), sku TEXT)",
	} {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// start makes an adapter of a user of one of the three databases.
func start(t testing.TB, opt sqldb.Options, user string) *sqldb.Adapter {
	t.Helper()
	opt.ID = "sales"
	dsn := ""
	switch opt.Driver {
	case sqldb.Postgres:
		dsn = pgServer.need(t).dsn(user)
	case sqldb.MySQL:
		dsn = mariaServer.need(t).dsn(user)
	case sqldb.SQLite:
		if dsn = user; !strings.HasPrefix(dsn, "sqlite:") {
			dsn = "sqlite:" + fillSQLite(t)
		}
	}
	return startAt(t, opt, dsn)
}

func startAt(t testing.TB, opt sqldb.Options, dsn string) *sqldb.Adapter {
	t.Helper()
	db, err := openRaw(opt, dsn)
	if err != nil {
		t.Fatal(err)
	}
	a, err := sqldb.New(context.WithoutCancel(t.Context()), opt, db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func callOf(tool, args string) *upstream.Call {
	return &upstream.Call{ID: "test", Principal: upstream.Local(), Op: upstream.CallTool, Name: tool, Arguments: json.RawMessage(args), Timing: &upstream.Timing{}}
}

func call(t testing.TB, a *sqldb.Adapter, tool, args string) (*upstream.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), generous)
	defer cancel()
	return a.Call(ctx, callOf(tool, args))
}

// query asks with the tool of that name.
func query(t testing.TB, a *sqldb.Adapter, text string) (*upstream.Result, error) {
	t.Helper()
	args, _ := json.Marshal(map[string]string{"sql": text})
	return call(t, a, "query", string(args))
}

// body returns the structured content, and sees to it that the text says the same.
func body(t testing.TB, r *upstream.Result, err error) string {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (cause: %v)", err, errors.Unwrap(err))
	}
	if err := rawjson.Check(r.Raw, rawjson.Limits{}); err != nil {
		t.Fatalf("%v in %s", err, r.Raw)
	}
	structured, _ := r.Get("structuredContent")
	content, _ := r.Get("content")
	for item := range rawjson.Elements(content) {
		if s, _ := rawjson.GetString(item, "text"); s != string(structured) {
			t.Fatalf("the text is %s, but the structured content %s", s, structured)
		}
	}
	return string(bytes.TrimSpace(structured))
}

func rowsOf(t testing.TB, r *upstream.Result, err error) string {
	t.Helper()
	rows, _ := rawjson.Get([]byte(body(t, r, err)), "rows")
	return string(rows)
}

func kindOf(err error) string {
	if err == nil {
		return "ok"
	}
	e, ok := errors.AsType[*upstream.Error](err)
	if !ok {
		return fmt.Sprintf("%T", err)
	}
	return e.Kind.Code()
}

// public returns what the model reads of an error.
func public(err error) string {
	if e, ok := errors.AsType[*upstream.Error](err); ok {
		return e.Public
	}
	return ""
}
