package demo

import (
	"encoding/json"
	"time"
)

// Summary is the answer in a few facts. A part is nil where its source failed.
type Summary struct {
	Record  *Record  `json:"record,omitempty"`
	Orders  *Orders  `json:"orders,omitempty"`
	Tickets *Tickets `json:"tickets,omitempty"`
}

// Record is what the CRM says.
type Record struct {
	Name     string      `json:"name"`
	Segment  string      `json:"segment"`
	Plan     string      `json:"plan"`
	Region   string      `json:"region"`
	Owner    string      `json:"owner"`
	Health   string      `json:"health"`
	MRR      json.Number `json:"mrr"` // monthly recurring revenue
	Currency string      `json:"currency"`
	Since    string      `json:"customer_since"`
}

// Orders are the latest, newest first, out of Found.
type Orders struct {
	Found    int     `json:"found"`
	Currency string  `json:"currency"`
	Latest   []Order `json:"orders"` // three at most
}

// Order is one order.
type Order struct {
	ID      string      `json:"order_id"`
	Placed  time.Time   `json:"placed_at"`
	Status  string      `json:"status"`
	Total   json.Number `json:"total"`
	Summary string      `json:"summary"`
}

// Tickets are those that are open, most urgent first.
type Tickets struct {
	Open int      `json:"open"`
	Ever int      `json:"ever,omitempty"` // solved ones too; 0 if that is not known
	List []Ticket `json:"tickets"`
}

// Ticket is one ticket.
type Ticket struct {
	ID       string `json:"ticket_id"`
	Priority string `json:"priority"`
	AgeDays  int    `json:"age_days"`
	Subject  string `json:"subject"`
}

const latestOrders = 3

// summarise reads the structured results, in the order of the plan. What
// cannot be read is left out: the sources may be the user's own.
func summarise(results []json.RawMessage) Summary {
	var s Summary
	if crm := decode[struct {
		Customer *Record `json:"customer"`
	}](results[0]); crm != nil {
		s.Record = crm.Customer
	}
	s.Orders = orders(results[1])
	s.Tickets = decode[Tickets](results[2])
	if all := decode[struct {
		Found int `json:"found"`
	}](results[3]); all != nil && s.Tickets != nil {
		s.Tickets.Ever = max(all.Found, 0)
	}
	if s.Orders != nil && len(s.Orders.Latest) > latestOrders {
		s.Orders.Latest = s.Orders.Latest[:latestOrders]
	}
	return s
}

// orders reads a table of orders, however its columns are ordered.
func orders(raw json.RawMessage) *Orders {
	t := decode[struct {
		Columns []struct{ Name string }
		Rows    [][]json.RawMessage
	}](raw)
	if t == nil || len(t.Columns) == 0 {
		return nil
	}
	out := &Orders{}
	for _, row := range t.Rows {
		cells := map[string]json.RawMessage{}
		for i, c := range t.Columns {
			if i < len(row) {
				cells[c.Name] = row[i]
			}
		}
		text, err := json.Marshal(cells)
		if err != nil {
			return nil
		}
		line := decode[struct {
			Order
			Currency string `json:"currency"`
			Found    int    `json:"found"`
		}](text)
		if line == nil {
			return nil
		}
		out.Latest = append(out.Latest, line.Order)
		out.Currency, out.Found = line.Currency, line.Found
	}
	return out
}

func decode[T any](raw json.RawMessage) *T {
	v := new(T)
	if raw == nil || json.Unmarshal(raw, v) != nil {
		return nil
	}
	return v
}
