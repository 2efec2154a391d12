// Package sqldb asks SQL databases: PostgreSQL, MySQL and MariaDB, SQLite.
//
// Job: an [upstream.Adapter] whose tools are statements that the operator wrote, a
// look at the schema, and, where that is wanted, queries that the model writes. It
// owns the connections' sessions, what may be asked, how answers are written and
// what failures mean.
//
// That nothing is written which is not meant to be rests on five layers, so that
// none has to be perfect: the database role, which is refused at start if it may do
// more than a reader should (role.go); one statement at a time, by protocols that
// take only one (text.go); the server's own word that the text can stand in a
// subquery (text.go, probe); read-only sessions and transactions that are always
// rolled back (postgres.go, mysql.go, sqlite.go); and a list of functions that a
// query of the model may not call (deny.go).
//
// It must not know credentials or configuration: it is handed a *sql.DB, and makes
// the connections of one from an address that it does not keep ([Options.Connector]).
package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Driver is a kind of database.
type Driver string

// The databases.
const (
	Postgres Driver = "postgres"
	MySQL    Driver = "mysql" // MariaDB too
	SQLite   Driver = "sqlite"
)

// Drivers returns all of them.
func Drivers() []string { return []string{string(Postgres), string(MySQL), string(SQLite)} }

// Options say what is offered and what it may cost.
type Options struct {
	ID         upstream.ID
	Driver     Driver
	Statements map[string]Statement // by the tool's name
	Query      bool                 // the tool "query", with which the model writes SQL
	NoSchema   bool                 // leave the tool "schema" out
	Writes     bool                 // offer statements that write
	// AllowPrivileged uses a role that may do more than a reader should.
	AllowPrivileged bool
	MaxRows         int           // of one answer; 0 is 100
	MaxCell         int           // bytes of one value; 0 is 4 KiB
	MaxBytes        int           // about the most of one answer; 0 is 4 MiB
	Concurrency     int           // connections; 0 is 32
	Timeout         time.Duration // of one statement at the server; 0 is 5 minutes
	// Clean takes the credential out of what the database says, in place; nil if
	// there is none.
	Clean func([]byte)
	Log   *slog.Logger // nil is none
}

// Statement is one that the operator wrote.
type Statement struct {
	SQL         string // :name is the parameter of that name
	Description string
	Params      map[string]Param
	Write       bool // it changes something, and is committed
}

const (
	connIdle    = 5 * time.Minute
	connLife    = time.Hour
	sideTimeout = 3 * time.Second // of what is done beside a call, such as cancelling it
)

func (o *Options) defaults() {
	for _, d := range []struct {
		field *int
		value int
	}{{&o.MaxRows, 100}, {&o.MaxCell, 4 << 10}, {&o.MaxBytes, 4 << 20}, {&o.Concurrency, 32}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// rowBytes is how long one row may be that is taken from a database. Of one that
// is longer than any answer nothing could be used; bytes are twice as long where
// they come in hexadecimal digits.
func (o *Options) rowBytes() int { return max(o.MaxBytes, 2*o.MaxCell, 1<<20) }

// dialect is what differs between the databases.
type dialect interface {
	// connector makes connections of the address: a URL, for SQLite a path after
	// "sqlite:". Each has the session that reading needs, and is refused if its
	// role may do too much.
	connector(dsn string) (driver.Connector, error)
	// run carries out one request on a connection that is used for nothing else
	// meanwhile, and closes it, for good if it cannot be used any more. It returns
	// soon after ctx ends. Its errors are a *failure.
	run(ctx context.Context, conn *sql.Conn, req *request, out *table) error
	// prepare has the server read a statement without running it.
	prepare(ctx context.Context, conn *sql.Conn, req *request) error
	// meaning says what an error means, and what the server said.
	meaning(err error) (cause, string)
	// schema returns the statements of the tool "schema" by detail; each takes
	// the parameter :filter, a pattern of LIKE with the escape character !.
	schema() map[string]string
}

// request is one statement with its values.
type request struct {
	key   string // by which prepared ones are found again; "" for those of the model
	text  *parsed
	probe string // in a subquery it has to pass; "" if it need not
	args  []any
	write bool
	rows  int
}

func newDialect(o *Options, side *sync.WaitGroup) (dialect, error) {
	switch o.Driver {
	case Postgres:
		return &postgres{opt: o, side: side}, nil
	case MySQL:
		return &mysqlDB{opt: o, side: side}, nil
	case SQLite:
		return &sqliteDB{opt: o, side: side}, nil
	}
	return nil, fmt.Errorf("no database is called %.40q; there are %v", o.Driver, Drivers())
}

// Connector makes of an address what opens connections: a URL such as
// postgres://user:password@host/database?sslmode=verify-full,
// mysql://user:password@host/database?tls=true, sqlite:/path. It reads neither the
// environment nor any file but the certificate that the URL names. Errors do not
// repeat the address.
func (o Options) Connector(dsn string) (driver.Connector, error) {
	o.defaults()
	d, err := newDialect(&o, nil)
	if err != nil {
		return nil, err
	}
	return d.connector(dsn)
}

// Check tells all that is wrong with the statements, without a database: what
// [New] would refuse.
func (o Options) Check() error {
	o.defaults()
	d, err := newDialect(&o, nil)
	if err != nil {
		return err
	}
	return (&Adapter{opt: o, dialect: d}).compile()
}

// Adapter is a database as an [upstream.Adapter].
type Adapter struct {
	opt     Options
	db      *sql.DB
	dialect dialect
	tools   []upstream.Tool
	actions map[string]*action
	hidden  int
	board   *board
	drift   *drifts

	mu     sync.Mutex // guards the adding to calls against Close
	closed bool
	calls  sync.WaitGroup
	side   *sync.WaitGroup // what is done beside calls
	end    context.CancelCauseFunc
	ended  context.Context //nolint:containedctx // ends with the adapter, and ends its calls
}

// New makes the adapter of db, whose connections come from [Options.Connector] of
// the same options. It checks the statements, and connects to nothing. Closing the
// adapter closes db.
func New(ctx context.Context, opt Options, db *sql.DB) (*Adapter, error) {
	opt.defaults()
	a := &Adapter{opt: opt, db: db, side: &sync.WaitGroup{}, board: newBoard(), drift: newDrifts(opt.Log.With("upstream", opt.ID))}
	a.ended, a.end = context.WithCancelCause(context.WithoutCancel(ctx))
	var err error
	if a.dialect, err = newDialect(&a.opt, a.side); err != nil {
		return nil, err
	}
	if err := a.compile(); err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(opt.Concurrency)
	db.SetMaxIdleConns(opt.Concurrency)
	db.SetConnMaxIdleTime(connIdle)
	db.SetConnMaxLifetime(connLife)
	return a, nil
}

// Tools implements [upstream.Adapter]. They are known without the database.
func (a *Adapter) Tools(ctx context.Context) ([]upstream.Tool, error) {
	if ctx.Err() != nil {
		e := upstream.AsError(a.opt.ID, "", ctx.Err())
		e.Op, e.Sent = "tools/list", false
		return nil, e
	}
	return append([]upstream.Tool(nil), a.tools...), nil
}

// Call implements [upstream.Adapter].
func (a *Adapter) Call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	before := func(kind upstream.Kind, text string) (*upstream.Result, error) {
		return nil, &upstream.Error{Upstream: a.opt.ID, Tool: c.Name, Op: string(c.Op), Kind: kind, Public: text}
	}
	if c.Op != upstream.CallTool {
		return before(upstream.NotFound, fmt.Sprintf("%s has tools only", a.opt.ID))
	}
	act := a.actions[c.Name]
	if act == nil {
		return before(upstream.NotFound, fmt.Sprintf("%s has no tool %.60q", a.opt.ID, c.Name))
	}
	if !a.begin() {
		return before(upstream.Unavailable, errClosed.Error())
	}
	defer a.calls.Done()
	if ctx.Err() != nil {
		return a.explain(ctx, c.Name, act.free, at(connecting, ctx.Err()))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(a.ended, func() { cancel(errClosed) })() //nolint:contextcheck // the adapter ends its calls
	req, err := act.request(c.Arguments)
	if err != nil {
		return a.explain(ctx, c.Name, act.free, at(connecting, err))
	}
	out := &table{maxRows: req.rows, maxCell: a.opt.MaxCell, maxBytes: a.opt.MaxBytes, affected: -1, buf: make([]byte, 0, 4<<10)}
	if err = a.run(ctx, req, out); err != nil {
		res, explained := a.explain(ctx, c.Name, act.free, err)
		if why := a.unfit(err); why != "" && act.statement != nil {
			a.drift.unfit(c.Name, why)
		}
		return res, explained
	}
	a.board.up()
	if act.statement != nil { // what the model asks is different each time
		a.drift.compare(c.Name, out.columns)
	}
	return out.result(a.opt.Clean), nil
}

// run carries out a request on a connection of its own.
func (a *Adapter) run(ctx context.Context, req *request, out *table) error {
	conn, err := a.db.Conn(ctx)
	if err != nil {
		err = at(connecting, err)
		if e := a.understood(ctx, "", err); ctx.Err() == nil {
			a.board.down(e, 0)
		}
		return err
	}
	return a.dialect.run(ctx, conn, req, out)
}

func (a *Adapter) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.calls.Add(1)
	}
	return !a.closed
}

// Close implements [upstream.Adapter]: calls that run are ended.
func (a *Adapter) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.end(errClosed)
	a.calls.Wait()
	err := a.db.Close()
	a.side.Wait()
	if errors.Is(err, driver.ErrBadConn) {
		return nil
	}
	return err
}
