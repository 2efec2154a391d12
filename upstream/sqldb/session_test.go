package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

// TestRoles has roles refused that may do more than a reader should, and told.
func TestRoles(t *testing.T) {
	type role struct{ user, want string } // "" is taken
	for d, roles := range map[sqldb.Driver][]role{
		sqldb.Postgres: {
			{"reader", ""}, {"writer", ""}, {"allreader", ""}, {"owner", ""},
			{"boss", "it is a superuser or can become one;"}, {"heir", "is a superuser or can become one"},
			{"filer", "it is a member of pg_execute_server_program, is a member of pg_read_server_files, is a member of pg_write_server_files;"}, {"linker", "dblink_exec"}, {"halflinker", "it can reach other databases through dblink;"},
			{"allwriter", "it is a member of pg_write_all_data;"}, {"keeper", "it may create databases, may create roles, may replicate, may see rows that policies hide;"},
			{"underling", "it may create databases, may create roles, may replicate, may see rows that policies hide;"}, {"clouded", "it is a member of rds_superuser;"},
		},
		sqldb.MySQL: {
			{"reader", ""}, {"writer", ""}, {"roled", ""}, {"idle", ""},
			{"boss", "ALL PRIVILEGES"}, {"filer", "it has FILE on all databases;"}, {"heir", "it has FILE on all databases, INSERT on all databases;"},
			{"accounts", "it has ALL PRIVILEGES on the server's own;"}, {"pattern", "it has INSERT on the server's own;"}, {"columns", "it has UPDATE on the server's own;"},
			{"giver", "it has GRANT OPTION on all databases;"},
		},
	} {
		t.Run(string(d), func(t *testing.T) {
			for _, r := range roles {
				admits(t, d, r.user, r.want)
			}
		})
	}
}

// admits looks whether a role is refused for this reason; "" if it is not.
func admits(t *testing.T, d sqldb.Driver, user, want string) {
	t.Helper()
	a := start(t, sqldb.Options{Driver: d, Query: true}, user)
	_, err := query(t, a, "SELECT 1")
	if want == "" {
		if err != nil {
			t.Errorf("%s: %v", user, err)
		}
		return
	}
	if kindOf(err) != "denied" || !strings.Contains(public(err), want) || strings.Contains(public(err), superPassword) {
		t.Errorf("%s: %v, want %q", user, err, want)
		return
	}
	watch(t, a, upstream.Down, want)
	allowed := start(t, sqldb.Options{Driver: d, Query: true, AllowPrivileged: true}, user)
	if _, err := query(t, allowed, "SELECT 1"); err != nil {
		t.Errorf("%s, allowed: %v", user, err)
	}
}

// watch runs Watch until the adapter says that it is in this state.
func watch(t *testing.T, a *sqldb.Adapter, state upstream.State, says string) {
	t.Helper()
	watchUntil(t, a, func() bool { h := a.Health(); return h.State == state && strings.Contains(h.Err, says) })
	if h := a.Health(); h.State != state || !strings.Contains(h.Err, says) {
		t.Errorf("it is %+v, want %s, %q", h, state, says)
	}
}

func watchUntil(t *testing.T, a *sqldb.Adapter, fine func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Watch(ctx, upstream.Events{}) }()
	for until := time.Now().Add(generous); !fine() && time.Now().Before(until); {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestFailures has each failure be of its kind.
func TestFailures(t *testing.T) {
	down, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := down.Addr().String()
	_ = down.Close()
	for _, c := range []struct {
		driver    sqldb.Driver
		dsn, text string
		kind      string
		sent      bool
		says      string
	}{
		{sqldb.Postgres, "", "SELEC 1", "invalid_arguments", false, "no query"}, {sqldb.Postgres, "", "SELECT nope FROM orders", "invalid_arguments", false, `column "nope" does not exist`},
		{sqldb.Postgres, "", "SELECT * FROM nowhere", "invalid_arguments", false, "nowhere"}, {sqldb.Postgres, "", "SELECT * FROM pg_authid", "denied", true, "permission denied"},
		{sqldb.Postgres, "", "SELECT 'x'::text::int", "invalid_arguments", true, "integer"}, {sqldb.Postgres, "", "SELECT 1/(id-1) FROM orders", "failed", true, "division by zero"},
		{sqldb.MySQL, "", "SELECT nope FROM orders", "invalid_arguments", false, "nope"}, {sqldb.MySQL, "", "SELECT * FROM nowhere", "invalid_arguments", false, "nowhere"}, {sqldb.MySQL, "", "SELECT * FROM mysql.user", "denied", false, "denied"},
		{sqldb.MySQL, "", "SELECT (SELECT id FROM orders)", "failed", true, "more than 1 row"},
		{sqldb.SQLite, "", "SELECT nope FROM orders", "invalid_arguments", false, "nope"}, {sqldb.SQLite, "", "SELECT * FROM nowhere", "invalid_arguments", false, "nowhere"}, {sqldb.SQLite, "", "SELECT abs(-9223372036854775807 - id) FROM orders", "failed", true, "overflow"},
		{sqldb.Postgres, "postgres://reader:wrong@" + address(t, pgServer) + "/sales", "SELECT 1", "needs_login", false, "credential"}, {sqldb.MySQL, "mysql://reader:wrong@" + address(t, mariaServer) + "/sales", "SELECT 1", "needs_login", false, "credential"},
		{sqldb.Postgres, "postgres://reader:x@" + nobody + "/sales", "SELECT 1", "unavailable", false, "cannot be reached"}, {sqldb.MySQL, "mysql://reader:x@" + nobody + "/sales", "SELECT 1", "unavailable", false, "cannot be reached"},
		// Of an answer to the connecting, as a pooler's that does not take a setting, the statement cannot be blamed.
		{sqldb.Postgres, "postgres://reader:" + superPassword + "@" + address(t, pgServer) + "/sales?search_path=%22", "SELECT 1", "unavailable", false, "search_path"},
		{sqldb.SQLite, "sqlite:" + filepath.Join(t.TempDir(), "none.db"), "SELECT 1", "unavailable", false, "no database file"}, {sqldb.SQLite, "sqlite:" + t.TempDir(), "SELECT 1", "unavailable", false, "cannot be opened"},
		{sqldb.SQLite, "sqlite:" + garbage(t), "SELECT * FROM a", "unavailable", false, "cannot be read"},
	} {
		var a *sqldb.Adapter
		if opt := (sqldb.Options{Driver: c.driver, Query: true}); c.dsn == "" {
			a = start(t, opt, "reader")
		} else {
			opt.ID = "sales"
			a = startAt(t, opt, c.dsn)
		}
		r, err := query(t, a, c.text)
		if c.kind == "failed" {
			if err != nil || !r.IsError || !strings.Contains(string(r.Raw), c.says) {
				t.Errorf("%s %s: %v, %v", c.driver, c.text, r, err)
			}
			continue
		}
		e, _ := errors.AsType[*upstream.Error](err)
		if kindOf(err) != c.kind || e.Sent != c.sent || !strings.Contains(e.Public, c.says) || strings.Contains(e.Public, "127.0.0.1") {
			t.Errorf("%s %s: %v (public %q, sent %t)", c.driver, c.text, err, public(err), e != nil && e.Sent)
		}
	}
}

func address(t *testing.T, s *server) string { return fmt.Sprintf("127.0.0.1:%d", s.need(t).port) }

func garbage(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "garbage.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("this is no database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestNames has no prepared statement be called like one before it, which a pooler
// might have kept for another call.
func TestNames(t *testing.T) {
	const names = "SELECT name FROM pg_prepared_statements"
	opt := sqldb.Options{Driver: sqldb.Postgres, Query: true, Concurrency: 1, Statements: map[string]sqldb.Statement{"names": {SQL: names}}}
	seen := map[string]bool{}
	for range 2 {
		a := start(t, opt, "reader")
		for i := range 2 {
			r, err := query(t, a, names)
			got := rowsOf(t, r, err)
			if seen[got] || strings.Count(got, "bulkhead_") != 1 {
				t.Errorf("query %d: %s", i, got)
			}
			seen[got] = true
		}
		r, err := call(t, a, "names", `{}`)
		if got := rowsOf(t, r, err); strings.Count(got, "bulkhead_") != 2 {
			t.Errorf("one of each: %s", got)
		}
	}
}

// TestNoDatabase has a file that is none be noticed before anybody asks.
func TestNoDatabase(t *testing.T) {
	a := startAt(t, sqldb.Options{ID: "sales", Driver: sqldb.SQLite}, "sqlite:"+garbage(t))
	watch(t, a, upstream.Down, "cannot be read as a database")
	if h := a.Health(); strings.Contains(h.Detail, "sales") || !strings.Contains(h.Detail, "not a database") {
		t.Errorf("the cause and no more is told: %q", h.Detail)
	}
}

// TestCheck has all that is wrong with statements be told at once, without a
// database.
func TestCheck(t *testing.T) {
	opt := sqldb.Options{Driver: sqldb.Postgres, Statements: map[string]sqldb.Statement{
		"a": {SQL: "SELECT :x, :y", Params: map[string]sqldb.Param{"z": {Type: "integer"}}},
		"b": {SQL: "DELETE FROM orders"},
	}}
	err := opt.Check()
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{"statement a: it uses :x", "statement a: it uses :y", "statement a: the parameter z is not used", "statement b: it is no query"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not told in\n%v", want, err)
		}
	}
	opt.Statements = map[string]sqldb.Statement{"a": {SQL: "SELECT 1"}}
	if err := opt.Check(); err != nil {
		t.Error(err)
	}
}

// TestOperatorsFault has a statement that does not fit be the operator's business,
// before it is called.
func TestOperatorsFault(t *testing.T) {
	each(t, func(t *testing.T, d sqldb.Driver) {
		a := start(t, sqldb.Options{Driver: d, Statements: map[string]sqldb.Statement{"old": {SQL: "SELECT gone FROM orders"}, "fine": {SQL: "SELECT id FROM orders"}}}, "reader")
		watch(t, a, upstream.Up, "") // by then it is known, for whoever looks once
		if notes := a.Drift(); len(notes) != 1 || notes[0].Tool != "old" || !strings.Contains(notes[0].Problem, "does not fit") {
			t.Errorf("%+v", notes)
		}
		if _, err := call(t, a, "old", `{}`); kindOf(err) != "upstream_error" || !strings.Contains(public(err), "gone") {
			t.Errorf("%v", err)
		}
	})
}

// endless runs until it is ended: in its first row, and after it.
var endless = map[sqldb.Driver][]string{
	sqldb.Postgres: {"WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT count(*) FROM t", "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT i FROM t WHERE i < 2"},
	sqldb.MySQL:    {"SELECT count(*) FROM seq_1_to_1000000000 a, seq_1_to_1000000000 b", "SELECT a.seq FROM seq_1_to_1000000000 a, seq_1_to_1000000000 b WHERE a.seq * b.seq = 1"},
	sqldb.SQLite:   {"WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT count(*) FROM t", "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT i FROM t WHERE i < 2"},
}

// TestEndless has the end of a call end the statement, at the server too, and the
// only connection be there for the next.
func TestEndless(t *testing.T) {
	each(t, func(t *testing.T, d sqldb.Driver) {
		a := start(t, sqldb.Options{Driver: d, Query: true, Concurrency: 1, Timeout: time.Hour}, "reader")
		if _, err := query(t, a, "SELECT 1"); err != nil {
			t.Fatal(err)
		}
		for _, text := range endless[d] {
			ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
			began := time.Now()
			_, err := a.Call(ctx, callOf("query", fmt.Sprintf(`{"sql":%q}`, text)))
			took := time.Since(began)
			cancel()
			if e, _ := errors.AsType[*upstream.Error](err); kindOf(err) != "timeout" || !e.Sent || took > generous/2 {
				t.Errorf("%s: %v after %v", text, err, took)
			}
			if _, err := query(t, a, "SELECT 1"); err != nil {
				t.Errorf("the next: %v", err)
			}
		}
		idle(t, d)
		if d != sqldb.SQLite { // and the server ends what nobody ends
			short := start(t, sqldb.Options{Driver: d, Query: true, Timeout: 2 * time.Second}, "reader")
			if _, err := query(t, short, endless[d][0]); kindOf(err) != "timeout" {
				t.Errorf("the server's own limit: %v", err)
			}
		}
	})
}

// idle waits until the server runs nothing of the reader's.
func idle(t *testing.T, d sqldb.Driver) {
	t.Helper()
	running := map[sqldb.Driver]string{
		sqldb.Postgres: "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader' AND state = 'active'",
		sqldb.MySQL:    "SELECT count(*) FROM information_schema.processlist WHERE user = 'reader' AND command <> 'Sleep'",
	}[d]
	if running == "" {
		return
	}
	boss := start(t, sqldb.Options{Driver: d, Query: true, AllowPrivileged: true}, "boss")
	got := ""
	for until := time.Now().Add(generous); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		r, err := query(t, boss, running)
		if got = rowsOf(t, r, err); got == "[[0]]" {
			return
		}
	}
	t.Errorf("the server still runs %s", got)
}

// TestEnvironment has nothing but the address count: no PG* variable, no file in
// the home directory.
func TestEnvironment(t *testing.T) {
	s := pgServer.need(t)
	home := t.TempDir()
	other := "127.0.0.1:1:*:*:" + superPassword + "\n*:*:*:*:" + superPassword
	for name, content := range map[string]string{".pgpass": other, ".pg_service.conf": "[evil]\nhost=127.0.0.1\nport=1\nuser=boss\npassword=" + superPassword, ".my.cnf": "[client]\npassword=" + superPassword, ".postgresql/root.crt": "no certificate"} {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", home)
	for _, service := range []string{"", "evil", "missing"} {
		for name, v := range map[string]string{"PGHOST": "127.0.0.9", "PGPORT": "1", "PGUSER": "boss", "PGPASSWORD": superPassword, "PGDATABASE": "postgres", "PGSERVICE": service, "PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/nowhere", "PGSSLCERT": "/nowhere", "PGSSLCERTMODE": "require",
			"PGPASSFILE": filepath.Join(home, ".pgpass"), "PGOPTIONS": "-c default_transaction_read_only=off -c statement_timeout=1", "PGTZ": "Asia/Tokyo", "PGAPPNAME": "evil", "PGREQUIREAUTH": "none", "PGTARGETSESSIONATTRS": "standby", "PGCHANNELBINDING": "require", "PGCONNECT_TIMEOUT": "x", "PGMINPROTOCOLVERSION": "9",
			"MYSQL_HOST": "127.0.0.9", "MYSQL_PWD": superPassword} {
			if v == "" {
				continue
			}
			t.Setenv(name, v)
		}
		a := start(t, sqldb.Options{Driver: sqldb.Postgres, Query: true}, "reader")
		r, err := query(t, a, "SELECT current_user, current_database(), current_setting('default_transaction_read_only'), current_setting('timezone'), current_setting('application_name'), current_setting('statement_timeout')")
		if got := rowsOf(t, r, err); got != `[["reader","sales","on","UTC","bulkhead","5min"]]` {
			t.Errorf("service %q: %s", service, got)
		}
	}
	for driver, dsn := range map[sqldb.Driver]string{sqldb.Postgres: fmt.Sprintf("postgres://reader@127.0.0.1:%d/sales", s.port), sqldb.MySQL: fmt.Sprintf("mysql://reader@127.0.0.1:%d/sales", mariaServer.need(t).port)} {
		a := startAt(t, sqldb.Options{ID: "sales", Driver: driver, Query: true}, dsn)
		if _, err := query(t, a, "SELECT 1"); kindOf(err) != "needs_login" && kindOf(err) != "unavailable" {
			t.Errorf("%s without a password: %v", driver, err)
		}
	}
}

// TestAddresses has addresses be refused that name nothing, too much, or let
// encryption be switched off on the way.
func TestAddresses(t *testing.T) {
	for dsn, want := range map[string]bool{
		"postgres://a:b@localhost/db": true, "postgresql://a@db.example:6432/db?sslmode=require": true, "postgres://a@db.example/db": true, "postgres://a@[::1]/db?search_path=x&application_name=y": true,
		"postgres://db.example/db": false, "postgres://a@/db": false, "postgres://a@db.example": false, "postgres://a@h1,h2/db": false, "postgres://a@db.example/db?sslmode=prefer": false, "postgres://a@db.example/db?options=-c": false, "postgres://a@db.example/db?host=evil": false, "postgres://a@db.example/db?service=x": false, "postgres://a@db.example/db?sslrootcert=/nowhere": false, "postgres://a@db.example/db?sslmode=require&sslmode=disable": false, "mysql://a:" + superPassword + "@db.example:port/db": false, "http://a@db.example/db": false,
		"mysql://a@db.example/db": true, "mysql://a@db.example/db?tls=false": true, "mysql://a@db.example/db?tls=preferred": false, "mysql://a@db.example/db?multiStatements=true": false, "mysql://a@db.example/db?allowAllFiles=true": false,
		"sqlite:/a/b": true, "sqlite:": false, "/a/b": false,
	} {
		driver := sqldb.Driver(strings.TrimSuffix(strings.Split(dsn, ":")[0], "ql"))
		for _, d := range drivers {
			if strings.HasPrefix(dsn, string(d)) {
				driver = d
			}
		}
		_, err := sqldb.Options{Driver: driver}.Connector(dsn)
		if (err == nil) != want {
			t.Errorf("%s: %v", dsn, err)
		}
		if err != nil && (strings.Contains(err.Error(), superPassword) || strings.Contains(err.Error(), "db.example")) {
			t.Errorf("the error repeats the address: %v", err)
		}
	}
	var none sql.NullString
	if _, err := (sqldb.Options{Driver: "oracle"}).Connector(none.String); err == nil {
		t.Error("a driver that there is not")
	}
}
