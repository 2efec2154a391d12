package data

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

func (d *Dataset) tickets() {
	orders := make(map[string][]Order, len(d.Customers))
	for _, o := range d.Orders {
		orders[o.CustomerID] = append(orders[o.CustomerID], o)
	}
	people := make(map[string][]Contact, len(d.Customers))
	for _, p := range d.Contacts {
		people[p.CustomerID] = append(people[p.CustomerID], p)
	}
	for i := range d.Customers {
		c := &d.Customers[i]
		desk := desk{Dataset: d, r: stream(i, streamTickets), customer: c, orders: orders[c.ID], people: people[c.ID]}
		d.Tickets = append(d.Tickets, desk.tickets()...)
	}
	slices.SortStableFunc(d.Tickets, func(a, b Ticket) int { return a.Opened.Compare(b.Opened) })
	for i := range d.Tickets {
		d.Tickets[i].ID = fmt.Sprintf("T-%d", 20001+i)
	}
}

// desk makes the tickets of one customer.
type desk struct {
	*Dataset
	r        *rand.Rand
	customer *Customer
	orders   []Order
	people   []Contact
	last     string // the subject before this one, so that none follows itself
}

func (d *desk) tickets() []Ticket {
	var unsolved int
	switch d.customer.Health {
	case "churn_risk":
		unsolved = between(d.r, 3, 5)
	case "watch":
		unsolved = between(d.r, 1, 2)
	default:
		unsolved = max(0, between(d.r, -1, 1))
	}
	var out []Ticket
	for i := range unsolved {
		t := d.ticket(between(d.r, 2, 40))
		t.Status = weighted(d.r, TicketStatuses(), 70, 30, 0)
		if i == 0 && d.customer.Health == "churn_risk" {
			t.Status, t.Priority = "open", "urgent"
		}
		d.discuss(&t)
		out = append(out, t)
	}
	for range between(d.r, 1, 6) {
		t := d.ticket(between(d.r, 45, year-5))
		t.Status = "solved"
		d.discuss(&t)
		out = append(out, t)
	}
	return out
}

// ticket makes one that was opened so many days ago.
func (d *desk) ticket(ago int) Ticket {
	t := Ticket{
		CustomerID: d.customer.ID,
		Opened:     d.daysAgo(d.r, ago),
		Requester:  pick(d.r, d.people).Name,
		Priority:   weighted(d.r, Priorities(), 20, 50, 25, 5),
	}
	t.Updated = t.Opened
	for range 8 { // a few tries for a subject that differs from the last
		d.subject(&t)
		if t.Subject != d.last {
			break
		}
	}
	d.last = t.Subject
	return t
}

// subject makes the ticket about a product that the customer had bought by
// then or, one time in four, about something else.
func (d *desk) subject(t *Ticket) {
	o := d.orderBefore(t.Opened.AddDate(0, 0, -2))
	if o == nil || d.r.IntN(4) == 0 {
		about := pick(d.r, topics[:])
		t.Subject, t.Body, t.OrderID = about.subject, about.body, ""
		return
	}
	item := pick(d.r, o.Items)
	i := slices.IndexFunc(products[:], func(p product) bool { return p.sku == item.SKU })
	line := slices.IndexFunc(industries[:], func(l industry) bool { return l.name == d.customer.Industry })
	t.OrderID = o.ID
	t.Subject = fmt.Sprintf(pick(d.r, products[i].subjects), pick(d.r, industries[line].places))
	t.Body = t.Subject + ". " + fmt.Sprintf(pick(d.r, symptoms[:]), between(d.r, 1, item.Quantity), o.ID)
	if strings.HasPrefix(item.SKU, "TR-") || strings.HasPrefix(item.SKU, "IN-") {
		t.Body = t.Subject + ". It was booked with order " + o.ID + "; please call us to settle the details."
	}
}

// orderBefore picks one of the customer's orders that were placed before then
// and not cancelled; nil if there is none.
func (d *desk) orderBefore(then time.Time) *Order {
	var fit []*Order
	for i := range d.orders {
		if o := &d.orders[i]; o.Placed.Before(then) && o.Status != "cancelled" {
			fit = append(fit, o)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return pick(d.r, fit[max(0, len(fit)-3):]) // one of the latest
}

// discuss adds comments between the opening and now; whoever waits for an
// answer fits the status.
func (d *desk) discuss(t *Ticket) {
	agent := pick(d.r, agents[:])
	t.Comments = []Comment{} // so that JSON has a list even where there are none
	n := between(d.r, 0, 3)
	switch {
	case t.Status == "solved":
		n = max(n, 1)
	case t.Status == "waiting": // for the customer, so the agent spoke last
		n = 1 + n/2*2
	}
	at := t.Opened
	for i := range n {
		at = at.Add(time.Duration(between(d.r, 30, 9*60)) * time.Minute)
		c := Comment{Author: agent, Text: pick(d.r, agentReplies[:]), At: at}
		if i%2 == 1 {
			c.Author, c.Text = t.Requester, pick(d.r, customerReplies[:])
		}
		t.Comments = append(t.Comments, c)
	}
	if t.Status == "solved" {
		last := &t.Comments[n-1]
		last.Author, last.Text = agent, closing
	}
	t.Updated = at
}
