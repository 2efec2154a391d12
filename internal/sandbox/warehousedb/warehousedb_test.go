package warehousedb_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/data"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/warehousedb"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

func TestMain(m *testing.M) {
	egress.Poison()
	goleak.VerifyTestMain(m)
}

// statements are tools of a warehouse, as a configuration may have them.
var statements = map[string]sqldb.Statement{
	"recent_orders": {Params: map[string]sqldb.Param{"customer_id": {Required: true}, "limit": {Type: "integer", Default: json.RawMessage("5")}},
		SQL: `SELECT o.order_id, o.placed_at, o.status, o.total_cents / 100.0 AS total, o.currency,
			(SELECT group_concat(i.quantity || ' x ' || i.name, '; ') FROM order_items i WHERE i.order_id = o.order_id) AS summary
			FROM orders o WHERE o.customer_id = upper(:customer_id) ORDER BY o.placed_at DESC LIMIT :limit`},
	"get_order": {Params: map[string]sqldb.Param{"order_id": {Required: true}},
		SQL: `SELECT o.order_id, c.customer_id, c.name AS customer_name, o.placed_at, o.status, i.line, i.sku, i.name, i.quantity, i.amount_cents / 100.0 AS amount, o.total_cents / 100.0 AS order_total, o.currency
			FROM orders o JOIN customers c USING (customer_id) JOIN order_items i USING (order_id) WHERE o.order_id = upper(:order_id) ORDER BY i.line`},
	"revenue_by_month": {Params: map[string]sqldb.Param{"customer_id": {}, "months": {Type: "integer", Default: json.RawMessage("6")}},
		SQL: `SELECT strftime('%Y-%m', placed_at) AS month, count(*) AS orders, sum(total_cents) / 100.0 AS revenue FROM orders, about
			WHERE status NOT IN ('cancelled', 'returned') AND (:customer_id IS NULL OR customer_id = upper(:customer_id))
			AND placed_at >= strftime('%Y-%m-%dT00:00:00Z', as_of, 'start of month', '-' || (:months - 1) || ' months') GROUP BY 1 ORDER BY 1`},
	"top_customers": {Params: map[string]sqldb.Param{"limit": {Type: "integer", Default: json.RawMessage("10")}},
		SQL: `SELECT c.customer_id, c.name, c.segment, count(*) AS orders, sum(o.total_cents) / 100.0 AS revenue FROM orders o JOIN customers c USING (customer_id)
			WHERE o.status NOT IN ('cancelled', 'returned') GROUP BY 1 ORDER BY revenue DESC LIMIT :limit`},
}

func TestWarehouse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "warehouse.db")
	d := data.Generate(time.Time{})
	for range 2 { // the second replaces the first
		if err := warehousedb.Write(t.Context(), path, d); err != nil {
			t.Fatal(err)
		}
	}
	opt := sqldb.Options{ID: "warehouse", Driver: sqldb.SQLite, Query: true, Statements: statements, MaxRows: 1000}
	c, err := opt.Connector("sqlite:" + path)
	if err != nil {
		t.Fatal(err)
	}
	a, err := sqldb.New(t.Context(), opt, sql.OpenDB(c))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close() //nolint:errcheck // of a test
	rows := func(tool, args string) [][]any {
		t.Helper()
		r, err := a.Call(t.Context(), &upstream.Call{Op: upstream.CallTool, Name: tool, Arguments: json.RawMessage(args), Timing: &upstream.Timing{}})
		if err != nil || r.IsError {
			t.Fatal(r, err)
		}
		var table struct{ Rows [][]any }
		body, _ := r.Get("structuredContent")
		if err := json.Unmarshal(body, &table); err != nil {
			t.Fatal(err)
		}
		return table.Rows
	}
	var revenue, items float64
	for i := range d.Orders {
		if d.Orders[i].Counts() {
			revenue += float64(d.Orders[i].Total)
		}
		items += float64(len(d.Orders[i].Items))
	}
	got := rows("query", `{"sql":"SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM orders), (SELECT count(*) FROM order_items), (SELECT sum(total_cents) FROM orders WHERE status NOT IN ('cancelled', 'returned'))"}`)[0]
	for i, want := range []float64{data.Count, float64(len(d.Orders)), items, revenue} {
		if got[i] != want {
			t.Errorf("%d: %v, want %v", i, got[i], want)
		}
	}
	last := d.Orders[len(d.Orders)-1]
	if got := rows("recent_orders", `{"customer_id":"`+strings.ToLower(last.CustomerID)+`"}`); len(got) != 5 && len(got) == 0 || got[0][0] != last.ID {
		t.Errorf("recent orders: %v", got)
	}
	if got := rows("get_order", `{"order_id":"`+last.ID+`"}`); len(got) != len(last.Items) {
		t.Errorf("order: %v", got)
	}
	if got := rows("revenue_by_month", `{}`); len(got) != 6 || got[5][0] != d.Now.Format("2006-01") {
		t.Errorf("revenue: %v", got)
	}
	if got := rows("top_customers", `{"limit":3}`); len(got) != 3 || got[0][4].(float64) < got[1][4].(float64) { //nolint:forcetypeassert // of a test
		t.Errorf("top: %v", got)
	}
}

func TestNowhere(t *testing.T) {
	dir := t.TempDir()
	if err := warehousedb.Write(t.Context(), filepath.Join(dir, "none", "w.db"), data.Generate(time.Time{})); err == nil {
		t.Error("a directory that there is not")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := warehousedb.Write(ended, filepath.Join(dir, "w.db"), data.Generate(time.Time{})); err == nil {
		t.Error("written after the end")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}
