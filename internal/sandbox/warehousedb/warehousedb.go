// Package warehousedb writes the sample warehouse as a SQLite file.
//
// Job: [Write] makes the file from a dataset, as a whole or not at all. It owns the
// tables: customers, orders and order_items, whose amounts are in hundredths of the
// currency, because sums of binary fractions do not add up. It must not know who
// asks the file, or what for.
package warehousedb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/data"
)

// schema is what the model sees of the warehouse; SQLite keeps the comments.
var schema = []string{
	`CREATE TABLE customers (
	customer_id TEXT PRIMARY KEY, -- such as C-1001
	name TEXT NOT NULL, segment TEXT NOT NULL, industry TEXT NOT NULL, plan TEXT NOT NULL, region TEXT NOT NULL
)`,
	`CREATE TABLE orders (
	order_id TEXT PRIMARY KEY, -- such as O-100001, in order of time
	customer_id TEXT NOT NULL REFERENCES customers (customer_id),
	placed_at TIMESTAMP NOT NULL, -- UTC, such as 2026-06-30T18:00:00Z
	status TEXT NOT NULL, -- processing, shipped, delivered, returned or cancelled; the last two are no revenue
	subtotal_cents INTEGER NOT NULL, discount_cents INTEGER NOT NULL, shipping_cents INTEGER NOT NULL, total_cents INTEGER NOT NULL,
	currency TEXT NOT NULL
)`,
	`CREATE TABLE order_items (
	order_id TEXT NOT NULL REFERENCES orders (order_id), line INTEGER NOT NULL,
	sku TEXT NOT NULL, name TEXT NOT NULL, quantity INTEGER NOT NULL, unit_price_cents INTEGER NOT NULL, amount_cents INTEGER NOT NULL,
	PRIMARY KEY (order_id, line)
)`,
	`CREATE TABLE about (as_of TIMESTAMP NOT NULL, currency TEXT NOT NULL) -- what the data calls today`,
	`CREATE INDEX orders_of_customer ON orders (customer_id, placed_at)`,
	`CREATE INDEX orders_in_time ON orders (placed_at)`,
}

// Write makes the file at path of the dataset; it replaces one that is there.
// Readers of the old one keep it.
func Write(ctx context.Context, path string, d *data.Dataset) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".warehouse-*")
	if err != nil {
		return fmt.Errorf("sample warehouse: %w", err)
	}
	temporary := f.Name()
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("sample warehouse: %w", err), os.Remove(temporary))
		}
	}()
	if err := f.Close(); err != nil {
		return err
	}
	if err := fill(ctx, temporary, d); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

func fill(ctx context.Context, path string, d *data.Dataset) error {
	// What is written is thrown away if it does not come to its end.
	address := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: "_pragma=journal_mode(off)&_pragma=synchronous(off)"}
	c, err := sqlite.NewConnector(address.String())
	if err != nil {
		return err
	}
	db := sql.OpenDB(c)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	if err = insert(ctx, tx, d); err == nil {
		err = tx.Commit()
	} else {
		err = errors.Join(err, tx.Rollback())
	}
	return errors.Join(err, db.Close())
}

func insert(ctx context.Context, tx *sql.Tx, d *data.Dataset) error {
	w := &writer{ctx: ctx, tx: tx}
	for _, s := range schema {
		w.do(s)
	}
	w.do("INSERT INTO about VALUES (?, ?)", stamp(d.Now), data.Currency)
	customer := w.prepare("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)")
	for i := range d.Customers {
		c := &d.Customers[i]
		w.run(customer, c.ID, c.Name, c.Segment, c.Industry, c.Plan, c.Region)
	}
	order := w.prepare("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
	item := w.prepare("INSERT INTO order_items VALUES (?, ?, ?, ?, ?, ?, ?)")
	for i := range d.Orders {
		o := &d.Orders[i]
		w.run(order, o.ID, o.CustomerID, stamp(o.Placed), o.Status, int64(o.Subtotal), int64(o.Discount), int64(o.Shipping), int64(o.Total), o.Currency)
		for n, it := range o.Items {
			w.run(item, o.ID, n+1, it.SKU, it.Name, it.Quantity, int64(it.UnitPrice), int64(it.Amount))
		}
	}
	return w.err
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// writer does nothing more after the first error.
type writer struct {
	ctx context.Context //nolint:containedctx // of one call
	tx  *sql.Tx
	err error
}

func (w *writer) do(text string, args ...any) {
	if w.err == nil {
		_, w.err = w.tx.ExecContext(w.ctx, text, args...)
	}
}

func (w *writer) prepare(text string) *sql.Stmt {
	if w.err != nil {
		return nil
	}
	var s *sql.Stmt
	s, w.err = w.tx.PrepareContext(w.ctx, text) // closed with the transaction
	return s
}

func (w *writer) run(s *sql.Stmt, args ...any) {
	if w.err == nil {
		_, w.err = s.ExecContext(w.ctx, args...)
	}
}
