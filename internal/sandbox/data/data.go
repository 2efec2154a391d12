// Package data makes the sandbox's sample data: customers, contacts, orders
// and tickets that belong together.
//
// Job: one pure function, [Generate], from a reference time to a [Dataset].
// It owns the types, the word lists and the relations between the records: an
// order belongs to a customer that exists, its amounts add up, a ticket that
// names an order names one of the same customer placed earlier, and a customer
// at risk has more open tickets and fewer recent orders than a healthy one.
// All companies and people are invented; addresses end in .example (RFC 2606)
// and telephone numbers are of the 555-01xx block kept for fiction.
//
// It must not know how the data is served, and imports no package of ours.
package data

import (
	"strconv"
	"time"
)

// Currency is the ISO 4217 code of every amount.
const Currency = "EUR"

// Count is the number of customers.
const Count = 300

// Reference is the default "now" of the sample data. It is fixed so that two
// runs on different days print the same.
func Reference() time.Time { return time.Date(2026, time.June, 30, 18, 0, 0, 0, time.UTC) }

// Money is an amount in hundredths of [Currency]. In JSON it is a number with
// two decimals.
type Money int64

// MarshalJSON writes exact decimals; a float would not add up.
func (m Money) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

func (m Money) String() string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	cents := strconv.Itoa(int(m % 100))
	if len(cents) == 1 {
		cents = "0" + cents
	}
	return sign + strconv.FormatInt(int64(m/100), 10) + "." + cents
}

// Customer is a record of the CRM.
type Customer struct {
	ID       string `json:"customer_id"` // "C-1001" onwards
	Name     string `json:"name"`
	Segment  string `json:"segment"` // one of Segments
	Industry string `json:"industry"`
	Plan     string `json:"plan"`   // one of Plans
	Region   string `json:"region"` // one of Regions
	Owner    string `json:"owner"`  // the account owner on our side
	Health   string `json:"health"` // one of Healths
	MRR      Money  `json:"mrr"`    // monthly recurring revenue
	Currency string `json:"currency"`
	Since    string `json:"customer_since"` // YYYY-MM-DD
	Renewal  string `json:"renewal"`        // YYYY-MM-DD, the next one
	Website  string `json:"website"`
}

// Contact is a person at a customer.
type Contact struct {
	ID         string `json:"contact_id"`
	CustomerID string `json:"customer_id"`
	Name       string `json:"name"`
	Role       string `json:"role"`
	Email      string `json:"email"`
	Phone      string `json:"phone"`
	Primary    bool   `json:"primary"` // exactly one per customer
}

// Item is one line of an order; Amount is Quantity times UnitPrice.
type Item struct {
	SKU       string `json:"sku"`
	Name      string `json:"name"`
	Quantity  int    `json:"quantity"`
	UnitPrice Money  `json:"unit_price"`
	Amount    Money  `json:"amount"`
}

// Order is a record of the warehouse. Subtotal is the sum of the items' amounts
// and Total is Subtotal minus Discount plus Shipping.
type Order struct {
	ID         string    `json:"order_id"` // "O-100001" onwards, in order of time
	CustomerID string    `json:"customer_id"`
	Placed     time.Time `json:"placed_at"`
	Status     string    `json:"status"` // one of OrderStatuses
	Items      []Item    `json:"items"`
	Subtotal   Money     `json:"subtotal"`
	Discount   Money     `json:"discount"`
	Shipping   Money     `json:"shipping"`
	Total      Money     `json:"total"`
	Currency   string    `json:"currency"`
}

// Counts reports whether the order is revenue: neither cancelled nor returned.
func (o *Order) Counts() bool { return o.Status != "cancelled" && o.Status != "returned" }

// Comment is one entry under a ticket.
type Comment struct {
	Author string    `json:"author"`
	Text   string    `json:"text"`
	At     time.Time `json:"at"`
}

// Ticket is a record of the ticket system.
type Ticket struct {
	ID         string    `json:"ticket_id"` // "T-20001" onwards, in order of time
	CustomerID string    `json:"customer_id"`
	OrderID    string    `json:"order_id,omitempty"` // the order it is about, if any
	Subject    string    `json:"subject"`
	Body       string    `json:"body"`
	Priority   string    `json:"priority"` // one of Priorities
	Status     string    `json:"status"`   // one of TicketStatuses
	Requester  string    `json:"requester"`
	Opened     time.Time `json:"opened_at"`
	Updated    time.Time `json:"updated_at"`
	Comments   []Comment `json:"comments"` // oldest first
}

// Open reports whether somebody still has to do something.
func (t *Ticket) Open() bool { return t.Status != "solved" }

// Dataset is everything. Slices are sorted by ID. It is shared between
// readers: copy a record before changing it.
type Dataset struct {
	Now       time.Time
	Customers []Customer
	Contacts  []Contact
	Orders    []Order
	Tickets   []Ticket
}

// Segments returns the values of Customer.Segment.
func Segments() []string {
	return []string{"small_business", "mid_market", "enterprise", "public_sector"}
}

// Plans returns the values of Customer.Plan.
func Plans() []string { return []string{"starter", "business", "enterprise"} }

// Regions returns the values of Customer.Region.
func Regions() []string {
	return []string{"europe", "north_america", "asia_pacific", "latin_america"}
}

// Healths returns the values of Customer.Health, best first.
func Healths() []string { return []string{"healthy", "watch", "churn_risk"} }

// OrderStatuses returns the values of Order.Status.
func OrderStatuses() []string {
	return []string{"processing", "shipped", "delivered", "returned", "cancelled"}
}

// TicketStatuses returns the values of Ticket.Status; all but the last are open.
func TicketStatuses() []string { return []string{"open", "waiting", "solved"} }

// Priorities returns the values of Ticket.Priority, least urgent first.
func Priorities() []string { return []string{"low", "normal", "high", "urgent"} }
