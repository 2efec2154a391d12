package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"modernc.org/libc"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// sqliteDB asks a SQLite file.
type sqliteDB struct {
	opt  *Options
	side *sync.WaitGroup
}

// limits are those of every connection (https://sqlite.org/c3ref/c_limit_attached.html).
// One step of a statement cannot be interrupted, so that what one may make is
// bounded. There is none for columns: it would refuse the file that has a table
// with more. What all values of a row take together is bounded by [sqliteHeap].
func (s *sqliteDB) limits() map[int]int {
	return map[int]int{
		sqlite3.SQLITE_LIMIT_ATTACHED:            0,
		sqlite3.SQLITE_LIMIT_LENGTH:              max(min(s.opt.rowBytes(), 10<<20), s.opt.MaxCell),
		sqlite3.SQLITE_LIMIT_SQL_LENGTH:          1 << 20,
		sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000,
		sqlite3.SQLITE_LIMIT_WORKER_THREADS:      0,
	}
}

// connector implements dialect.
func (s *sqliteDB) connector(dsn string) (driver.Connector, error) {
	path, ok := strings.CutPrefix(dsn, "sqlite:")
	if !ok || path == "" || strings.ContainsRune(path, 0) {
		return nil, errors.New("the database's address does not begin with sqlite: and a path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, errors.New("the database's path cannot be made absolute")
	}
	mode := "ro"
	for _, st := range s.opt.Statements {
		if st.Write && s.opt.Writes {
			mode = "rw"
		}
	}
	address := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: url.Values{
		"mode": {mode}, "_query_only": {"1"}, "_defensive": {"1"}, "_dqs": {"0"}, "_busy_timeout": {"5000"},
	}.Encode()}
	inner, err := sqlite.NewConnector(address.String())
	if err != nil {
		return nil, errors.New("the database's path does not fit its driver")
	}
	return &sqliteConnector{inner, path}, nil
}

// sqliteConnector opens regular files only: a pipe would be waited for.
type sqliteConnector struct {
	driver.Connector
	path string
}

// Connect implements driver.Connector.
func (c *sqliteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	info, err := os.Stat(c.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &refusal{upstream.Unavailable, "there is no database file where the configuration says"}
	case err != nil || !info.Mode().IsRegular():
		return nil, &refusal{upstream.Unavailable, "the database file cannot be opened"}
	}
	boundHeap()
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := readable(ctx, conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// readable makes SQLite look into the file, which it otherwise does with the first
// statement only (https://sqlite.org/pragma.html#pragma_schema_version).
func readable(ctx context.Context, conn driver.Conn) error {
	q, ok := conn.(driver.QueryerContext)
	if !ok {
		return nil
	}
	rows, err := q.QueryContext(ctx, "PRAGMA schema_version", nil)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // only read from
	return rows.Next(make([]driver.Value, 1))
}

// pragmas are those that only tell; the tool "schema" uses them as tables.
var pragmas = []string{"table_list", "table_info", "table_xinfo", "foreign_key_list", "index_list", "index_info"}

// policy decides what a statement may do while it is prepared
// (https://sqlite.org/c3ref/set_authorizer.html).
func policy(write bool) sqlite.AuthorizerFn {
	return func(action sqlite.AuthorizerActionCode, arg1, arg2, _, _ string) sqlite.AuthorizerReturnCode {
		allowed := write
		switch action {
		case sqlite.AuthSelect, sqlite.AuthRead, sqlite.AuthRecursive:
			allowed = true
		case sqlite.AuthFunction:
			allowed = !deniedFunction(SQLite, strings.ToLower(arg2))
		case sqlite.AuthPragma:
			allowed = slices.Contains(pragmas, strings.ToLower(arg1))
		case sqlite.AuthAttach, sqlite.AuthDetach:
			allowed = false
		}
		if allowed {
			return sqlite.AuthorizerOK
		}
		return sqlite.AuthorizerDeny
	}
}

// guard puts the policy and the limits on a connection, whatever it was used for
// before, and returns what interrupts it.
func (s *sqliteDB) guard(ctx context.Context, conn *sql.Conn, write bool) (interrupt func(), err error) {
	if err := authorize(conn, nil); err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, map[bool]string{true: "PRAGMA query_only = 0", false: "PRAGMA query_only = 1"}[write]); err != nil {
		return nil, err
	}
	for id, limit := range s.limits() {
		if _, err := sqlite.Limit(conn, id, limit); err != nil {
			return nil, err
		}
	}
	if err := authorize(conn, policy(write)); err != nil {
		return nil, err
	}
	err = conn.Raw(func(dc any) error {
		interrupt = interrupter(dc)
		return nil
	})
	return interrupt, err
}

func authorize(conn *sql.Conn, fn sqlite.AuthorizerFn) error {
	return conn.Raw(func(dc any) error {
		r, ok := dc.(sqlite.AuthorizerRegisterer)
		if !ok {
			return errors.New("the driver takes no authorizer")
		}
		return r.RegisterAuthorizer(fn)
	})
}

// interrupter returns a function that ends what a connection is doing. The driver
// does so by itself only until the first row is there, and has no other way than
// its handle of the database to do it later.
func interrupter(dc any) func() {
	db := reflect.ValueOf(dc).Elem().FieldByName("db")
	if !db.IsValid() || db.Kind() != reflect.Uintptr {
		return func() {}
	}
	handle := uintptr(db.Uint())
	return func() {
		tls := libc.NewTLS()
		defer tls.Close()
		sqlite3.Xsqlite3_interrupt(tls, handle)
	}
}

// run implements dialect. The call does not wait for a statement that cannot be
// interrupted; closing the adapter does.
func (s *sqliteDB) run(ctx context.Context, conn *sql.Conn, req *request, out *table) error {
	done := make(chan error, 1)
	s.side.Go(func() {
		defer conn.Close() //nolint:errcheck // back to the pool; what failed is known
		done <- s.ask(ctx, conn, req, out)
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return at(running, ctx.Err())
	}
}

func (s *sqliteDB) ask(ctx context.Context, conn *sql.Conn, req *request, out *table) error {
	interrupt, err := s.guard(ctx, conn, req.write)
	if err != nil {
		return at(connecting, err)
	}
	var mu sync.Mutex // held while interrupting, and for good once there is nothing to interrupt
	stop := context.AfterFunc(ctx, func() {
		if mu.TryLock() {
			defer mu.Unlock()
			interrupt()
		}
	})
	defer func() {
		stop()
		mu.Lock() //nolint:staticcheck // for good
	}()
	if req.write {
		return s.change(ctx, conn, req, out)
	}
	if err := s.probe(ctx, conn, req); err != nil {
		return err
	}
	rows, err := conn.QueryContext(ctx, req.text.sql, sqliteValues(req.args)...)
	if err != nil {
		return s.why(ctx, conn, req, err)
	}
	defer rows.Close() //nolint:errcheck // what failed is known
	if err := readRows(rows, sqliteColumn, out, func() {}); err != nil {
		return at(running, err)
	}
	return nil
}

// probe prepares what only reads as a subquery, and then as it is, so that what is
// wrong with the text is told apart from what fails when it runs.
func (s *sqliteDB) probe(ctx context.Context, conn *sql.Conn, req *request) error {
	texts := []string{req.text.sql}
	if req.probe != "" {
		texts = []string{inSubquery(req.probe), req.text.sql}
	}
	for _, t := range texts {
		stmt, err := conn.PrepareContext(ctx, t)
		if err != nil {
			return at(preparing, err)
		}
		_ = stmt.Close() // nothing was asked
	}
	return nil
}

func (s *sqliteDB) change(ctx context.Context, conn *sql.Conn, req *request, out *table) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return at(preparing, err)
	}
	defer tx.Rollback() //nolint:errcheck // of a failed one
	rows, err := tx.QueryContext(ctx, req.text.sql, sqliteValues(req.args)...)
	if err != nil {
		if err = s.why(ctx, conn, req, err); stageOf(err) < running {
			return err
		}
		return undone(err)
	}
	err = readRows(rows, sqliteColumn, out, func() {})
	if closed := rows.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = tx.QueryRowContext(ctx, "SELECT changes()").Scan(&out.affected)
	}
	if err != nil {
		return undone(err) // even its changes to the schema
	}
	return at(running, tx.Commit())
}

// prepare implements dialect.
func (s *sqliteDB) prepare(ctx context.Context, conn *sql.Conn, req *request) error {
	if _, err := s.guard(ctx, conn, req.write); err != nil {
		return at(connecting, err)
	}
	return s.probe(ctx, conn, req)
}

// why says how far a statement came whose first step failed. It may have been
// prepared for tables that are not there any more, which SQLite notices only with
// that step; then it cannot be prepared again.
func (s *sqliteDB) why(ctx context.Context, conn *sql.Conn, req *request, err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok && ctx.Err() == nil {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_AUTH:
			return at(preparing, err)
		case sqlite3.SQLITE_ERROR:
			if again := s.probe(ctx, conn, req); again != nil && ctx.Err() == nil {
				return again
			}
		}
	}
	return at(running, err)
}

// sqliteColumn goes by the declared type, which says little; values bring their own.
func sqliteColumn(t *sql.ColumnType) column {
	c := column{name: t.Name(), typ: strings.ToLower(t.DatabaseTypeName()), class: asAny}
	if c.typ == "" {
		c.typ = "any"
	}
	return c
}

// meaning implements dialect. The codes are those of https://sqlite.org/rescode.html.
func (s *sqliteDB) meaning(err error) (cause, string) {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return lost, ""
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return forbidden, e.Error()
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return again, e.Error()
	case sqlite3.SQLITE_INTERRUPT:
		return late, e.Error()
	case sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_NOMEM:
		return large, ""
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL:
		return away, "the file cannot be read as a database"
	}
	return faulty, e.Error()
}

// schema implements dialect.
func (s *sqliteDB) schema() map[string]string {
	const where = ` from sqlite_schema m where m.type in ('table', 'view') and m.name not like 'sqlite!_%' escape '!' and m.name like :filter escape '!'`
	return map[string]string{
		"names":   `select m.name, m.type as kind` + where + ` order by 1`,
		"summary": `select m.name, m.type as kind, (select count(*) from pragma_table_info(m.name)) as columns` + where + ` order by 1`,
		"full": `select m.name as "table", c.name as "column", c.type, not c."notnull" as nullable, case when c.pk > 0 then 'primary key' end as "key",
			(select group_concat(f."table" || '.' || coalesce(f."to", 'rowid'), ', ') from pragma_foreign_key_list(m.name) f where f."from" = c.name) as "references"
			from sqlite_schema m join pragma_table_info(m.name) c where m.type in ('table', 'view') and m.name not like 'sqlite!_%' escape '!' and m.name like :filter escape '!' order by 1, c.cid`,
	}
}
