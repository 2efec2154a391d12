package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"modernc.org/libc"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
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

// patience is how long a lock is waited for. It ends before the call does, which can
// then say what was in its way.
func (s *sqliteDB) patience() time.Duration { return min(5*time.Second, s.opt.Timeout*3/4) }

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
		"mode": {mode}, "_query_only": {"1"}, "_defensive": {"1"}, "_dqs": {"0"}, "_busy_timeout": {strconv.FormatInt(s.patience().Milliseconds(), 10)},
	}.Encode()}
	inner, err := sqlite.NewConnector(address.String())
	if err != nil {
		return nil, errors.New("the database's path does not fit its driver")
	}
	return &sqliteConnector{inner, path}, nil
}

// pragmas are those that only tell; the tool "schema" uses them as tables.
var pragmas = []string{"table_list", "table_info", "table_xinfo", "foreign_key_list", "index_list", "index_info"}

// asked are those that full-text search asks itself; with a value they would set one.
var asked = []string{"data_version", "page_size"}

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
			name := strings.ToLower(arg1)
			allowed = slices.Contains(pragmas, name) || arg2 == "" && slices.Contains(asked, name)
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
	var handle uintptr
	err = conn.Raw(func(dc any) (err error) {
		handle, err = handleOf(dc)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.limit(handle)
	return func() { interruptSQLite(handle) }, authorize(conn, policy(write))
}

// limit sets the limits of a connection that nobody uses meanwhile.
func (s *sqliteDB) limit(handle uintptr) {
	tls := libc.NewTLS()
	defer tls.Close()
	for id, limit := range s.limits() {
		sqlite3.Xsqlite3_limit(tls, handle, int32(id), int32(limit)) //nolint:gosec // at most some 100 MB
	}
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

// handleOf returns the driver's handle of a database: the driver has no other way to
// end a statement once its first row is there, and none to its limits through a
// connection of ours.
func handleOf(dc any) (uintptr, error) {
	if c, ok := dc.(*sqliteConn); ok {
		if db := reflect.ValueOf(c.sqliteDriverConn).Elem().FieldByName("db"); db.IsValid() && db.Kind() == reflect.Uintptr {
			return uintptr(db.Uint()), nil
		}
	}
	return 0, errors.New("the driver has no handle of the database")
}

func interruptSQLite(handle uintptr) {
	tls := libc.NewTLS()
	defer tls.Close()
	sqlite3.Xsqlite3_interrupt(tls, handle)
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
	}
	select { // how it ended: most do at once, and what waited for a lock has done nothing
	case err := <-done:
		return err
	case <-time.After(sqliteGrace):
		return at(running, ctx.Err())
	}
}

// sqliteGrace is how long a statement has to end that is interrupted.
const sqliteGrace = 100 * time.Millisecond

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
	if err != nil && strings.HasPrefix(req.key, schemaKey) {
		rows, err = conn.QueryContext(ctx, strings.ReplaceAll(req.text.sql, anyColumns, plainColumns), sqliteValues(req.args)...)
	}
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
	if err = tx.Commit(); err != nil && ctx.Err() != nil && !isSQLite(err) {
		return undone(err) // it was given up while it waited, and rolled back
	}
	return at(running, err)
}

func isSQLite(err error) bool {
	_, ok := errors.AsType[*sqlite.Error](err)
	return ok
}

// prepare implements dialect. The schema that the connection knows may be an old one:
// SQLite holds it against the file when a statement runs, not when one is prepared.
func (s *sqliteDB) prepare(ctx context.Context, conn *sql.Conn, req *request) error {
	if _, err := s.guard(ctx, conn, req.write); err != nil {
		return at(connecting, err)
	}
	var tables int
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return at(preparing, err)
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
	switch e.Code() {
	case sqlite3.SQLITE_READONLY_DIRECTORY, sqlite3.SQLITE_READONLY_CANTINIT, sqlite3.SQLITE_READONLY_RECOVERY:
		// https://sqlite.org/wal.html#read_only_databases
		return forbidden, "nobody may write in the directory of the database file, which writing needs, and in WAL mode reading too"
	case sqlite3.SQLITE_BUSY_SNAPSHOT: // others have written since it began to read
		return again, e.Error()
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return forbidden, e.Error()
	case sqlite3.SQLITE_BUSY:
		return locked, "the database file is locked by another program"
	case sqlite3.SQLITE_LOCKED:
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

// The columns of whatever sqlite_schema has, and those of ordinary tables only: SQLite
// tells none at all if one is of a view that does not work any more, or of a table
// whose module is missing.
const (
	anyColumns   = "pragma_table_xinfo(m.name)"
	plainColumns = "pragma_table_xinfo(case when m.type = 'table' and m.rootpage > 0 then m.name end)"
)

// schema implements dialect.
func (s *sqliteDB) schema() map[string]string {
	const where = ` where m.type in ('table', 'view') and m.name not like 'sqlite!_%' escape '!' and m.name like :filter escape '!'`
	return map[string]string{
		"names": `select m.name, m.type as kind from sqlite_schema m` + where + ` order by 1`,
		"summary": `select m.name, m.type as kind, nullif((select count(*) from ` + anyColumns + ` where hidden <> 1), 0) as columns
			from sqlite_schema m` + where + ` order by 1`,
		"full": `select m.name as "table", c.name as "column", c.type, not c."notnull" as nullable, case when c.pk > 0 then 'primary key' end as "key",
			(select group_concat(f."table" || '.' || coalesce(f."to", 'rowid'), ', ') from pragma_foreign_key_list(m.name) f where f."from" = c.name) as "references"
			from sqlite_schema m left join ` + anyColumns + ` c on c.hidden <> 1` + where + ` order by 1, c.cid`,
	}
}
