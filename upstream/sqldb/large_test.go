package sqldb_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

// cells returns a query for one row of so many values of so many bytes.
func cells(d sqldb.Driver, columns, size int) string {
	value := map[sqldb.Driver]string{sqldb.Postgres: "repeat('x', %d)", sqldb.MySQL: "REPEAT('x', %d)", sqldb.SQLite: "zeroblob(%d)"}[d]
	var b strings.Builder
	for i := range columns {
		fmt.Fprintf(&b, ", "+value+" AS a%d", size, i)
	}
	return "SELECT " + b.String()[2:]
}

// TestLarge has rows that are too large be refused, as what they are, and others be
// answered however much they are together.
func TestLarge(t *testing.T) {
	each(t, func(t *testing.T, d sqldb.Driver) {
		huge := cells(d, 12, 5_000_000)
		a := start(t, sqldb.Options{Driver: d, Query: true, Concurrency: 1, Statements: map[string]sqldb.Statement{"huge": {SQL: huge}}}, "reader")
		for _, text := range []string{huge, cells(d, 1, 5_000_000), huge + " UNION ALL " + huge} {
			_, err := query(t, a, text)
			if e, _ := errors.AsType[*upstream.Error](err); kindOf(err) != "invalid_arguments" || !e.Sent || !strings.Contains(e.Public, "too large") {
				t.Errorf("%.40s: %v (public %q)", text, err, public(err))
			}
			if r, err := query(t, a, "SELECT 1 AS a"); rowsOf(t, r, err) != "[[1]]" {
				t.Errorf("the next: %v", err)
			}
		}
		_, err := call(t, a, "huge", `{}`)
		if e, _ := errors.AsType[*upstream.Error](err); kindOf(err) != "upstream_error" || !e.Sent || !strings.Contains(e.Public, "too large") {
			t.Errorf("the operator's: %v (public %q)", err, public(err))
		}
		one := cells(d, 1, 1_000_000)
		r, err := query(t, a, one+strings.Repeat(" UNION ALL "+one, 11))
		if got := body(t, r, err); !strings.Contains(got, `"row_count":12,"cells_cut":12`) {
			t.Errorf("...%s", got[max(0, len(got)-200):])
		}
		roomy := start(t, sqldb.Options{Driver: d, Query: true, MaxBytes: 16 << 20}, "reader")
		r, err = query(t, roomy, cells(d, 1, 7_000_000))
		if got := body(t, r, err); !strings.Contains(got, `"row_count":1,"cells_cut":1`) {
			t.Errorf("with a larger cap: ...%s", got[max(0, len(got)-200):])
		}
	})
}

// TestLargeAnswerOfWrite has a write whose answer is too large be undone; or be one
// that may have happened, where COMMIT was sent with it, or the server has tables that
// keep what was written.
func TestLargeAnswerOfWrite(t *testing.T) {
	each(t, func(t *testing.T, d sqldb.Driver) {
		returning := strings.TrimPrefix(cells(d, 1, 6_000_000), "SELECT ")
		a := start(t, sqldb.Options{Driver: d, Query: true, Writes: true, Concurrency: 1, Statements: map[string]sqldb.Statement{
			"touch": {SQL: "INSERT INTO orders (id, customer) VALUES (150, 'x') RETURNING " + returning, Write: true},
			"undo":  {SQL: "UPDATE orders SET customer = 'y' WHERE id = 150", Write: true},
		}}, "writer")
		_, err := call(t, a, "touch", `{}`)
		if e, _ := errors.AsType[*upstream.Error](err); kindOf(err) != "upstream_error" || e.Sent != (d == sqldb.Postgres) {
			t.Errorf("%v (public %q)", err, public(err))
		}
		if d == sqldb.MySQL {
			admin, _ := owner(t, d)
			admin("CREATE TABLE kept (a int) ENGINE=MyISAM", "GRANT SELECT, INSERT ON sales.kept TO 'writer'@'127.0.0.1'")
			keeps := start(t, sqldb.Options{Driver: d, Writes: true, Statements: map[string]sqldb.Statement{"keep": {SQL: "INSERT INTO kept VALUES (1) RETURNING " + returning, Write: true}}}, "writer")
			_, err := call(t, keeps, "keep", `{}`)
			if e, _ := errors.AsType[*upstream.Error](err); kindOf(err) != "upstream_error" || !e.Sent {
				t.Errorf("MyISAM: %v (public %q)", err, public(err))
			}
			admin("DROP TABLE kept")
		}
		if _, err := call(t, a, "undo", `{}`); err != nil {
			t.Errorf("the next: %v", err)
		}
		if d == sqldb.Postgres { // which had committed by then
			if err := execAll(sqldb.Options{Driver: d}, pgServer.dsn("boss"), superTest, "DELETE FROM orders WHERE id > 100"); err != nil {
				t.Error(err)
			}
		}
		r, err := query(t, a, "SELECT count(*) AS n FROM orders")
		if got := rowsOf(t, r, err); got != "[[10]]" {
			t.Errorf("%s", got)
		}
	})
}

// TestWideTable has a table with as many columns as SQLite allows be read, and the
// file that has it.
func TestWideTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wide.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	names, values := make([]string, 2000), make([]string, 2000)
	for i := range names {
		names[i], values[i] = fmt.Sprintf("c%d", i), fmt.Sprintf("'%01000d'", i)
	}
	for _, s := range []string{"CREATE TABLE wide (" + strings.Join(names, ", ") + ")", "INSERT INTO wide SELECT " + strings.Join(values, ", "), "INSERT INTO wide SELECT * FROM wide"} {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	a := startAt(t, sqldb.Options{ID: "sales", Driver: sqldb.SQLite, Query: true, MaxBytes: 8 << 20}, "sqlite:"+path)
	r, err := query(t, a, "SELECT * FROM wide ORDER BY c1999, c0")
	if got := body(t, r, err); !strings.Contains(got, `"row_count":2}`) {
		t.Errorf("...%s", got[max(0, len(got)-200):])
	}
}
