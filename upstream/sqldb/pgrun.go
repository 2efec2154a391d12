package sqldb

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// pgSession is what is known of one connection.
type pgSession struct {
	conn     *pgx.Conn
	pg       *pgconn.PgConn
	prepared map[string]*pgStatement
	free     string // the name of the model's latest statement; "" if it wrote none
	side     func(func())
	broken   bool
}

type pgStatement struct {
	name    string
	columns []column
	params  int
}

// sessionKey is the key of our session in the driver's.
const sessionKey = "bulkhead"

// on runs f with the session of conn and closes the connection if it is left
// broken.
func (p *postgres) on(ctx context.Context, conn *sql.Conn, f func(*pgSession) error) error {
	var failed error
	err := conn.Raw(func(dc any) error {
		c := dc.(*stdlib.Conn).Conn() //nolint:errcheck,forcetypeassert // the connector makes no others
		custom := c.PgConn().CustomData()
		s, ok := custom[sessionKey].(*pgSession)
		if !ok {
			s = &pgSession{conn: c, pg: c.PgConn(), prepared: map[string]*pgStatement{}, side: p.side.Go}
			custom[sessionKey] = s
		}
		stop := context.AfterFunc(ctx, func() { _ = s.pg.Conn().SetDeadline(time.Unix(1, 0)) })
		failed = f(s)
		if !stop() || s.pg.IsClosed() || s.pg.TxStatus() != 'I' {
			s.broken = true
		}
		if s.broken {
			s.destroy(ctx)
			return driver.ErrBadConn
		}
		return nil
	})
	if failed == nil && err != nil && !errors.Is(err, driver.ErrBadConn) {
		return at(connecting, err)
	}
	return failed
}

// destroy ends the statement at the server and closes the connection.
func (s *pgSession) destroy(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // it has ended
	s.side(func() {
		ctx, cancel := context.WithTimeout(ctx, sideTimeout)
		defer cancel()
		_ = s.pg.CancelRequest(ctx) // the connection's end ends it too, only later
		_ = s.pg.Conn().Close()
		select { // the pool closes it meanwhile, or the driver has begun to
		case <-s.pg.CleanupDone():
		case <-ctx.Done():
		}
	})
}

// run implements dialect.
func (p *postgres) run(ctx context.Context, conn *sql.Conn, req *request, out *table) error {
	defer conn.Close() //nolint:errcheck // back to the pool; what failed is known
	return p.on(ctx, conn, func(s *pgSession) error {
		for again := true; ; again = false {
			st, err := s.statement(ctx, req)
			if err != nil {
				return at(preparing, err)
			}
			values, err := pgValues(req.args, st.params)
			if err != nil {
				return at(preparing, err)
			}
			err = s.execute(ctx, req, st, values, out)
			if again && stale(err) { // refused before it ran
				delete(s.prepared, req.key)
				out.reset()
				if err = s.pg.Deallocate(context.WithoutCancel(ctx), st.name); err == nil {
					continue
				}
			}
			return s.why(ctx, req, st, err)
		}
	})
}

// stale reports whether the server says that a prepared statement does not fit
// any more, or is not there.
func stale(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "26000" || e.Code == "0A000" && e.Routine == "RevalidateCachedQuery")
}

// why says how far a statement came that failed. What has been prepared may be of
// tables that are not there any more, which the server notices only when it is to
// run; then it cannot be prepared again. A function that fails by itself with the
// same codes is no fault of the statement.
func (s *pgSession) why(ctx context.Context, req *request, st *pgStatement, err error) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || req.key == "" || s.broken || ctx.Err() != nil || !strings.HasPrefix(e.Code, "42") {
		return err
	}
	delete(s.prepared, req.key)
	if gone := s.pg.Deallocate(context.WithoutCancel(ctx), st.name); gone != nil {
		s.broken = true
		return err
	}
	if _, again := s.statement(ctx, req); again != nil {
		if _, ok := errors.AsType[*pgconn.PgError](again); ok {
			return at(preparing, again)
		}
	}
	return err
}

// prepare implements dialect. It asks the server, whatever was prepared before.
func (p *postgres) prepare(ctx context.Context, conn *sql.Conn, req *request) error {
	return p.on(ctx, conn, func(s *pgSession) error {
		anew := *req
		anew.key = ""
		_, err := s.statement(ctx, &anew)
		return at(preparing, err)
	})
}

// statement prepares what is asked, once for each connection if it is the
// operator's, and holds what only reads to what fits into a subquery.
func (s *pgSession) statement(ctx context.Context, req *request) (*pgStatement, error) {
	if st := s.prepared[req.key]; st != nil && req.key != "" {
		return st, nil
	}
	ctx = context.WithoutCancel(ctx) // the deadline is set on the connection
	if req.probe != "" {
		if _, err := s.pg.Prepare(ctx, "", inSubquery(req.probe), nil); err != nil {
			return nil, err
		}
	}
	if req.key == "" && s.free != "" {
		if err := s.pg.Deallocate(ctx, s.free); err != nil { // no error if there is none
			return nil, err
		}
	}
	name := statementName()
	if req.key == "" {
		s.free = name
	}
	d, err := s.pg.Prepare(ctx, name, req.text.sql, nil)
	if err != nil {
		return nil, err
	}
	st := &pgStatement{name: name, params: len(d.ParamOIDs), columns: make([]column, len(d.Fields))}
	for i, f := range d.Fields {
		st.columns[i] = s.column(f)
	}
	if req.key != "" {
		s.prepared[req.key] = st
	}
	return st, nil
}

// statementName returns a name that no other statement has or had, of whatever session:
// where a pooler hands the connections of the server around, a statement by that name
// that another call has left there would be carried out in place of this one.
func statementName() string { return "bulkhead_" + rand.Text() }

func (s *pgSession) column(f pgconn.FieldDescription) column {
	c := column{name: f.Name, typ: "other"}
	if t, ok := s.conn.TypeMap().TypeForOID(f.DataTypeOID); ok {
		c.typ = t.Name
	}
	switch f.DataTypeOID {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.NumericOID, pgtype.OIDOID:
		c.class = asNumber
	case pgtype.Float4OID, pgtype.Float8OID:
		c.class = asFloat
	case pgtype.BoolOID:
		c.class = asBool
	case pgtype.ByteaOID:
		c.class = asBytes
	case pgtype.TimestampOID, pgtype.TimestamptzOID:
		c.class = asTime
	case pgtype.JSONOID, pgtype.JSONBOID:
		c.class = asJSON
	}
	return c
}

// execute runs a prepared statement in a transaction of its own, in one round
// trip: BEGIN, the statement, and ROLLBACK or COMMIT. The server skips the last of
// these if the statement fails; then ROLLBACK is sent again. A query is asked for one
// row more than is wanted, and for no other. A statement that writes is asked for
// all, because it is carried out only as far as its rows are asked for
// (https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY).
func (s *pgSession) execute(ctx context.Context, req *request, st *pgStatement, values [][]byte, out *table) error {
	begin, end, most := "begin read only", "rollback", uint32(req.rows)+1
	if req.write {
		begin, end, most = "begin read write", "commit", 0
	}
	f := s.pg.Frontend()
	s.simple(begin)
	f.SendBind(&pgproto3.Bind{PreparedStatement: st.name, Parameters: values})
	f.SendExecute(&pgproto3.Execute{MaxRows: most})
	if req.key == "" {
		s.simple(unlock)
	}
	s.simple(end)
	err := s.sync(ctx, req, st, out)
	if !s.broken && s.pg.TxStatus() != 'I' {
		s.simple("rollback")
		if req.key == "" {
			s.simple(unlock)
		}
		if undone := s.sync(ctx, req, nil, nil); undone != nil {
			s.broken = true
		}
	}
	return err
}

// unlock gives back what functions may have locked for the session.
const unlock = "select pg_catalog.pg_advisory_unlock_all()"

// simple sends a statement of ours that has no parameters.
func (s *pgSession) simple(sql string) {
	f := s.pg.Frontend()
	f.SendParse(&pgproto3.Parse{Query: sql})
	f.SendBind(&pgproto3.Bind{})
	f.SendExecute(&pgproto3.Execute{})
}

// sync sends what has been gathered and reads the answers. The rows of the second
// statement, which is the one that was asked, go to out; nil if none was.
func (s *pgSession) sync(ctx context.Context, req *request, st *pgStatement, out *table) (failed error) {
	s.pg.Frontend().SendSync(&pgproto3.Sync{})
	if err := s.pg.Frontend().Flush(); err != nil {
		s.broken = true
		return at(running, err)
	}
	ctx = context.WithoutCancel(ctx) // the deadline is set on the connection
	if out != nil {
		out.head(st.columns)
	}
	for commands := 0; ; {
		msg, err := s.pg.ReceiveMessage(ctx)
		if err != nil {
			s.broken = true
			if failed == nil {
				failed = at(running, err)
			}
			return failed
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			if out == nil || commands != 1 || out.over != "" || !out.row() {
				continue
			}
			for i, v := range msg.Values {
				s.cell(out, st.columns[i].class, v)
			}
			out.endRow()
		case *pgproto3.CommandComplete:
			if commands++; commands == 2 && out != nil && req.write {
				out.affected = pgconn.NewCommandTag(string(msg.CommandTag)).RowsAffected()
			}
		case *pgproto3.PortalSuspended:
			commands++
		case *pgproto3.ErrorResponse:
			if failed == nil {
				failed = said(pgconn.ErrorResponseToPgError(msg), commands)
			}
		case *pgproto3.CopyInResponse, *pgproto3.CopyOutResponse, *pgproto3.CopyBothResponse:
			s.broken = true
			return at(running, errors.New("the statement copies; that is not asked here"))
		case *pgproto3.ReadyForQuery:
			return failed
		}
	}
}

// said is what it means that the server has refused one of the statements that were
// sent together, of which it has carried out so many. If that is BEGIN, as of a write
// where only reading is possible, nothing was done, and a server that goes on works.
func said(e *pgconn.PgError, commands int) error {
	switch {
	case commands > 0:
		return at(running, e)
	case e.SeverityUnlocalized == "ERROR": // else it ends the connection
		return at(connecting, upstream.Caused(e, upstream.ErrNoOutage))
	}
	return at(connecting, e)
}

func (s *pgSession) cell(out *table, class class, v []byte) {
	switch {
	case v == nil:
		out.null()
	case class == asBytes: // \x0102
		if n, err := hex.Decode(v, bytes.TrimPrefix(v, []byte(`\x`))); err == nil { // in place: the text is longer
			out.cell(asBytes, v[:n])
			return
		}
		out.cell(asText, v)
	default:
		out.cell(class, v)
	}
}

// pgValues writes arguments as PostgreSQL reads them.
func pgValues(args []any, want int) ([][]byte, error) {
	if len(args) != want {
		return nil, &refusal{upstream.InvalidArguments, fmt.Sprintf("the statement has %d parameters; it can have none", want)}
	}
	out := make([][]byte, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case nil:
		case array:
			out[i] = []byte(v.literal())
		case time.Time:
			out[i] = v.AppendFormat(nil, time.RFC3339Nano)
		case float64:
			out[i] = strconv.AppendFloat(nil, v, 'g', -1, 64)
		default:
			out[i] = fmt.Append(nil, v)
		}
	}
	return out, nil
}
