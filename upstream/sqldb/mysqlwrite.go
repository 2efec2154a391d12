package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
)

// returns reports whether a statement that writes may answer with rows: a SELECT of
// functions that do, or one with RETURNING.
func (p *parsed) returns() bool {
	return is(p.source, p.tokens[0], "(") || slices.Contains(queries, p.keyword(0)) ||
		slices.ContainsFunc(p.tokens, func(t token) bool { return t.kind == word && t.name == "returning" })
}

// change carries out a statement that writes, for every row, however few of them
// are shown.
func (m *mysqlDB) change(ctx context.Context, tx *sql.Tx, stmt *sql.Stmt, req *request, out *table, after func()) (err error) {
	args := mysqlValues(req.args)
	if !req.text.returns() {
		res, err := stmt.ExecContext(ctx, args...)
		if err != nil {
			return err
		}
		out.affected, err = res.RowsAffected()
		return err
	}
	limit := "SET SESSION sql_select_limit = ?"
	if _, err := tx.ExecContext(ctx, limit, int64(math.MaxInt64)); err != nil {
		return err
	}
	defer func() {
		if _, restored := tx.ExecContext(ctx, limit, m1(m.opt)); err == nil {
			err = restored
		}
	}()
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // what failed is known
	if err := readRows(rows, mysqlColumn, out, after); err != nil {
		return err
	}
	out.affected = int64(out.rows)
	if out.over != "" { // one that is not shown was read
		for out.affected++; rows.Next(); after() {
			out.affected++
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || out.columns != nil {
		return err
	}
	return tx.QueryRowContext(ctx, "SELECT ROW_COUNT()").Scan(&out.affected) // it has no rows after all
}
