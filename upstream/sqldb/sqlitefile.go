package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"modernc.org/sqlite"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// sqliteConnector opens regular files only: a pipe would be waited for.
type sqliteConnector struct {
	driver.Connector
	path string
}

// Connect implements driver.Connector.
func (c *sqliteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	file, err := databaseFile(c.path)
	if err != nil {
		return nil, err
	}
	boundHeap()
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.path, err)
	}
	dc, ok := inner.(sqliteDriverConn)
	if !ok {
		_ = inner.Close() // it cannot be used
		return nil, errors.New("the driver's connection cannot do what is needed")
	}
	conn := &sqliteConn{dc, c.path, file}
	err = readable(ctx, conn)
	if err == nil && conn.current() {
		return conn, nil
	}
	_ = conn.Close() // what failed is known
	if err == nil {
		return nil, driver.ErrBadConn // the file was replaced meanwhile
	}
	return nil, fmt.Errorf("%s: %w", c.path, err)
}

// databaseFile looks at the file. The path is in the errors for the log only.
func databaseFile(path string) (os.FileInfo, error) {
	file, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", path, &refusal{upstream.Unavailable, "there is no database file where the configuration says"})
	case err != nil || !file.Mode().IsRegular():
		return nil, fmt.Errorf("%s: %w", path, &refusal{upstream.Unavailable, "the database file cannot be opened"})
	}
	return file, nil
}

// sqliteConn is a connection that knows which file it has open.
type sqliteConn struct {
	sqliteDriverConn
	path string
	file os.FileInfo // a symbolic link's end
}

// sqliteDriverConn is what is needed of the driver's connection.
type sqliteDriverConn interface {
	driverConn
	driver.QueryerContext
	sqlite.AuthorizerRegisterer
}

// current reports whether the path still leads to the file that is open.
func (c *sqliteConn) current() bool {
	file, err := os.Stat(c.path)
	return err == nil && os.SameFile(file, c.file)
}

// ResetSession implements driver.SessionResetter, which is asked before a connection
// is used again. One to a file that has been replaced, or is gone, is closed then.
func (c *sqliteConn) ResetSession(ctx context.Context) error {
	if !c.current() {
		return driver.ErrBadConn
	}
	return c.sqliteDriverConn.ResetSession(ctx)
}

// readable makes SQLite look into the file, which it otherwise does with the first
// statement only (https://sqlite.org/pragma.html#pragma_schema_version).
func readable(ctx context.Context, conn driver.QueryerContext) error {
	rows, err := conn.QueryContext(ctx, "PRAGMA schema_version", nil)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // only read from
	return rows.Next(make([]driver.Value, 1))
}
