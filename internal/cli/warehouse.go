package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/data"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/warehousedb"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// warehouse is the sample warehouse: a SQLite file of its own, asked as any other
// database, and as slow as it is told to be.
type warehouse struct {
	database
	latency time.Duration
	dir     string
}

// database is what newSQL builds.
type database interface {
	plain
	upstream.Watcher
}

// newWarehouse writes the sample warehouse. Without statements of the operator's
// it has those of the sample.
func newWarehouse(ctx context.Context, w *wiring, u config.Upstream, signedIn *atomic.Pointer[signIn]) (_ upstream.Adapter, err error) {
	dir, err := os.MkdirTemp("", "bulkhead-warehouse-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	file := filepath.Join(dir, "warehouse.db")
	if err := warehousedb.Write(ctx, file, data.Generate(time.Time{})); err != nil {
		return nil, err
	}
	u.Sandbox, u.SQL.Database = "", config.EnvValue{Literal: "sqlite:" + file}
	if u.SQL.Statements == nil {
		u.SQL.Statements = sampleStatements()
	}
	a, err := newSQL(ctx, w, u, signedIn)
	if err != nil {
		return nil, err
	}
	return &warehouse{a.(database), u.Latency, dir}, nil //nolint:errcheck // it is what newSQL returns
}

// Call implements upstream.Adapter. The latency passes before anything is asked.
func (w *warehouse) Call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	select {
	case <-time.After(w.latency):
	case <-ctx.Done():
		e := upstream.AsError(c.Upstream, c.Name, context.Cause(ctx))
		e.Sent = false
		return nil, e
	}
	return w.database.Call(ctx, c)
}

// Close implements upstream.Adapter.
func (w *warehouse) Close() error { return errors.Join(w.database.Close(), os.RemoveAll(w.dir)) }

// sampleStatements are the tools of the sample warehouse.
func sampleStatements() map[string]*config.Statement {
	customer := &config.Param{Type: "string", Required: true, Doc: "Customer id such as C-1001, from crm find_customers. Not a name."}
	anyone := &config.Param{Type: "string", Doc: "Customer id such as C-1001; leave it out for all customers together."}
	const sold = "status NOT IN ('cancelled', 'returned')"
	return map[string]*config.Statement{
		"recent_orders": {
			Description: "Returns a customer's orders of the last 12 months, newest first: id, date, status, total and what was ordered; found is how many there are. Pass order_id to get_order for the single items.",
			Params: map[string]*config.Param{
				"customer_id": customer,
				"status":      {Type: "string", Enum: data.OrderStatuses(), Doc: "Only orders in this status."},
				"limit":       {Type: "integer", Default: int64(5), Doc: "Return at most this many."},
			},
			SQL: `SELECT o.order_id, o.placed_at, o.status, o.total_cents / 100.0 AS total, o.currency,
				(SELECT group_concat(i.quantity || ' x ' || i.name, '; ') FROM order_items i WHERE i.order_id = o.order_id) AS summary,
				count(*) OVER () AS found
				FROM orders o WHERE o.customer_id = upper(:customer_id) AND (:status IS NULL OR o.status = :status)
				ORDER BY o.placed_at DESC, o.order_id DESC LIMIT :limit`,
		},
		"get_order": {
			Description: "Returns the items of one order with their prices, a row for each, and the order's total.",
			Params:      map[string]*config.Param{"order_id": {Type: "string", Required: true, Doc: "Order id such as O-100001, from recent_orders or a ticket's order_id."}},
			SQL: `SELECT o.order_id, c.customer_id, c.name AS customer_name, o.placed_at, o.status, i.line, i.sku, i.name, i.quantity,
				i.amount_cents / 100.0 AS amount, o.total_cents / 100.0 AS order_total, o.currency
				FROM orders o JOIN customers c USING (customer_id) JOIN order_items i USING (order_id)
				WHERE o.order_id = upper(:order_id) ORDER BY i.line`,
		},
		"revenue_by_month": {
			Description: "Returns revenue and number of orders per calendar month, oldest first, of one customer or of all. Cancelled and returned orders do not count.",
			Params:      map[string]*config.Param{"customer_id": anyone, "months": {Type: "integer", Default: int64(6), Doc: "How many months back, this one included."}},
			SQL: `SELECT strftime('%Y-%m', placed_at) AS month, count(*) AS orders, sum(total_cents) / 100.0 AS revenue FROM orders, about
				WHERE ` + sold + ` AND (:customer_id IS NULL OR customer_id = upper(:customer_id))
				AND placed_at >= date(as_of, 'start of month', '-' || (:months - 1) || ' months') GROUP BY month ORDER BY month`,
		},
		"top_customers": {
			Description: "Returns the customers with the highest revenue of the last 12 months, best first, with customer_id, revenue and number of orders. Cancelled and returned orders do not count.",
			Params:      map[string]*config.Param{"limit": {Type: "integer", Default: int64(10), Doc: "Return at most this many."}},
			SQL: `SELECT c.customer_id, c.name, c.segment, count(*) AS orders, sum(o.total_cents) / 100.0 AS revenue
				FROM orders o JOIN customers c USING (customer_id) WHERE o.` + sold + `
				GROUP BY c.customer_id ORDER BY revenue DESC, c.customer_id LIMIT :limit`,
		},
	}
}
