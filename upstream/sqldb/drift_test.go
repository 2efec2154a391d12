package sqldb_test

import (
	"database/sql"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

// told returns what the adapter noticed, in one line.
func told(a *sqldb.Adapter) string {
	var all []string
	for _, d := range a.Drift() {
		all = append(all, d.Tool+" "+d.Field+" "+d.Problem)
	}
	return strings.Join(all, "; ")
}

// logged is what an adapter has logged of changes.
func logged() (*slog.Logger, func() int) {
	var b strings.Builder
	return slog.New(slog.NewTextHandler(&b, nil)), func() int {
		return strings.Count(b.String(), `level=WARN msg="source has changed" upstream=sales tool=`)
	}
}

// owner returns who changes the tables of a database, and the address of a reader.
func owner(t *testing.T, d sqldb.Driver) (admin func(...string), reader string) {
	t.Helper()
	if d == sqldb.SQLite {
		path := fillSQLite(t)
		return func(text ...string) {
			t.Helper()
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close() //nolint:errcheck // of a test
			for _, s := range text {
				if _, err := db.Exec(s); err != nil { //nolint:noctx // of a test
					t.Fatal(err)
				}
			}
		}, "sqlite:" + path
	}
	s, first := mariaServer, "SELECT 1"
	if d == sqldb.Postgres {
		s, first = pgServer, superTest
	}
	s.need(t)
	return func(text ...string) {
		t.Helper()
		if err := execAll(sqldb.Options{Driver: d}, s.dsn("boss"), slices.Concat([]string{first}, text)...); err != nil {
			t.Fatal(err)
		}
	}, "reader"
}

// TestDrift has changed columns be told and logged while calls go on, until the
// statement answers as it did at first.
func TestDrift(t *testing.T) {
	text := map[sqldb.Driver]string{sqldb.Postgres: "text", sqldb.MySQL: "varchar(9)", sqldb.SQLite: "TEXT"}
	want := map[sqldb.Driver]string{sqldb.Postgres: "all a is text, not int4; all b is gone; all c is new", sqldb.MySQL: "all a is varchar, not int; all b is gone; all c is new", sqldb.SQLite: "all a is text, not int; all b is gone; all c is new"}
	each(t, func(t *testing.T, d sqldb.Driver) {
		admin, reader := owner(t, d)
		table := func(columns string) {
			t.Helper()
			admin("DROP TABLE IF EXISTS changing", "CREATE TABLE changing ("+columns+")")
			if d == sqldb.Postgres {
				admin("GRANT SELECT ON changing TO reader")
			}
		}
		defer admin("DROP TABLE IF EXISTS changing")
		log, warnings := logged()
		a := start(t, sqldb.Options{Driver: d, Log: log, Concurrency: 1, Statements: map[string]sqldb.Statement{"all": {SQL: "SELECT * FROM changing"}, "other": {SQL: "SELECT id FROM orders"}}}, reader)
		for i, c := range []struct{ columns, told string }{
			{"a int, b int", ""}, {"a " + text[d] + ", c " + text[d], want[d]}, {"a int, b int", ""}, {"a int, b int, d int", "all d is new"}, {"b int, a int", ""},
		} {
			table(c.columns)
			for range 2 {
				for _, tool := range []string{"all", "other"} {
					if _, err := call(t, a, tool, `{}`); err != nil {
						t.Errorf("%d: %v", i, err)
					}
				}
			}
			if got := told(a); got != c.told {
				t.Errorf("%d: %s, want %s", i, got, c.told)
			}
		}
		if got := warnings(); got != 4 {
			t.Errorf("%d warnings", got)
		}
		admin("DROP TABLE changing")
		if _, err := call(t, a, "all", `{}`); kindOf(err) != "upstream_error" || !strings.HasPrefix(told(a), "all  does not fit the database: ") || warnings() != 5 {
			t.Errorf("%v, %s, %d warnings", err, told(a), warnings())
		}
		table("a int, b int")
		if _, err := call(t, a, "all", `{}`); err != nil || told(a) != "" {
			t.Errorf("%v, %s", err, told(a))
		}
	})
}

// TestFitsAgain has a statement that did not fit be looked at again, without calls;
// and columns that changed be forgotten of which nothing is seen any more.
func TestFitsAgain(t *testing.T) {
	for _, d := range []sqldb.Driver{sqldb.Postgres, sqldb.SQLite} {
		t.Run(string(d), func(t *testing.T) { fitsAgain(t, d) })
	}
}

func fitsAgain(t *testing.T, d sqldb.Driver) {
	admin, reader := owner(t, d)
	if d == sqldb.Postgres {
		reader = pgServer.dsn("reader")
		admin("CREATE TABLE late (a int)", "CREATE TABLE fine (a int)", "GRANT SELECT ON late, fine TO reader")
		defer admin("DROP TABLE IF EXISTS late, fine")
	} else {
		admin("CREATE TABLE late (a int)", "CREATE TABLE fine (a int)")
	}
	synctest.Test(t, func(t *testing.T) {
		log, warnings := logged()
		opt := sqldb.Options{ID: "sales", Driver: d, Log: log, Concurrency: 1, Statements: map[string]sqldb.Statement{"late": {SQL: "SELECT * FROM late"}, "fine": {SQL: "SELECT * FROM fine"}}}
		a := startAt(t, opt, reader)
		for range 2 { // what is prepared is kept
			if _, err := call(t, a, "late", `{}`); err != nil {
				t.Error(err)
			}
		}
		admin("DROP TABLE late")
		if _, err := call(t, a, "late", `{}`); kindOf(err) != "upstream_error" {
			t.Error(err)
		}
		go a.Watch(t.Context(), upstream.Events{}) //nolint:errcheck // it has none
		time.Sleep(30 * time.Minute)
		if got := told(a); !strings.HasPrefix(got, "late  does not fit the database: ") || a.Health().State != upstream.Up || warnings() != 1 {
			t.Fatalf("%s, %+v, %d warnings", got, a.Health(), warnings())
		}
		since := a.Drift()[0].Since
		if ago := time.Since(since); ago < 29*time.Minute {
			t.Errorf("it began %v ago", ago)
		}
		if _, err := call(t, a, "late", `{}`); kindOf(err) != "upstream_error" || warnings() != 1 {
			t.Errorf("%v, %d warnings", err, warnings())
		}
		if _, err := call(t, a, "fine", `{}`); err != nil {
			t.Error(err)
		}
		admin("CREATE TABLE late (a int)", "ALTER TABLE fine ADD COLUMN extra int")
		if d == sqldb.Postgres {
			admin("GRANT SELECT ON late TO reader")
		}
		if _, err := call(t, a, "fine", `{}`); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Minute)
		if got := told(a); got != "fine extra is new" {
			t.Error(got)
		}
		time.Sleep(time.Hour)
		if got := told(a); got != "" {
			t.Error(got)
		}
	})
}
