package sqldb_test

import (
	"database/sql"
	"log/slog"
	"slices"
	"strings"
	"sync"
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
	var b lockedText
	return slog.New(slog.NewTextHandler(&b, nil)), func() int {
		return strings.Count(b.String(), `level=WARN msg="source has changed" upstream=sales tool=`)
	}
}

// lockedText is a text that may be read while it is written.
type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
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

// TestRenamedColumn has a statement whose column is renamed be told, by calls and
// without, and be forgotten when the column is back.
func TestRenamedColumn(t *testing.T) {
	each(t, func(t *testing.T, d sqldb.Driver) {
		admin, reader := owner(t, d)
		admin("CREATE TABLE renamed (a int)", "INSERT INTO renamed VALUES (1)")
		if d == sqldb.Postgres {
			admin("GRANT SELECT ON renamed TO reader")
		}
		defer admin("DROP TABLE renamed")
		for _, called := range []bool{true, false} {
			a := start(t, sqldb.Options{Driver: d, Statements: map[string]sqldb.Statement{"get": {SQL: "SELECT a FROM renamed"}}}, reader)
			if r, err := call(t, a, "get", `{}`); rowsOf(t, r, err) != "[[1]]" {
				t.Error(err)
			}
			admin("ALTER TABLE renamed RENAME COLUMN a TO b")
			if called {
				if _, err := call(t, a, "get", `{}`); kindOf(err) != "upstream_error" || told(a) == "" {
					t.Errorf("%v, %s", err, told(a))
				}
			}
			watchUntil(t, a, func() bool { return told(a) != "" && a.Health().State == upstream.Up })
			if got := told(a); !strings.HasPrefix(got, "get  does not fit the database: ") {
				t.Errorf("called %t: %q", called, got)
			}
			admin("ALTER TABLE renamed RENAME COLUMN b TO a")
			watchUntil(t, a, func() bool { return told(a) == "" })
			if r, err := call(t, a, "get", `{}`); rowsOf(t, r, err) != "[[1]]" || told(a) != "" {
				t.Errorf("called %t: %v, %s", called, err, told(a))
			}
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

// TestUnfitWhateverTheArguments has a failure that depends on the arguments be told
// to who called, and to nobody else, whatever code it has.
func TestUnfitWhateverTheArguments(t *testing.T) {
	admin, _ := owner(t, sqldb.Postgres)
	admin("CREATE TABLE kept (a int)", "ALTER TABLE kept ENABLE ROW LEVEL SECURITY", "CREATE POLICY p ON kept TO writer USING (true) WITH CHECK (a < 10)", "GRANT SELECT, INSERT ON kept TO writer",
		"CREATE FUNCTION guard(i int, code text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF i > 10 THEN RAISE EXCEPTION 'customer % is locked', i USING ERRCODE = code; END IF; RETURN i; END $$",
		"GRANT EXECUTE ON FUNCTION guard(int, text) TO writer")
	defer admin("DROP TABLE kept", "DROP FUNCTION guard")
	log, warnings := logged()
	a := start(t, sqldb.Options{Driver: sqldb.Postgres, Log: log, Writes: true, Statements: map[string]sqldb.Statement{
		"keep":  {SQL: "INSERT INTO kept VALUES (:a)", Write: true, Params: map[string]sqldb.Param{"a": {Type: "integer"}}},
		"guard": {SQL: "SELECT guard(:a, :code)", Params: map[string]sqldb.Param{"a": {Type: "integer"}, "code": {}}},
	}}, "writer")
	for range 2 {
		if _, err := call(t, a, "keep", `{"a":4711}`); kindOf(err) != "denied" {
			t.Errorf("a policy: %v", err)
		}
		for code, want := range map[string]string{"insufficient_privilege": "denied", "undefined_table": "upstream_error", "undefined_column": "upstream_error"} {
			if _, err := call(t, a, "guard", `{"a":4711,"code":"`+code+`"}`); kindOf(err) != want || !strings.Contains(public(err), "4711") {
				t.Errorf("%s: %v", code, err)
			}
		}
	}
	if told(a) != "" || warnings() != 0 {
		t.Errorf("%s, %d warnings", told(a), warnings())
	}
}

// TestProblems has what is told of a statement that does not fit be names of the
// database's, or a code.
func TestProblems(t *testing.T) {
	texts := map[sqldb.Driver]map[string]string{
		sqldb.Postgres: {"SELECT gone FROM orders": `column "gone" does not exist`, "SELECT * FROM gone": `relation "gone" does not exist`, "SELECT id FROM orders WHERE id = 'canary'": "it cannot be prepared (SQLSTATE 22P02)", "SELECT canary canary canary": "it cannot be prepared (SQLSTATE 42601)"},
		sqldb.MySQL:    {"SELECT gone FROM orders": "Unknown column 'gone' in '", "SELECT * FROM gone": "Table 'sales.gone' doesn't exist", "SELECT * FROM mysql.user": "the role may not run it (error 1142)", "SELECT canary canary canary": "it cannot be prepared (error 1064)"},
		sqldb.SQLite:   {"SELECT gone FROM orders": "no such column: gone (1)", "SELECT * FROM gone": "no such table: gone (1)", "SELECT canary canary canary": "it cannot be prepared (error 1)"},
	}
	each(t, func(t *testing.T, d sqldb.Driver) {
		for text, want := range texts[d] {
			a := start(t, sqldb.Options{Driver: d, Statements: map[string]sqldb.Statement{"old": {SQL: text}}}, "reader")
			_, err := call(t, a, "old", `{}`)
			if got := told(a); !strings.HasPrefix(got, "old  does not fit the database: "+want) || strings.Contains(got, "canary") {
				t.Errorf("%s: %s (%v)", text, got, err)
			}
		}
	})
}

// TestFlapping has a statement that fits and does not in turns be logged once an
// hour, and be told whenever it does not.
func TestFlapping(t *testing.T) {
	admin, reader := owner(t, sqldb.SQLite)
	synctest.Test(t, func(t *testing.T) {
		log, warnings := logged()
		a := startAt(t, sqldb.Options{ID: "sales", Driver: sqldb.SQLite, Log: log, Concurrency: 1, Statements: map[string]sqldb.Statement{"late": {SQL: "SELECT * FROM late"}}}, reader)
		for i := range 8 {
			_, err := call(t, a, "late", `{}`)
			if kindOf(err) != "upstream_error" || len(a.Drift()) != 1 || warnings() != 1+i/4 {
				t.Fatalf("%d: %v, %s, %d warnings", i, err, told(a), warnings())
			}
			admin("CREATE TABLE late (a)")
			if _, err := call(t, a, "late", `{}`); err != nil || told(a) != "" {
				t.Fatalf("%d: %v, %s", i, err, told(a))
			}
			admin("DROP TABLE late")
			time.Sleep(15 * time.Minute)
		}
	})
}

// TestLocked has a table that is locked be no reason to think that the database is
// down, or that a statement does not fit it; and be looked at again.
func TestLocked(t *testing.T) {
	admin, _ := owner(t, sqldb.Postgres)
	admin("CREATE TABLE locked (a int)", "GRANT SELECT ON locked TO reader")
	defer admin("DROP TABLE IF EXISTS locked")
	db, err := openRaw(sqldb.Options{Driver: sqldb.Postgres, AllowPrivileged: true}, pgServer.dsn("boss"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // of a test
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // of a test
	for _, s := range []string{"SET TRANSACTION READ WRITE", "LOCK TABLE locked IN ACCESS EXCLUSIVE MODE"} {
		if _, err := tx.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		log, warnings := logged()
		// The server's limit of a statement is what ends waiting for the lock.
		a := startAt(t, sqldb.Options{ID: "sales", Driver: sqldb.Postgres, Log: log, Timeout: 600 * time.Millisecond, Statements: map[string]sqldb.Statement{
			"a_locked": {SQL: "SELECT * FROM locked"}, "fine": {SQL: "SELECT * FROM orders"}, "old": {SQL: "SELECT gone FROM orders"},
		}}, pgServer.dsn("reader"))
		go a.Watch(t.Context(), upstream.Events{}) //nolint:errcheck // it has none
		const old = `old  does not fit the database: column "gone" does not exist`
		for _, after := range []time.Duration{time.Second, 5 * time.Minute} {
			time.Sleep(after)
			if h := a.Health(); h.State != upstream.Up || told(a) != old || warnings() != 1 {
				t.Errorf("%+v, %s, %d warnings", h, told(a), warnings())
			}
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		admin("DROP TABLE locked")
		time.Sleep(3 * time.Minute)
		if got := told(a); got != old+`; a_locked  does not fit the database: relation "locked" does not exist` || a.Health().State != upstream.Up {
			t.Errorf("%s, %+v", got, a.Health())
		}
	})
}
