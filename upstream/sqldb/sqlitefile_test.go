package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

// fileOf makes a database file in which "SELECT v FROM t" answers v.
func fileOf(t *testing.T, path, v string, before ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(before, "CREATE TABLE t (v TEXT)", "INSERT INTO t VALUES ('"+v+"')") {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReplacedFile has the file be asked to which the path leads when it is asked.
func TestReplacedFile(t *testing.T) {
	dir := t.TempDir()
	path, linked := filepath.Join(dir, "asked.db"), filepath.Join(dir, "linked.db")
	fileOf(t, path, "first")
	fileOf(t, filepath.Join(dir, "other.db"), "other")
	link := func(to string) {
		t.Helper()
		_ = os.Remove(linked)
		if err := os.Symlink(to, linked); err != nil {
			t.Fatal(err)
		}
	}
	link("asked.db")
	opt := sqldb.Options{ID: "sales", Driver: sqldb.SQLite, Query: true}
	a, through := startAt(t, opt, "sqlite:"+path), startAt(t, opt, "sqlite:"+linked)
	says := func(a *sqldb.Adapter, want string) {
		t.Helper()
		r, err := query(t, a, "SELECT v FROM t")
		if got := rowsOf(t, r, err); got != `[["`+want+`"]]` {
			t.Errorf("%s, want %s", got, want)
		}
	}
	many(t, a, 8)
	says(through, "first")
	fileOf(t, path+".new", "second")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		says(a, "second")
		says(through, "second")
	}
	link("other.db")
	says(through, "other")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err := query(t, a, "SELECT v FROM t")
	e, _ := errors.AsType[*upstream.Error](err)
	if kindOf(err) != "unavailable" || e.Sent || e.Public != "there is no database file where the configuration says" || !strings.Contains(e.Err.Error(), path) {
		t.Errorf("gone: %v (public %q)", err, public(err))
	}
	if h := a.Health(); !strings.Contains(h.Detail, path) || strings.Contains(h.Err, dir) {
		t.Errorf("the operator is told %q, the model %q", h.Detail, h.Err)
	}
	fileOf(t, path, "third")
	says(a, "third")
}

// many has so many connections be open and idle.
func many(t *testing.T, a *sqldb.Adapter, n int) {
	t.Helper()
	done := make(chan error)
	for range n {
		go func() {
			_, err := query(t, a, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT count(*) FROM n, t")
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestLockedFile has a call wait once for another program's lock, say so, and have
// done nothing; and one that is given up meanwhile have done nothing either.
func TestLockedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "asked.db")
	fileOf(t, path, "first")
	opt := sqldb.Options{ID: "sales", Driver: sqldb.SQLite, Query: true, Writes: true, Timeout: 800 * time.Millisecond,
		Statements: map[string]sqldb.Statement{"add": {SQL: "INSERT INTO t VALUES ('more')", Write: true}}}
	a := startAt(t, opt, "sqlite:"+path)
	if r, err := query(t, a, "SELECT v FROM t"); rowsOf(t, r, err) != `[["first"]]` {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close() //nolint:errcheck // of a test
	other.SetMaxOpenConns(1)
	for _, lock := range []struct {
		begin string
		tools []string
	}{
		{"BEGIN EXCLUSIVE", []string{"query", "add"}},
		{"BEGIN IMMEDIATE", []string{"add"}},
		{"BEGIN; SELECT * FROM t", []string{"add"}}, // which lets it write, and not commit
	} {
		if _, err := other.ExecContext(t.Context(), lock.begin); err != nil {
			t.Fatal(err)
		}
		for _, tool := range lock.tools {
			args := map[string]string{"query": `{"sql":"SELECT v FROM t"}`, "add": `{}`}[tool]
			began := time.Now()
			_, err := call(t, a, tool, args)
			e, _ := errors.AsType[*upstream.Error](err)
			if kindOf(err) != "unavailable" || e.Sent || !strings.Contains(e.Public, "locked by another program") || !errors.Is(err, upstream.ErrFinal) || !errors.Is(err, upstream.ErrNoOutage) {
				t.Errorf("%s, %s: %v (public %q)", lock.begin, tool, err, public(err))
			}
			if took := time.Since(began); took < 500*time.Millisecond || took > 5*time.Second {
				t.Errorf("%s, %s took %v", lock.begin, tool, took)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			_, err = a.Call(ctx, callOf(tool, args))
			cancel()
			if e, _ := errors.AsType[*upstream.Error](err); kindOf(err) != "timeout" || tool == "add" && e.Sent {
				t.Errorf("%s, %s, given up: %v (sent %t)", lock.begin, tool, err, e != nil && e.Sent)
			}
		}
		if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := query(t, a, "SELECT v FROM t"); rowsOf(t, r, err) != `[["first"]]` {
		t.Error("something was written")
	}
}

// TestReadOnlyFile has a file be read that nobody may write, in a directory where
// nobody may, and a write to it say so.
func TestReadOnlyFile(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write to all files")
	}
	for _, perm := range []os.FileMode{0o755, 0o555} {
		dir := t.TempDir()
		path := filepath.Join(dir, "asked.db")
		fileOf(t, path, "first")
		if err := errors.Join(os.Chmod(path, 0o444), os.Chmod(dir, perm)); err != nil {
			t.Fatal(err)
		}
		a := startAt(t, sqldb.Options{ID: "sales", Driver: sqldb.SQLite, Query: true, Writes: true,
			Statements: map[string]sqldb.Statement{"add": {SQL: "INSERT INTO t VALUES ('more')", Write: true}}}, "sqlite:"+path)
		if r, err := query(t, a, "SELECT v FROM t"); rowsOf(t, r, err) != `[["first"]]` {
			t.Error(err)
		}
		_, err := call(t, a, "add", `{}`)
		if e, _ := errors.AsType[*upstream.Error](err); kindOf(err) != "denied" || e.Sent || !strings.Contains(e.Public, "readonly database") {
			t.Errorf("%v (public %q, sent %t)", err, public(err), e != nil && e.Sent)
		}
		if err := os.Chmod(dir, 0o755); err != nil { // for who removes it
			t.Error(err)
		}
	}
	dir := t.TempDir()
	path, plain := filepath.Join(dir, "asked.db"), filepath.Join(dir, "plain.db")
	fileOf(t, path, "first", "PRAGMA journal_mode = WAL")
	fileOf(t, plain, "first")
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o755) //nolint:errcheck // for who removes it
	a := startAt(t, sqldb.Options{ID: "sales", Driver: sqldb.SQLite, Query: true}, "sqlite:"+path)
	if _, err := query(t, a, "SELECT v FROM t"); kindOf(err) != "denied" || !strings.Contains(public(err), "WAL mode") {
		t.Errorf("in WAL mode: %v (public %q)", err, public(err))
	}
	b := startAt(t, sqldb.Options{ID: "sales", Driver: sqldb.SQLite, Writes: true,
		Statements: map[string]sqldb.Statement{"add": {SQL: "INSERT INTO t VALUES ('more')", Write: true}}}, "sqlite:"+plain)
	_, err := call(t, b, "add", `{}`)
	if e, _ := errors.AsType[*upstream.Error](err); kindOf(err) != "denied" || e.Sent || !strings.Contains(e.Public, "directory") {
		t.Errorf("a file that may be written, in such a directory: %v (public %q)", err, public(err))
	}
}

// TestSchemaOfOddTables has the schema be told where a view does not work any more or
// the module of a table is missing, with generated columns, and full text be searched.
func TestSchemaOfOddTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd.db")
	fileOf(t, path, "v", "CREATE TABLE g (a INTEGER, b INTEGER GENERATED ALWAYS AS (a * 2))", "CREATE VIEW fine AS SELECT a AS x FROM g", "CREATE VIRTUAL TABLE f USING fts5 (body)", "INSERT INTO f VALUES ('hello world')")
	a := startAt(t, sqldb.Options{ID: "sales", Driver: sqldb.SQLite, Query: true}, "sqlite:"+path)
	tell := func(detail, want string) {
		t.Helper()
		r, err := call(t, a, "schema", `{"detail":"`+detail+`"}`)
		if got := rowsOf(t, r, err); !strings.Contains(got, want) {
			t.Errorf("%s: %s is missing in %s", detail, want, got)
		}
	}
	tell("full", `["fine","x","INTEGER",1,null,null]`)
	tell("full", `["g","b","INTEGER",1,null,null]`)
	r, err := query(t, a, "SELECT highlight(f, 0, '<', '>') AS h FROM f WHERE f MATCH 'hello'")
	if got := rowsOf(t, r, err); got != `[["<hello> world"]]` {
		t.Error(got)
	}
	broken := filepath.Join(t.TempDir(), "broken.db")
	fileOf(t, broken, "v", "CREATE TABLE g (a INTEGER, b INTEGER GENERATED ALWAYS AS (a * 2))", "CREATE VIEW broken AS SELECT nope FROM g")
	a = startAt(t, sqldb.Options{ID: "sales", Driver: sqldb.SQLite, Query: true}, "sqlite:"+broken)
	if r, err := query(t, a, "SELECT m.name, c.name AS c FROM sqlite_schema m, pragma_table_xinfo(m.name) c ORDER BY 1"); err == nil && !r.IsError {
		t.Errorf("a query is answered that was not asked: %s", r.Raw)
	}
	tell("summary", `["broken","view",null]`)
	tell("summary", `["g","table",2]`)
	tell("full", `["broken",null,null,null,null,null]`)
	tell("full", `["g","b","INTEGER",1,null,null]`)
}
