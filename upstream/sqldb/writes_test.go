package sqldb_test

import (
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

// TestWrites has statements that write be hidden, or committed, and failing ones
// be undone.
func TestWrites(t *testing.T) {
	insert := "INSERT INTO orders (id, customer, total) VALUES (:id, :customer, 1)"
	each(t, func(t *testing.T, d sqldb.Driver) {
		opt := sqldb.Options{Driver: d, Query: true, Statements: map[string]sqldb.Statement{
			"add": {SQL: insert, Write: true, Params: map[string]sqldb.Param{"id": {Type: "integer", Required: true}, "customer": {Required: true}}},
			"cut": {SQL: "UPDATE orders SET id = id WHERE id > 100", Write: true},
		}}
		if d != sqldb.MySQL {
			opt.Statements["cut"] = sqldb.Statement{SQL: "UPDATE orders SET id = id WHERE id > 100 RETURNING id, customer", Write: true}
		}
		hidden := start(t, opt, "writer")
		if tools, _ := hidden.Tools(t.Context()); len(tools) != 2 {
			t.Errorf("%d tools", len(tools))
		}
		if _, err := call(t, hidden, "add", `{"id":101,"customer":"x"}`); kindOf(err) != "not_found" {
			t.Errorf("hidden: %v", err)
		}
		opt.Writes = true
		a := start(t, opt, "writer")
		defer func() {
			if d == sqldb.SQLite {
				return
			}
			s := map[sqldb.Driver]*server{sqldb.Postgres: pgServer, sqldb.MySQL: mariaServer}[d]
			if err := execAll(sqldb.Options{Driver: d}, s.dsn("boss"), map[sqldb.Driver]string{sqldb.Postgres: superTest, sqldb.MySQL: "SELECT 1"}[d], "DELETE FROM orders WHERE id > 100"); err != nil {
				t.Error(err)
			}
		}()
		watchUntil(t, a, func() bool { return a.Health().State == upstream.Up })
		r, err := call(t, a, "add", `{"id":101,"customer":"x"}`)
		if got := body(t, r, err); !strings.Contains(got, `"rows_affected":1`) {
			t.Errorf("%s", got)
		}
		r, err = call(t, a, "cut", `{}`)
		if got := body(t, r, err); !strings.Contains(got, `"rows_affected":`) || d != sqldb.MySQL && !strings.Contains(got, `[[101,"x"]]`) {
			t.Errorf("%s", got)
		}
		if r, err := call(t, a, "add", `{"id":101,"customer":"x"}`); err != nil || !r.IsError {
			t.Errorf("twice: %v, %v", r, err)
		}
		for _, text := range []string{"INSERT INTO orders (id, customer) VALUES (102, 'x')", "DELETE FROM orders"} { // and a query still only reads
			if _, err := query(t, a, text); kindOf(err) != "invalid_arguments" {
				t.Errorf("%s: %v", text, err)
			}
		}
		r, err = query(t, a, "SELECT count(*) AS n FROM orders")
		if got := rowsOf(t, r, err); got != "[[11]]" {
			t.Errorf("%s", got)
		}
	})
}

// TestWholeWrites has a statement that writes be carried out for every row, however
// few of them are shown.
func TestWholeWrites(t *testing.T) {
	const shown = 100
	functions := map[sqldb.Driver][]string{
		sqldb.Postgres: {superTest, "CREATE FUNCTION archive(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO orders VALUES (i, 'x'); RETURN i; END $$"},
		sqldb.MySQL:    {"CREATE FUNCTION archive(i int) RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO orders (id, customer) VALUES (i, 'x'); RETURN i; END"},
	}
	numbers := "WITH RECURSIVE t(i) AS (SELECT 1001 UNION ALL SELECT i + 1 FROM t WHERE i < 4000) "
	each(t, func(t *testing.T, d sqldb.Driver) {
		opt := sqldb.Options{Driver: d, Query: true, Writes: true, AllowPrivileged: true, MaxRows: shown, Concurrency: 1, Statements: map[string]sqldb.Statement{
			"archive": {Write: true, SQL: numbers + "SELECT archive(i) AS id FROM t"},
			"add":     {Write: true, SQL: numbers + "INSERT INTO orders (id, customer) SELECT i, 'x' FROM t RETURNING id"},
			"update":  {Write: true, SQL: "UPDATE orders SET customer = 'y' WHERE id > 1000"},
			"clear":   {Write: true, SQL: "DELETE FROM orders WHERE id > 1000 RETURNING id"},
		}}
		switch d {
		case sqldb.SQLite:
			delete(opt.Statements, "archive") // it has no functions of its own
		case sqldb.MySQL:
			opt.Statements["update"] = sqldb.Statement{Write: true, SQL: "UPDATE orders SET customer = coalesce(@returning, 'y') WHERE id > 1000"} // for all that its words say
			opt.Statements["archive"] = sqldb.Statement{Write: true, SQL: "SELECT archive(seq) FROM seq_1001_to_4000"}
			opt.Statements["add"] = sqldb.Statement{Write: true, SQL: "INSERT INTO orders (id, customer) SELECT seq, 'x' FROM seq_1001_to_4000 RETURNING id"}
		}
		a := start(t, opt, "boss")
		if f := functions[d]; f != nil {
			dsn := map[sqldb.Driver]*server{sqldb.Postgres: pgServer, sqldb.MySQL: mariaServer}[d].dsn("boss")
			if err := execAll(sqldb.Options{Driver: d}, dsn, f...); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := execAll(sqldb.Options{Driver: d}, dsn, slices.Concat(f[:len(f)-1], []string{"DELETE FROM orders WHERE id > 1000", "DROP FUNCTION archive"})...); err != nil {
					t.Error(err)
				}
			}()
		}
		order := []string{"archive", "clear", "add", "update", "clear"}
		if functions[d] == nil {
			order = order[2:]
		}
		for _, name := range order {
			r, err := call(t, a, name, `{}`)
			got := body(t, r, err)
			if !strings.Contains(got, `"rows_affected":3000`) {
				t.Errorf("%s: ...%s", name, got[max(0, len(got)-200):])
			}
			if name != "update" && (strings.Count(got, "],[") != shown-1 || !strings.Contains(got, "there are more rows than these 100")) {
				t.Errorf("%s shows %d rows: ...%s", name, strings.Count(got, "],[")+1, got[max(0, len(got)-200):])
			}
			r, err = query(t, a, "SELECT count(*) AS n FROM orders WHERE id > 1000")
			if got, want := rowsOf(t, r, err), map[bool]string{true: "[[0]]", false: "[[3000]]"}[name == "clear"]; got != want {
				t.Errorf("after %s there are %s", name, got)
			}
		}
		if d == sqldb.MySQL { // and the connection still cuts queries short
			r, err := query(t, a, "SELECT @@sql_select_limit AS n")
			if got := rowsOf(t, r, err); got != "[[1001]]" {
				t.Errorf("the limit is now %s", got)
			}
		}
	})
}

// TestUnbegunWrites has a write to a server that can only be read from, as after a
// failover, be told as never carried out: it refuses BEGIN. That keeps nobody from
// reading there.
func TestUnbegunWrites(t *testing.T) {
	a := startAt(t, sqldb.Options{ID: "sales", Driver: sqldb.Postgres, Writes: true, AllowPrivileged: true, Statements: map[string]sqldb.Statement{
		"touch": {SQL: "UPDATE orders SET id = id", Write: true},
	}}, "postgres://reader:x@"+standby(t)+"/sales?sslmode=disable")
	for range 2 { // the connection is still good
		_, err := call(t, a, "touch", `{}`)
		if e, ok := errors.AsType[*upstream.Error](err); !ok || e.Sent || e.Kind != upstream.Unavailable || !strings.Contains(e.Public, "during recovery") || !errors.Is(err, upstream.ErrNoOutage) {
			t.Errorf("%v (public %q)", err, public(err))
		}
	}
}

// standby is as much of a PostgreSQL server in recovery as a write gets to see.
func standby(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	t.Cleanup(done.Wait)
	t.Cleanup(func() { _ = l.Close() })
	done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			done.Go(func() { refuseWrites(conn) })
		}
	})
	return l.Addr().String()
}

func refuseWrites(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // of a test
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for refused := false; b.Flush() == nil; {
		msg, err := b.Receive()
		if err != nil {
			return
		}
		switch m := msg.(type) {
		case *pgproto3.Parse:
			if refused = refused || strings.HasPrefix(m.Query, "begin read write"); refused {
				b.Send(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "0A000", Message: "cannot set transaction read-write mode during recovery"})
			} else {
				b.Send(&pgproto3.ParseComplete{})
			}
		case *pgproto3.Describe:
			b.Send(&pgproto3.ParameterDescription{})
			b.Send(&pgproto3.NoData{})
		case *pgproto3.Query: // whether it is still there
			b.Send(&pgproto3.EmptyQueryResponse{})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		case *pgproto3.Sync:
			refused = false
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		}
	}
}
