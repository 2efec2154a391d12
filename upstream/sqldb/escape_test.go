package sqldb_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

// escapes are what a model might send to get out of reading. FILE stands for a
// path that does not exist. Each has to be refused, whatever the role may do.
var escapes = map[sqldb.Driver][]string{
	sqldb.Postgres: {
		"INSERT INTO orders VALUES (50, 'x', 1)", "UPDATE orders SET total = 0", "DELETE FROM orders", "TRUNCATE orders", "DROP TABLE orders", "CREATE TABLE t (a int)", "CREATE TEMP TABLE t (a int)",
		"WITH x AS (INSERT INTO orders VALUES (50, 'x', 1) RETURNING *) SELECT * FROM x", "WITH x AS (DELETE FROM orders RETURNING id) SELECT count(*) FROM x",
		"SELECT 1; DELETE FROM orders", "COMMIT; DELETE FROM orders", "ROLLBACK; DELETE FROM orders; BEGIN", "SELECT $$;$$; DELETE FROM orders", "SELECT 'a\\'; DELETE FROM orders; --'",
		"SELECT E'a\\'; DELETE FROM orders; --'", "SELECT 1 /* /* */ ; DELETE FROM orders */ */; DELETE FROM orders", "SELECT 1 -- \n; DELETE FROM orders", "SELECT 1\x00; DELETE FROM orders",
		"SELECT 1) AS q; DELETE FROM orders; --", "SELECT 1) AS q WHERE 1=0 UNION ALL SELECT * FROM (SELECT 2", "SELECT 1 /* open", "SELECT 'open", "SELECT $a$ open",
		"SELECT * INTO t FROM orders", "SELECT id INTO TEMP t FROM orders", "SELECT * FROM orders FOR UPDATE", "SELECT * FROM orders FOR NO KEY UPDATE", "SELECT * FROM orders FOR SHARE",
		"COPY orders TO 'FILE'", "COPY orders TO STDOUT", "COPY (SELECT 1) TO PROGRAM 'touch FILE'", "COPY orders FROM PROGRAM 'echo 50'",
		"SELECT pg_read_file('/etc/passwd')", "SELECT \"pg_read_file\"('/etc/passwd')", "SELECT pg_catalog . pg_read_file /* x */ ('/etc/passwd')", "SELECT PG_READ_FILE('/etc/passwd')", "SELECT U&\"pg\\005fread_file\"('/etc/passwd')",
		"SELECT * FROM pg_ls_dir('/')", "SELECT lo_export(lo_import('/etc/passwd'), 'FILE')", "SELECT lo_from_bytea(0, 'x')", "SELECT pg_file_write('FILE', 'x', false)",
		"SELECT dblink_exec('dbname=sales', 'DELETE FROM orders')", "SELECT * FROM dblink('dbname=sales', 'DELETE FROM orders RETURNING id') AS t(id int)", "SELECT public.dblink_connect('a', 'dbname=sales')",
		"SELECT query_to_xml('DELETE FROM orders RETURNING id', true, true, '')", "SELECT query_to_xml('SELECT pg_sleep(60)', true, true, '')", "SELECT * FROM ts_stat('SELECT pg_sleep(60)')",
		"SELECT sneaky()", "SELECT nextval('counter')", "SELECT setval('counter', 100)",
		"SELECT pg_advisory_lock(1)", "SELECT pg_try_advisory_lock(1)", "SELECT pg_notify('a', 'b')", "SELECT pg_sleep(60)", "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT pg_reload_conf()",
		"SELECT set_config('default_transaction_read_only', 'off', false)", "SELECT set_config('transaction_read_only', 'off', true)", "SELECT set_config('statement_timeout', '0', false)",
		"SET default_transaction_read_only = off", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "SET ROLE boss", "RESET ALL", "DISCARD ALL", "BEGIN READ WRITE", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE ALL",
		"EXPLAIN ANALYZE DELETE FROM orders", "EXPLAIN (ANALYZE) INSERT INTO orders VALUES (50, 'x', 1)", "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1", "EXPLAIN EXECUTE p", "EXPLAIN ANALYZE SELECT sneaky()",
		"DO $$ BEGIN DELETE FROM orders; END $$", "CALL sneaky()", "LISTEN a", "NOTIFY a", "LOCK TABLE orders", "VACUUM", "CLUSTER", "REINDEX TABLE orders", "REFRESH MATERIALIZED VIEW v", "LOAD 'x'", "CHECKPOINT",
		"GRANT ALL ON orders TO PUBLIC", "CREATE ROLE evil SUPERUSER", "ALTER ROLE reader SUPERUSER", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "FETCH ALL FROM c", "IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c",
		"SELECT 1 --\r, pg_sleep(0)\nAS x", "SELECT 1 -- a\r\n, pg_sleep(0)", "SELECT E'a'\n'b\\'' || pg_sleep(0)::text || 'z' AS x -- '", "SELECT E'a' -- '\r\t'b\\'' || pg_sleep(0)::text || 'z' AS x -- '", "SELECT e'a'\n-- b\n'c'\n'\\'' || pg_sleep(0)::text -- '",
		"SELECT U&'a'\n'b\\' || pg_sleep(0)::text || 'z", "SELECT B'1'\n'0' || pg_sleep(0)::text", "SELECT N'a\\' || pg_sleep(0)::text", "SELECT a$$, pg_sleep(0) FROM (SELECT 1 AS a$$) AS b", "SELECT $a$ $b$ $a$ || pg_sleep(0)::text || $b$ $b$", "SELECT 1 /* /*/ */ */ || pg_sleep(0)::text /* */", "SELECT 1 /**//***/, pg_sleep(0)", "SELECT 1 WHERE 1 < 1e5for update", "SELECT 1 +--\r pg_sleep(0)::text::int",
		"SELECT :x", "SELECT $1", "", ";", "-- nothing", "\xff\xfe",
	},
	sqldb.MySQL: {
		"INSERT INTO orders (id, customer) VALUES (50, 'x')", "UPDATE orders SET total = 0", "DELETE FROM orders", "TRUNCATE orders", "DROP TABLE orders", "CREATE TABLE t (a int)", "CREATE TEMPORARY TABLE t (a int)", "REPLACE INTO orders (id, customer) VALUES (1, 'x')",
		"SELECT 1; DELETE FROM orders", "COMMIT; DELETE FROM orders", "SELECT 'a\\'; DELETE FROM orders; -- '", "SELECT \"a\\\"; DELETE FROM orders; -- \"", "SELECT 'a\\\\'; DELETE FROM orders", "SELECT 1 # \n; DELETE FROM orders",
		"SELECT 1 --\n; DELETE FROM orders", "SELECT 5--1; DELETE FROM orders", "/*! DELETE FROM orders */", "SELECT 1 /*!50000 INTO OUTFILE 'FILE' */", "SELECT 1 /*M! INTO OUTFILE 'FILE' */", "SELECT 1 /* /*! */ INTO OUTFILE 'FILE' */",
		"SELECT 1) AS q; DELETE FROM orders; -- ", "SELECT * FROM orders INTO OUTFILE 'FILE'", "SELECT customer INTO DUMPFILE 'FILE' FROM orders LIMIT 1", "SELECT 1 INTO @x", "WITH x AS (SELECT 1) SELECT * FROM x INTO OUTFILE 'FILE'", "(SELECT 1) INTO OUTFILE 'FILE'",
		"SELECT LOAD_FILE('/etc/passwd')", "SELECT `load_file`('/etc/passwd')", "SELECT load_file /* x */ ('/etc/passwd')", "LOAD DATA INFILE '/etc/passwd' INTO TABLE orders", "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE `lines`",
		"SELECT sneaky()", "SELECT NEXTVAL(counter)", "SELECT NEXT VALUE FOR counter", "SELECT SETVAL(counter, 100)", "SELECT GET_LOCK('a', 1)", "SELECT RELEASE_ALL_LOCKS()", "SELECT SLEEP(60)", "SELECT BENCHMARK(1000000000, MD5('a'))",
		"SELECT * FROM orders FOR UPDATE", "SELECT * FROM orders LOCK IN SHARE MODE", "SELECT * FROM orders FOR SHARE", "SELECT * FROM orders PROCEDURE ANALYSE()",
		"SET SESSION TRANSACTION READ WRITE", "SET @x = 1", "SET STATEMENT max_statement_time = 0 FOR SELECT 1", "SET GLOBAL general_log = 1", "START TRANSACTION", "ROLLBACK", "XA START 'a'", "SAVEPOINT a",
		"CALL sneaky()", "DO SLEEP(60)", "HANDLER orders OPEN", "LOCK TABLES orders WRITE", "FLUSH TABLES", "RENAME TABLE orders TO t", "ANALYZE TABLE orders", "OPTIMIZE TABLE orders", "ANALYZE SELECT 1", "ANALYZE UPDATE orders SET total = 0", "EXPLAIN UPDATE orders SET total = 0", "EXPLAIN FOR CONNECTION 1",
		"PREPARE p FROM 'DELETE FROM orders'", "EXECUTE IMMEDIATE 'DELETE FROM orders'", "KILL 1", "USE mysql", "GRANT ALL ON *.* TO reader", "CREATE USER evil", "INSTALL SONAME 'x'", "BACKUP STAGE START", "SHUTDOWN", "BEGIN NOT ATOMIC DELETE FROM orders; END",
		"SELECT 5--1 AS six", "SELECT 1 --\x7f'\n, SLEEP(0) -- '", "SELECT 1 --\x01'\n, SLEEP(0) -- '", "SELECT 1 --a'\n, SLEEP(0) -- '", "SELECT 1 --\u00a0\n, SLEEP(0)", "SELECT 1 --\r\n, SLEEP(0)", "SELECT 1 #\r\n, SLEEP(0)", "SELECT 1 /*/ */, SLEEP(0)", "SELECT 1 /* /* */, SLEEP(0)", "SELECT 1 /*+ SET_VAR(max_execution_time=0) */", "SELECT 1 /*M!100000 , SLEEP(0) */",
		"SELECT 'a\\', SLEEP(0), '", "SELECT \"a\\\", SLEEP(0), \"", "SELECT \"SLEEP\"(0)", "SELECT 'a\\\\', SLEEP(0)", "SELECT id FROM orders WHERE id < 1e5for update", "SELECT 1e5into @x", "SELECT counter.nextval", "SELECT counter.NEXTVAL FROM orders", "SELECT N'a\\', SLEEP(0), '", "SELECT _utf8mb4'a' 'b\\', SLEEP(0), '",
		"SELECT ?", "SELECT 1 'open", "SELECT `open", "", ";",
	},
	sqldb.SQLite: {
		"INSERT INTO orders (id, customer) VALUES (50, 'x')", "UPDATE orders SET total = 0", "DELETE FROM orders", "DROP TABLE orders", "CREATE TABLE t (a)", "CREATE TEMP TABLE t (a)", "REPLACE INTO orders (id, customer) VALUES (1, 'x')", "WITH x AS (SELECT 1) DELETE FROM orders",
		"DELETE FROM orders RETURNING id", "SELECT 1; DELETE FROM orders", "COMMIT; DELETE FROM orders", "SELECT ';'; DELETE FROM orders", "SELECT [;]; DELETE FROM orders", "SELECT 1 -- \n; DELETE FROM orders", "SELECT 1 /* ; */; DELETE FROM orders",
		"ATTACH 'FILE' AS t", "ATTACH ':memory:' AS t", "DETACH main", "VACUUM INTO 'FILE'", "VACUUM", "PRAGMA query_only = 0", "PRAGMA writable_schema = 1", "PRAGMA table_info(orders)", "PRAGMA journal_mode = WAL", "PRAGMA wal_checkpoint",
		"SELECT * FROM pragma_query_only", "SELECT * FROM pragma_journal_mode", "SELECT load_extension('x')", "SELECT \"load_extension\"('x')", "SELECT readfile('/etc/passwd')", "SELECT writefile('FILE', 'x')", "SELECT fts3_tokenizer('a')",
		"SELECT 1) AS q; DELETE FROM orders; --", "BEGIN", "SAVEPOINT a", "REINDEX", "ANALYZE", "CREATE VIRTUAL TABLE t USING fts5(a)", "CREATE TRIGGER x AFTER INSERT ON orders BEGIN DELETE FROM orders; END", "ALTER TABLE orders RENAME TO t",
		"SELECT randomblob(900000000)", "SELECT zeroblob(2000000000)", "SELECT printf('%.*c', 1000000000, 'x')", "SELECT hex(randomblob(9000000))", "EXPLAIN DELETE FROM orders", "EXPLAIN QUERY PLAN DELETE FROM orders", "SELECT 'open", "SELECT /* open", "", "SELECT ?", "SELECT ?1", "SELECT 1 --\r\n, load_extension('x')", "SELECT \ufeffload_extension('x')", "SELECT [a]]load_extension('x')", "SELECT :a", "SELECT @a", "SELECT $a",
	},
}

func TestEscapes(t *testing.T) {
	each(t, func(t *testing.T, d sqldb.Driver) {
		for _, user := range []string{"reader", "boss"} {
			t.Run(user, func(t *testing.T) { refuses(t, d, user) })
		}
	})
}

// TestModes has MariaDB read texts in its other ways.
func TestModes(t *testing.T) {
	mode := func(name string) {
		t.Helper()
		if err := execAll(sqldb.Options{Driver: sqldb.MySQL}, mariaServer.need(t).dsn("boss"), "SET GLOBAL sql_mode = "+name); err != nil {
			t.Error(err)
		}
	}
	defer mode("DEFAULT")
	for _, name := range []string{"ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ORACLE", "IGNORE_SPACE"} {
		t.Run(name, func(t *testing.T) {
			mode("'" + name + "'")
			refuses(t, sqldb.MySQL, "boss")
		})
	}
}

// refuses asks for all that has to be refused.
func refuses(t *testing.T, d sqldb.Driver, user string) {
	t.Helper()
	a := start(t, sqldb.Options{Driver: d, Query: true, AllowPrivileged: true, Concurrency: 2}, user)
	file := filepath.Join(os.TempDir(), "bulkhead-escape-"+string(d)+user)
	for _, text := range escapes[d] {
		text = strings.ReplaceAll(text, "FILE", file)
		r, err := query(t, a, text)
		kind := kindOf(err)
		if err == nil && r.IsError {
			kind = "failed"
		}
		if !slices.Contains([]string{"invalid_arguments", "denied", "failed"}, kind) {
			t.Errorf("%q: %s, %v", text, kind, err)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Errorf("%s was written", file)
	}
	unharmed(t, a, d)
}

// unharmed looks whether everything is as it was.
func unharmed(t *testing.T, a *sqldb.Adapter, d sqldb.Driver) {
	t.Helper()
	r, err := query(t, a, "SELECT count(*) AS n, sum(id) AS s, sum(total) AS t FROM orders")
	if got := rowsOf(t, r, err); !strings.HasPrefix(got, "[[10,55,82.5") {
		t.Errorf("orders are now %s", got)
	}
	r, err = call(t, a, "schema", `{}`)
	want := map[sqldb.Driver]int{sqldb.Postgres: 2, sqldb.MySQL: 3, sqldb.SQLite: 2}[d]
	if got := rowsOf(t, r, err); strings.Count(got, "],[")+1 != want {
		t.Errorf("there is now %s", got)
	}
	if d == sqldb.Postgres {
		r, err = query(t, a, "SELECT current_setting('default_transaction_read_only'), current_setting('transaction_read_only'), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), last_value FROM counter, pg_catalog.pg_roles WHERE rolname = 'boss'")
		if got := rowsOf(t, r, err); got != `[["on","on",0,1]]` {
			t.Errorf("the session is now %s", got)
		}
	}
}

// TestProbe has the database say that a text is no query before it is asked.
func TestProbe(t *testing.T) {
	texts := map[sqldb.Driver]string{
		sqldb.Postgres: "WITH x AS (DELETE FROM orders RETURNING id) SELECT count(*) FROM x",
		sqldb.MySQL:    "WITH x AS (SELECT 1) SELECT 1 FROM x WHERE 1=0) AS q UNION SELECT * FROM (SELECT 1",
		sqldb.SQLite:   "WITH x AS (SELECT 1) DELETE FROM orders",
	}
	each(t, func(t *testing.T, d sqldb.Driver) {
		a := start(t, sqldb.Options{Driver: d, Query: true, AllowPrivileged: true}, "boss")
		_, err := query(t, a, texts[d])
		e, _ := errors.AsType[*upstream.Error](err)
		if kindOf(err) != "invalid_arguments" || e.Sent || !strings.Contains(e.Public, "does not take this statement") {
			t.Errorf("%v", err)
		}
	})
}

// TestReads has what looks like an escape and is none.
func TestReads(t *testing.T) {
	texts := map[sqldb.Driver][]string{
		sqldb.Postgres: {"SELECT ';' AS a", "SELECT 1;", "SELECT 1;;", "  (SELECT 1) UNION (SELECT 2) ; ", "WITH x AS (SELECT 1) SELECT * FROM x", "VALUES (1), (2)", "TABLE orders", "SHOW server_version", "EXPLAIN SELECT 1", "EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM orders",
			"SELECT 1 AS a, 2 AS a", "SELECT $$;'$$ AS a", "SELECT 'a\\' AS b", "SELECT E'\\n' AS b", "SELECT 1 /* ; /* ; */ ; */ AS a -- ;", "SELECT '2026-01-01'::date::text", "SELECT (ARRAY[1,2,3])[1:2]", "SELECT id AS \"into\" FROM orders", "SELECT 1 AS \"a;b\"", "SELECT 5 - -1", "SELECT 5--1\n", "SELECT 1 --\r + 1", "SELECT 'a'\n'b\\'", "SELECT U&'a'\n'b'", "SELECT E'a', 'b\\'", "SELECT 1.5e3, .5, 1., 1e-3", "SELECT count(*) FROM orders WHERE customer LIKE '%;%'"},
		sqldb.MySQL:  {"SELECT ';' AS a", "SELECT 1;", "(SELECT 1) UNION (SELECT 2)", "WITH x AS (SELECT 1) SELECT * FROM x", "SHOW TABLES", "DESCRIBE orders", "DESC sales.orders", "EXPLAIN SELECT * FROM orders", "EXPLAIN FORMAT=JSON SELECT 1", "SELECT 5 - -1 AS six", "SELECT 1 --\t\r, SLEEP(0)", "SELECT 1 --", "SELECT 1 #\r, SLEEP(0)", "SELECT 1.5e3, .5, 0x1F, 1e-3", "SELECT 1 # ;", "SELECT 1 -- ;", "SELECT 'it''s' AS a", "SELECT 'a\\n' AS a", "SELECT @@version", "SELECT `id` AS `a;b` FROM orders"},
		sqldb.SQLite: {"SELECT ';' AS a", "SELECT 1;", "WITH x AS (SELECT 1) SELECT * FROM x", "VALUES (1), (2)", "EXPLAIN QUERY PLAN SELECT * FROM orders", "SELECT 1 AS [a;b]", "SELECT 'a\\' AS b", "SELECT 1 -- ;", "SELECT 1 --\r, load_extension('x')", "SELECT 5--1\n", "SELECT 1.5e3, .5, 0x1F, 1e-3", "SELECT * FROM pragma_table_info('orders')", "SELECT date('now')", "SELECT sum(id) OVER (ORDER BY id) FROM orders"},
	}
	each(t, func(t *testing.T, d sqldb.Driver) {
		a := start(t, sqldb.Options{Driver: d, Query: true}, "reader")
		for _, text := range texts[d] {
			r, err := query(t, a, text)
			if err != nil || r.IsError {
				t.Errorf("%q: %v %v", text, r, err)
				continue
			}
			body(t, r, err)
		}
	})
}

// TestStatementsOnlyRead has the operator's own statements held to the same,
// unless they say that they write.
func TestStatementsOnlyRead(t *testing.T) {
	texts := map[sqldb.Driver][]string{
		sqldb.Postgres: {"WITH x AS (INSERT INTO orders VALUES (50, 'x', 1) RETURNING id) SELECT * FROM x", "SELECT * INTO t FROM orders", "SELECT sneaky()", "SELECT nextval('counter')", "SELECT set_config('transaction_read_only', 'off', true), sneaky()"},
		sqldb.MySQL:    {"SELECT id FROM orders INTO OUTFILE '/tmp/bulkhead-never'", "SELECT sneaky()", "SELECT SETVAL(counter, 100) FROM orders"},
		sqldb.SQLite:   {"WITH x AS (SELECT 1) INSERT INTO orders (customer) SELECT 'x' FROM x", "SELECT load_extension('x')"},
	}
	each(t, func(t *testing.T, d sqldb.Driver) {
		statements := map[string]sqldb.Statement{}
		for i, text := range texts[d] {
			statements[string(rune('a'+i))] = sqldb.Statement{SQL: text}
		}
		a := start(t, sqldb.Options{Driver: d, Query: true, AllowPrivileged: true, Statements: statements}, "boss")
		for name, s := range statements {
			if r, err := call(t, a, name, `{}`); err == nil && !r.IsError {
				t.Errorf("%s was answered %s", s.SQL, r.Raw)
			}
		}
		unharmed(t, a, d)
	})
	for _, text := range []string{"INSERT INTO orders VALUES (1)", "DELETE FROM orders", "SELECT 1; SELECT 2", "CALL p()", ""} {
		for _, d := range drivers {
			db, err := openRaw(sqldb.Options{Driver: d}, map[sqldb.Driver]string{sqldb.Postgres: "postgres://a@localhost/a", sqldb.MySQL: "mysql://a@localhost/a", sqldb.SQLite: "sqlite:/a"}[d])
			if err != nil {
				t.Fatal(err)
			}
			if a, err := sqldb.New(t.Context(), sqldb.Options{Driver: d, Statements: map[string]sqldb.Statement{"x": {SQL: text}}}, db); err == nil {
				t.Errorf("%s: %q is taken", d, text)
				_ = a.Close()
			}
			_ = db.Close()
		}
	}
}
