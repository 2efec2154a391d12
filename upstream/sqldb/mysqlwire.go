package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"strings"
	"sync/atomic"
)

// wire is a connection to a server from which one row may take so many bytes. The
// driver itself takes rows of any length: it joins packets of 16 MiB until the
// last (https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html).
type wire struct {
	*net.TCPConn
	most int64
	got  atomic.Int64 // bytes since the last row
	full atomic.Bool  // no more was taken
}

// Read implements [net.Conn].
func (w *wire) Read(b []byte) (int, error) {
	left := w.most - w.got.Load()
	if left <= 0 && len(b) > 0 {
		w.full.Store(true)
		return 0, errLarge
	}
	n, err := w.TCPConn.Read(b[:min(int64(len(b)), left)])
	w.got.Add(int64(n))
	return n, err
}

// row begins the next row.
func (w *wire) row() { w.got.Store(0) }

// dialling goes with the context from who connects to what dials.
type dialling struct {
	to   string // instead of the address; "" is none
	wire *wire  // what came of it
}

type diallingKey struct{}

// dial connects to a server for the driver.
func (m *mysqlDB) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d, ok := ctx.Value(diallingKey{}).(*dialling)
	if !ok {
		return nil, errors.New("nobody waits for this connection")
	}
	if d.to != "" {
		address = d.to
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		_ = conn.Close()
		return nil, errors.New("the server is not reached over TCP")
	}
	d.wire = &wire{TCPConn: tcp, most: int64(m.opt.rowBytes())}
	return d.wire, nil
}

// driverConn is what is needed of a driver's connection.
type driverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	pooled
}

type pooled interface {
	driver.SessionResetter
	driver.Validator
}

// mysqlSession is a connection of the pool.
type mysqlSession struct {
	driverConn
	wire   *wire
	again  driver.Connector // makes another connection of the same account
	thread string           // at the server, a number
	server string           // which one
}

// sessionOf returns the session of a connection of the pool.
func sessionOf(conn *sql.Conn) (s *mysqlSession, err error) {
	err = conn.Raw(func(dc any) error {
		s = dc.(*mysqlSession) //nolint:errcheck,forcetypeassert // the connector makes no others
		return nil
	})
	return s, err
}

// whoIs tells the number of the connection at the server, the version, and which
// server it is.
const whoIs = "SELECT CONCAT_WS(' ', CONNECTION_ID(), VERSION(), @@hostname, @@port)"

// identify asks the server whoIs.
func identify(ctx context.Context, conn driver.Conn) (thread, server string, err error) {
	told, err := askRaw(ctx, conn, whoIs)
	if err != nil {
		return "", "", err
	}
	thread, server, ok := strings.Cut(strings.Join(told, ""), " ")
	if !ok || strings.Trim(thread, "0123456789") != "" {
		return "", "", errors.New("the server does not tell the number of the connection")
	}
	return thread, server, nil
}

// kill ends the session at the server with what it runs: closing the connection
// ends a statement only when it comes to writing a row. Everybody may end what is
// their own. Unlike KILL QUERY, this ends a statement too that is still on its way
// (https://dev.mysql.com/doc/refman/8.4/en/kill.html,
// https://mariadb.com/docs/server/reference/sql-statements/administrative-sql-statements/kill).
func (s *mysqlSession) kill(ctx context.Context) error {
	conn, err := s.beside(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()                                                                      //nolint:errcheck // nothing is left to do
	_, err = conn.(driver.ExecerContext).ExecContext(ctx, "KILL CONNECTION "+s.thread, nil) //nolint:errcheck,forcetypeassert // the driver's own
	if mysqlCode(err) == erNoSuchThread {
		return nil
	}
	return err
}

const erNoSuchThread = 1094

// beside makes another connection to the same server.
func (s *mysqlSession) beside(ctx context.Context) (driver.Conn, error) {
	d := &dialling{to: s.wire.RemoteAddr().String()}
	conn, err := s.again.Connect(context.WithValue(ctx, diallingKey{}, d))
	if err != nil {
		return nil, err
	}
	_, server, err := identify(ctx, conn)
	if err == nil && server != s.server { // behind one address there can be several, each with its own numbers
		err = errors.New("another server answers")
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// lasting counts the tables that the account can see whose engine keeps what a
// transaction wrote that is not committed, such as MyISAM and Aria
// (https://mariadb.com/docs/server/reference/sql-statements/transactions/rollback).
const lasting = `SELECT CONCAT(COUNT(*)) FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND COALESCE(engine, '') <> 'InnoDB'
	AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')`

// undoes reports whether nothing is left of what the connection wrote and did not
// commit; false too if that cannot be found out.
func (s *mysqlSession) undoes(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, sideTimeout)
	defer cancel()
	conn, err := s.beside(ctx)
	if err != nil {
		return false
	}
	defer conn.Close() //nolint:errcheck // only read from
	n, err := askRaw(ctx, conn, lasting)
	return err == nil && len(n) == 1 && n[0] == "0"
}

// asMySQLConn holds the driver's connection to what is needed of it.
func asMySQLConn(conn driver.Conn) (driverConn, error) {
	if c, ok := conn.(driverConn); ok {
		return c, nil
	}
	return nil, errors.New("the driver's connection has changed")
}
