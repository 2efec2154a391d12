package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/data"
)

type tickets struct {
	directory
	now      time.Time
	contacts map[string]string // the primary contact's name, by customer

	// mu guards all; a comment list only ever grows, so a copied record stays
	// good after mu is released.
	mu     sync.Mutex
	all    []data.Ticket // oldest first; the position follows from the id
	writes int
}

// firstTicket is the number of all[0].
const firstTicket = 20001

func newTickets(d *data.Dataset) *tickets {
	t := &tickets{directory: newDirectory(d), now: d.Now, contacts: map[string]string{}, all: d.Tickets}
	for _, p := range d.Contacts {
		if p.Primary {
			t.contacts[p.CustomerID] = p.Name
		}
	}
	return t
}

func (t *tickets) actions() []action {
	priority := param{name: "priority", enum: data.Priorities(), description: "Only tickets of this priority."}
	urgency := param{name: "priority", enum: data.Priorities(), fallback: "normal", description: "How urgent it is."}
	return []action{
		{
			name: "open_tickets", title: "Open tickets", traits: read(), run: t.open,
			description: "Returns a customer's tickets that are not solved, most urgent first, then oldest: id, subject, priority, status, age in days and the order concerned.",
			params:      params{customerID()},
		},
		{
			name: "search_tickets", title: "Search tickets", traits: read(), run: t.search,
			description: "Finds tickets of all customers by words in subject, text, comments or customer name, newest first. Pass ticket_id to get_ticket for the whole ticket.",
			params: params{
				{name: "query", required: true, max: 100, description: "Words to look for. All must match."},
				{name: "status", enum: data.TicketStatuses(), description: "Only tickets in this status."},
				priority, limit(10)},
		},
		{
			name: "get_ticket", title: "Get ticket", traits: read(), run: t.get,
			description: "Returns one ticket with its text and all comments.",
			params:      params{ticketID()},
		},
		{
			name: "create_ticket", title: "Create ticket", traits: write(), run: t.create,
			description: "Opens a new ticket for a customer and returns it with its ticket_id. Kept in memory until the sandbox stops.",
			params: params{customerID(),
				{name: "subject", required: true, max: 200, description: "One line that says what is wrong."},
				{name: "body", max: 4000, description: "The details, as plain text."},
				urgency},
		},
		{
			name: "add_comment", title: "Add comment", traits: write(), run: t.comment,
			description: "Adds a comment to a ticket; get_ticket returns it from then on. Does not change the status. Kept in memory until the sandbox stops.",
			params: params{ticketID(),
				{name: "text", required: true, max: 4000, description: "The comment, as plain text."}},
		},
	}
}

// row is a ticket in a list.
type row struct {
	ID         string    `json:"ticket_id"`
	CustomerID string    `json:"customer_id"`
	Subject    string    `json:"subject"`
	Priority   string    `json:"priority"`
	Status     string    `json:"status"`
	Opened     time.Time `json:"opened_at"`
	AgeDays    int       `json:"age_days"`
	OrderID    string    `json:"order_id,omitempty"`
	Requester  string    `json:"requester"`
	Comments   int       `json:"comments"`
}

func (t *tickets) row(k *data.Ticket) row {
	return row{k.ID, k.CustomerID, k.Subject, k.Priority, k.Status, k.Opened, t.age(k), k.OrderID, k.Requester, len(k.Comments)}
}

func (t *tickets) age(k *data.Ticket) int { return int(t.now.Sub(k.Opened) / (24 * time.Hour)) }

func (t *tickets) open(in args) (any, error) {
	rec, err := t.customer(in.text["customer_id"])
	if err != nil {
		return nil, err
	}
	rows := []row{}
	t.mu.Lock()
	for i := range t.all {
		if k := &t.all[i]; k.CustomerID == rec.ID && k.Open() {
			rows = append(rows, t.row(k))
		}
	}
	t.mu.Unlock()
	urgency := data.Priorities()
	slices.SortStableFunc(rows, func(a, b row) int {
		return slices.Index(urgency, b.Priority) - slices.Index(urgency, a.Priority)
	})
	return struct {
		ID      string `json:"customer_id"`
		Name    string `json:"customer_name"`
		AsOf    string `json:"as_of"`
		Count   int    `json:"open"`
		Tickets []row  `json:"tickets"`
	}{rec.ID, rec.Name, asOf(t.now), len(rows), rows}, nil
}

func (t *tickets) search(in args) (any, error) {
	query, status, priority := strings.ToLower(in.text["query"]), in.text["status"], in.text["priority"]
	out := struct {
		Found   int    `json:"found"` // all that match, not only those returned
		AsOf    string `json:"as_of"`
		Tickets []row  `json:"tickets"`
	}{AsOf: asOf(t.now), Tickets: []row{}}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range slices.Backward(t.all) {
		k := &t.all[i]
		if (status != "" && k.Status != status) || (priority != "" && k.Priority != priority) || !hasWords(t.haystack(k), query) {
			continue
		}
		if out.Found++; out.Found <= in.number["limit"] {
			out.Tickets = append(out.Tickets, t.row(k))
		}
	}
	return out, nil
}

func (t *tickets) haystack(k *data.Ticket) string {
	text := []string{k.ID, k.Subject, k.Body, k.CustomerID, t.byID[k.CustomerID].Name, k.Requester, k.OrderID}
	for _, c := range k.Comments {
		text = append(text, c.Text)
	}
	return strings.ToLower(strings.Join(text, "\n"))
}

// whole is a ticket as get_ticket and create_ticket return it.
type whole struct {
	Name    string      `json:"customer_name"`
	AgeDays int         `json:"age_days"`
	Ticket  data.Ticket `json:"ticket"`
}

func (t *tickets) get(in args) (any, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, err := t.find(in.text["ticket_id"])
	if err != nil {
		return nil, err
	}
	return whole{t.byID[k.CustomerID].Name, t.age(k), *k}, nil
}

// find returns the ticket with that id. The caller holds mu.
func (t *tickets) find(id string) (*data.Ticket, error) {
	var n int
	if _, err := fmt.Sscanf(strings.ToUpper(id), "T-%d", &n); err == nil {
		if i := n - firstTicket; i >= 0 && i < len(t.all) && strings.EqualFold(t.all[i].ID, id) {
			return &t.all[i], nil
		}
	}
	return nil, notFound("there is no ticket %q; ids run from %s to %s, open_tickets lists those of a customer",
		id, t.all[0].ID, t.all[len(t.all)-1].ID)
}

func (t *tickets) create(in args) (any, error) {
	rec, err := t.customer(in.text["customer_id"])
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writes >= maxWrites {
		return nil, errFull()
	}
	t.writes++
	k := data.Ticket{
		ID: fmt.Sprintf("T-%d", firstTicket+len(t.all)), CustomerID: rec.ID,
		Subject: in.text["subject"], Body: in.text["body"], Priority: in.text["priority"],
		Status: "open", Requester: t.contacts[rec.ID],
		Opened: t.now, Updated: t.now, Comments: []data.Comment{},
	}
	t.all = append(t.all, k)
	return whole{rec.Name, 0, k}, nil
}

func (t *tickets) comment(in args) (any, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, err := t.find(in.text["ticket_id"])
	if err != nil {
		return nil, err
	}
	if t.writes >= maxWrites {
		return nil, errFull()
	}
	t.writes++
	c := data.Comment{Author: in.by, Text: in.text["text"], At: t.now}
	k.Comments = append(k.Comments, c)
	k.Updated = t.now
	return struct {
		ID      string       `json:"ticket_id"`
		Comment data.Comment `json:"comment"`
		Count   int          `json:"comments"` // on this ticket, with this one
	}{k.ID, c, len(k.Comments)}, nil
}
