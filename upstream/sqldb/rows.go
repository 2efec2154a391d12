package sqldb

import (
	"database/sql"
	"net"
	"time"
)

// readRows writes rows until there are no more, or enough.
func readRows(rows *sql.Rows, describe func(*sql.ColumnType) column, out *table) error {
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	columns := make([]column, len(types))
	values := make([]any, len(types))
	into := make([]any, len(types))
	for i, t := range types {
		columns[i] = describe(t)
		into[i] = &values[i]
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
		for i, v := range values {
			out.value(columns[i].class, v)
		}
		out.endRow()
	}
	return rows.Err()
}

// mysqlValues writes arguments as MySQL reads them.
func mysqlValues(args []any) []any {
	out := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case array:
			out[i] = v.json()
		case decimal:
			out[i] = string(v)
		case time.Time: // its sessions are in UTC
			out[i] = v.UTC().Format("2006-01-02 15:04:05.999999")
		default:
			out[i] = v
		}
	}
	return out
}

// sqliteValues writes arguments as SQLite's functions of dates read them.
func sqliteValues(args []any) []any {
	out := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case array:
			out[i] = v.json()
		case decimal:
			out[i] = string(v)
		case time.Time:
			out[i] = v.UTC().Format("2006-01-02T15:04:05.999999999Z07:00")
		case bool:
			out[i] = map[bool]int64{true: 1}[v]
		default:
			out[i] = v
		}
	}
	return out
}

func hostPort(a *address) string { return net.JoinHostPort(a.host, a.port) }
