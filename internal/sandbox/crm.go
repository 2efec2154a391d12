package sandbox

import (
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/data"
)

// note is what add_note leaves on a customer.
type note struct {
	Author string    `json:"author"`
	Text   string    `json:"text"`
	At     time.Time `json:"at"`
}

type crm struct {
	directory
	now      time.Time
	contacts map[string][]data.Contact // by customer

	mu     sync.Mutex
	notes  map[string][]note // by customer, oldest first
	writes int
}

func newCRM(d *data.Dataset) *crm {
	c := &crm{directory: newDirectory(d), now: d.Now, contacts: map[string][]data.Contact{}, notes: map[string][]note{}}
	for _, p := range d.Contacts {
		c.contacts[p.CustomerID] = append(c.contacts[p.CustomerID], p)
	}
	return c
}

func (c *crm) actions() []action {
	return []action{
		{
			name: "find_customers", title: "Find customers", traits: read(), run: c.find,
			description: "Finds customers by name, id, industry or account owner. Returns id, name, segment, plan, owner and MRR of each; " +
				"pass customer_id on to the other tools of crm, warehouse and tickets.",
			params: params{
				{name: "query", required: true, max: 100, description: "Words to look for, e.g. part of the company's name. All must match."},
				{name: "segment", enum: data.Segments(), description: "Only customers of this segment."},
				limit(10),
			},
		},
		{
			name: "get_customer", title: "Get customer", traits: read(), run: c.get,
			description: "Returns the full CRM record of one customer: segment, industry, plan, MRR, region, account owner, health, renewal date, and the notes on it.",
			params:      params{customerID()},
		},
		{
			name: "list_contacts", title: "List contacts", traits: read(), run: c.list,
			description: "Returns the people at one customer with role, e-mail address and telephone number; the primary contact first.",
			params:      params{customerID()},
		},
		{
			name: "add_note", title: "Add note", traits: write(), run: c.addNote,
			description: "Writes a note onto a customer's record; get_customer returns it from then on. Kept in memory until the sandbox stops.",
			params: params{customerID(),
				{name: "text", required: true, max: 2000, description: "The note, as plain text."}},
		},
	}
}

func (c *crm) find(in args) (any, error) {
	type match struct {
		ID      string     `json:"customer_id"`
		Name    string     `json:"name"`
		Segment string     `json:"segment"`
		Plan    string     `json:"plan"`
		Owner   string     `json:"owner"`
		MRR     data.Money `json:"mrr"`
	}
	out := struct {
		Found     int      `json:"found"` // all, not only those returned
		Currency  string   `json:"currency"`
		Customers []match  `json:"customers"`
		Nearest   []string `json:"did_you_mean,omitempty"`
	}{Currency: data.Currency, Customers: []match{}}
	all := c.search(in.text["query"], in.text["segment"])
	out.Found = len(all)
	for _, m := range all[:min(len(all), in.number["limit"])] {
		out.Customers = append(out.Customers, match{m.ID, m.Name, m.Segment, m.Plan, m.Owner, m.MRR})
	}
	if len(all) == 0 {
		for _, m := range c.nearest(in.text["query"], 3) {
			out.Nearest = append(out.Nearest, m.Name)
		}
	}
	return out, nil
}

func (c *crm) get(in args) (any, error) {
	rec, err := c.customer(in.text["customer_id"])
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	notes := append([]note{}, c.notes[rec.ID]...)
	c.mu.Unlock()
	return struct {
		Customer *data.Customer `json:"customer"`
		Notes    []note         `json:"notes"`
		AsOf     string         `json:"as_of"`
	}{rec, notes, asOf(c.now)}, nil
}

func (c *crm) list(in args) (any, error) {
	rec, err := c.customer(in.text["customer_id"])
	if err != nil {
		return nil, err
	}
	return struct {
		ID       string         `json:"customer_id"`
		Name     string         `json:"customer_name"`
		Contacts []data.Contact `json:"contacts"`
	}{rec.ID, rec.Name, slices.Clone(c.contacts[rec.ID])}, nil
}

func (c *crm) addNote(in args) (any, error) {
	rec, err := c.customer(in.text["customer_id"])
	if err != nil {
		return nil, err
	}
	n := note{Author: in.by, Text: in.text["text"], At: c.now}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writes >= maxWrites {
		return nil, errFull()
	}
	c.writes++
	c.notes[rec.ID] = append(c.notes[rec.ID], n)
	return struct {
		ID    string `json:"customer_id"`
		Note  note   `json:"note"`
		Count int    `json:"notes"` // on this customer, with this one
	}{rec.ID, n, len(c.notes[rec.ID])}, nil
}

func asOf(now time.Time) string { return now.Format(time.DateOnly) }
