package sqldb

import (
	"database/sql"
	"net"
	"time"
)

// cell writes what is scanned into it to the table, so that long values are not
// copied. The bytes are the driver's, and can be used until Scan returns.
type cell struct {
	out   *table
	class class
}

// Scan implements [sql.Scanner].
func (c *cell) Scan(v any) error {
	c.out.value(c.class, v)
	return nil
}

// readRows writes rows until there are no more, or enough. It calls after after
// each.
func readRows(rows *sql.Rows, describe func(*sql.ColumnType) column, out *table, after func()) error {
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	columns := make([]column, len(types))
	into := make([]any, len(types))
	for i, t := range types {
		columns[i] = describe(t)
		into[i] = &cell{out, columns[i].class}
	}
	if len(columns) > 0 {
		out.head(columns)
	}
	for rows.Next() {
		if !out.row() {
			return nil
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		out.endRow()
		after()
	}
	return rows.Err()
}

// mysqlValues writes arguments as MySQL reads them; its sessions are in UTC.
func mysqlValues(args []any) []any { return texts(args, "2006-01-02 15:04:05.999999") }

// sqliteValues writes arguments as SQLite's functions of dates read them.
func sqliteValues(args []any) []any {
	out := texts(args, "2006-01-02T15:04:05.999999999Z07:00")
	for i, arg := range out {
		if v, ok := arg.(bool); ok {
			out[i] = map[bool]int64{true: 1}[v]
		}
	}
	return out
}

// texts writes what a driver does not know as text, times in UTC by layout.
func texts(args []any, layout string) []any {
	out := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case array:
			out[i] = v.json()
		case decimal:
			out[i] = string(v)
		case time.Time:
			out[i] = v.UTC().Format(layout)
		default:
			out[i] = v
		}
	}
	return out
}

func hostPort(a *address) string { return net.JoinHostPort(a.host, a.port) }
