package sandbox

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/data"
)

type warehouse struct {
	directory
	now    time.Time
	orders []data.Order            // oldest first
	byID   map[string]*data.Order  // by order id
	of     map[string][]data.Order // by customer, newest first
}

func newWarehouse(d *data.Dataset) *warehouse {
	w := &warehouse{directory: newDirectory(d), now: d.Now, orders: d.Orders,
		byID: make(map[string]*data.Order, len(d.Orders)), of: map[string][]data.Order{}}
	for i := range slices.Backward(d.Orders) {
		o := &d.Orders[i]
		w.byID[o.ID] = o
		w.of[o.CustomerID] = append(w.of[o.CustomerID], *o)
	}
	return w
}

func (w *warehouse) actions() []action {
	return []action{
		{
			name: "recent_orders", title: "Recent orders", traits: read(), run: w.recent,
			description: "Returns a customer's orders of the last 12 months, newest first: id, date, status, total and what was ordered. " +
				"Pass order_id to get_order for the single items.",
			params: params{customerID(), limit(5),
				{name: "status", enum: data.OrderStatuses(), description: "Only orders in this status."}},
		},
		{
			name: "get_order", title: "Get order", traits: read(), run: w.get,
			description: "Returns one order with its items, prices, discount, shipping and total.",
			params:      params{orderID()},
		},
		{
			name: "revenue_by_month", title: "Revenue by month", traits: read(), run: w.revenue,
			description: "Returns revenue and number of orders per calendar month, oldest first, of one customer or of all. Cancelled and returned orders do not count.",
			params: params{
				{name: "customer_id", max: 20, description: "Customer id such as C-1001; leave it out for all customers together."},
				{name: "months", integer: true, max: 12, fallback: 6, description: "How many months back, this one included, 1 to 12."}},
		},
		{
			name: "top_customers", title: "Top customers", traits: read(), run: w.top,
			description: "Returns the customers with the highest revenue of the last 12 months, best first, with customer_id, revenue and number of orders. Cancelled and returned orders do not count.",
			params:      params{limit(10)},
		},
	}
}

func (w *warehouse) recent(in args) (any, error) {
	rec, err := w.customer(in.text["customer_id"])
	if err != nil {
		return nil, err
	}
	type line struct {
		ID      string     `json:"order_id"`
		Placed  time.Time  `json:"placed_at"`
		Status  string     `json:"status"`
		Total   data.Money `json:"total"`
		Summary string     `json:"summary"`
	}
	out := struct {
		ID       string `json:"customer_id"`
		Name     string `json:"customer_name"`
		AsOf     string `json:"as_of"`
		Currency string `json:"currency"`
		Found    int    `json:"found"` // all that match, not only those returned
		Orders   []line `json:"orders"`
	}{ID: rec.ID, Name: rec.Name, AsOf: asOf(w.now), Currency: data.Currency, Orders: []line{}}
	for _, o := range w.of[rec.ID] {
		if s := in.text["status"]; s != "" && o.Status != s {
			continue
		}
		if out.Found++; out.Found <= in.number["limit"] {
			out.Orders = append(out.Orders, line{o.ID, o.Placed, o.Status, o.Total, summary(o.Items)})
		}
	}
	return out, nil
}

func summary(items []data.Item) string {
	var parts []string
	for _, it := range items {
		parts = append(parts, fmt.Sprintf("%d x %s", it.Quantity, it.Name))
	}
	return strings.Join(parts, "; ")
}

func (w *warehouse) get(in args) (any, error) {
	o := w.byID[strings.ToUpper(in.text["order_id"])]
	if o == nil {
		return nil, notFound("there is no order %q; ids run from %s to %s, recent_orders lists those of a customer",
			in.text["order_id"], w.orders[0].ID, w.orders[len(w.orders)-1].ID)
	}
	rec, err := w.customer(o.CustomerID)
	if err != nil {
		return nil, err
	}
	return struct {
		Name  string      `json:"customer_name"`
		Order *data.Order `json:"order"`
	}{rec.Name, o}, nil
}

func (w *warehouse) revenue(in args) (any, error) {
	orders, who := w.orders, "all customers"
	if id := in.text["customer_id"]; id != "" {
		rec, err := w.customer(id)
		if err != nil {
			return nil, err
		}
		orders, who = w.of[rec.ID], rec.Name
	}
	type month struct {
		Month   string     `json:"month"` // YYYY-MM
		Orders  int        `json:"orders"`
		Revenue data.Money `json:"revenue"`
	}
	out := struct {
		Customer string     `json:"customer_name"`
		AsOf     string     `json:"as_of"`
		Currency string     `json:"currency"`
		Total    data.Money `json:"total"`
		Months   []month    `json:"months"`
	}{Customer: who, AsOf: asOf(w.now), Currency: data.Currency}
	n := in.number["months"]
	index := make(map[string]int, n)
	first := time.Date(w.now.Year(), w.now.Month(), 1, 0, 0, 0, 0, time.UTC).AddDate(0, 1-n, 0)
	for i := range n {
		name := first.AddDate(0, i, 0).Format("2006-01")
		index[name] = i
		out.Months = append(out.Months, month{Month: name})
	}
	for i := range orders {
		o := &orders[i]
		if m, ok := index[o.Placed.Format("2006-01")]; ok && o.Counts() {
			out.Months[m].Orders++
			out.Months[m].Revenue += o.Total
			out.Total += o.Total
		}
	}
	return out, nil
}

func (w *warehouse) top(in args) (any, error) {
	type row struct {
		Rank    int        `json:"rank"`
		ID      string     `json:"customer_id"`
		Name    string     `json:"name"`
		Segment string     `json:"segment"`
		Orders  int        `json:"orders"`
		Revenue data.Money `json:"revenue"`
	}
	var rows []row
	for _, c := range w.customers {
		r := row{ID: c.ID, Name: c.Name, Segment: c.Segment}
		for _, o := range w.of[c.ID] {
			if o.Counts() {
				r.Orders++
				r.Revenue += o.Total
			}
		}
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(b.Revenue, a.Revenue) })
	rows = rows[:min(len(rows), in.number["limit"])]
	for i := range rows {
		rows[i].Rank = i + 1
	}
	return struct {
		AsOf      string `json:"as_of"`
		Currency  string `json:"currency"`
		Customers []row  `json:"customers"`
	}{asOf(w.now), data.Currency, rows}, nil
}
