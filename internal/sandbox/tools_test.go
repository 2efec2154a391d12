package sandbox_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const first = "Tarnwick Freight" // C-1001, at risk

func TestFindCustomers(t *testing.T) {
	a := open(t, "crm")
	for _, q := range []string{first, "tarnwick freight", "  TARNWICK  ", "C-1001", "freight tarn"} {
		r := get[found](t, a, "find_customers", fmt.Sprintf(`{"query":%q}`, q))
		if r.Found < 1 || r.Customers[0].Name != first || r.Customers[0].ID != "C-1001" {
			t.Errorf("%q: %+v", q, r)
		}
	}
	all := get[found](t, a, "find_customers", `{"query":"freight"}`)
	if all.Found <= 10 || len(all.Customers) != 10 {
		t.Errorf("default limit: %d of %d", len(all.Customers), all.Found)
	}
	few := get[found](t, a, "find_customers", `{"query":"freight","segment":"enterprise","limit":2}`)
	if few.Found >= all.Found || len(few.Customers) != 2 {
		t.Errorf("segment and limit: %+v", few)
	}
	for _, c := range few.Customers {
		if c.Segment != "enterprise" {
			t.Errorf("%+v", c)
		}
	}
	none := get[found](t, a, "find_customers", `{"query":"Tarnvik Freigt"}`)
	if none.Found != 0 || len(none.Customers) != 0 || len(none.Nearest) != 3 || none.Nearest[0] != first {
		t.Errorf("misspelt: %+v", none)
	}
}

func TestCustomerAndNotes(t *testing.T) {
	a := open(t, "crm")
	r := get[record](t, a, "get_customer", `{"customer_id":" c-1001 "}`)
	if r.Customer.Name != first || r.Notes == nil || len(r.Notes) != 0 || r.AsOf != "2026-06-30" || r.Customer.MRR == "" {
		t.Errorf("%+v", r)
	}
	for i, text := range []string{"called, <b>no</b> answer", "second"} {
		got := get[struct {
			Note  note `json:"note"`
			Notes int  `json:"notes"`
		}](t, a, "add_note", fmt.Sprintf(`{"customer_id":"C-1001","text":%q}`, text))
		if got.Note != (note{"local", text}) || got.Notes != i+1 {
			t.Errorf("%+v", got)
		}
	}
	r = get[record](t, a, "get_customer", `{"customer_id":"C-1001"}`)
	if !slices.Equal(r.Notes, []note{{"local", "called, <b>no</b> answer"}, {"local", "second"}}) {
		t.Errorf("notes: %+v", r.Notes)
	}
	if r := get[record](t, a, "get_customer", `{"customer_id":"C-1002"}`); len(r.Notes) != 0 {
		t.Errorf("a note on another customer: %+v", r.Notes)
	}
	people := get[struct {
		Name     string `json:"customer_name"`
		Contacts []struct {
			Primary bool
			Email   string
		} `json:"contacts"`
	}](t, a, "list_contacts", `{"customer_id":"C-1001"}`)
	if people.Name != first || len(people.Contacts) < 2 || !people.Contacts[0].Primary || !strings.HasSuffix(people.Contacts[0].Email, "@tarnwick-freight.example") {
		t.Errorf("%+v", people)
	}
}

func TestOrders(t *testing.T) {
	a := open(t, "warehouse")
	r := get[orders](t, a, "recent_orders", `{"customer_id":"C-1001","limit":50}`)
	if r.Name != first || r.Found != len(r.Orders) || r.Found < 6 {
		t.Fatalf("%+v", r)
	}
	if !slices.IsSortedFunc(r.Orders, func(x, y order) int { return y.Placed.Compare(x.Placed) }) {
		t.Errorf("not newest first: %+v", r.Orders)
	}
	if five := get[orders](t, a, "recent_orders", `{"customer_id":"C-1001"}`); len(five.Orders) != 5 || five.Found != r.Found {
		t.Errorf("default limit: %d of %d", len(five.Orders), five.Found)
	}
	done := get[orders](t, a, "recent_orders", `{"customer_id":"C-1001","status":"delivered","limit":50}`)
	if done.Found == 0 || slices.ContainsFunc(done.Orders, func(o order) bool { return o.Status != "delivered" }) {
		t.Errorf("status: %+v", done)
	}
	one := get[struct {
		Name  string `json:"customer_name"`
		Order order  `json:"order"`
	}](t, a, "get_order", fmt.Sprintf(`{"order_id":%q}`, strings.ToLower(r.Orders[0].ID)))
	if one.Name != first || one.Order.CustomerID != "C-1001" || one.Order.Total != r.Orders[0].Total || len(one.Order.Items) == 0 {
		t.Errorf("%+v", one)
	}
}

func TestRevenue(t *testing.T) {
	type revenue struct {
		Customer string  `json:"customer_name"`
		Total    float64 `json:"total"`
		Months   []struct {
			Month   string
			Orders  int
			Revenue float64
		} `json:"months"`
	}
	a := open(t, "warehouse")
	all := get[revenue](t, a, "revenue_by_month", `{}`)
	if len(all.Months) != 6 || all.Months[0].Month != "2026-01" || all.Months[5].Month != "2026-06" || all.Customer != "all customers" {
		t.Fatalf("%+v", all)
	}
	for _, m := range all.Months {
		if m.Orders == 0 || m.Revenue <= 0 {
			t.Errorf("%+v", m)
		}
	}
	// What one customer's months add up to is what the ranking says.
	top := get[struct {
		Customers []struct {
			Rank    int
			ID      string `json:"customer_id"`
			Revenue float64
			Orders  int
		} `json:"customers"`
	}](t, a, "top_customers", `{"limit":3}`)
	if len(top.Customers) != 3 || top.Customers[0].Rank != 1 || top.Customers[0].Revenue < top.Customers[1].Revenue {
		t.Fatalf("%+v", top)
	}
	best := top.Customers[0]
	r := get[revenue](t, a, "revenue_by_month", fmt.Sprintf(`{"customer_id":%q,"months":12}`, best.ID))
	var sum float64
	var n int
	for _, m := range r.Months {
		sum += m.Revenue
		n += m.Orders
	}
	if n != best.Orders || r.Total != best.Revenue || sum-r.Total > 0.01 || r.Total-sum > 0.01 {
		t.Errorf("%d orders and %.2f (total %.2f) against %+v", n, sum, r.Total, best)
	}
}

func TestOpenTickets(t *testing.T) {
	a := open(t, "tickets")
	r := get[ticketList](t, a, "open_tickets", `{"customer_id":"C-1001"}`)
	if r.Open != len(r.Tickets) || r.Open < 3 || r.Tickets[0].Priority != "urgent" {
		t.Fatalf("%+v", r)
	}
	for _, k := range r.Tickets {
		if k.CustomerID != "C-1001" || k.Status == "solved" || k.AgeDays < 1 || k.Subject == "" {
			t.Errorf("%+v", k)
		}
	}
	if none := get[ticketList](t, a, "open_tickets", `{"customer_id":"C-1003"}`); none.Tickets == nil || none.Open != len(none.Tickets) {
		t.Errorf("a list must be a list: %+v", none)
	}
	w := get[whole](t, a, "get_ticket", fmt.Sprintf(`{"ticket_id":%q}`, r.Tickets[0].ID))
	if w.Name != first || w.Ticket.Subject != r.Tickets[0].Subject || w.Ticket.Body == "" {
		t.Errorf("%+v", w)
	}
}

func TestSearchTickets(t *testing.T) {
	a := open(t, "tickets")
	all := get[ticketList](t, a, "search_tickets", `{"query":"SCANNERS"}`)
	if all.Found <= 10 || len(all.Tickets) != 10 || all.Tickets[0].Opened.Before(all.Tickets[9].Opened) {
		t.Fatalf("%+v", all)
	}
	some := get[ticketList](t, a, "search_tickets", `{"query":"scanners","status":"open","priority":"high","limit":50}`)
	if some.Found == 0 || some.Found >= all.Found {
		t.Errorf("%d of %d", some.Found, all.Found)
	}
	for _, k := range some.Tickets {
		if k.Status != "open" || k.Priority != "high" {
			t.Errorf("%+v", k)
		}
	}
	if mine := get[ticketList](t, a, "search_tickets", `{"query":"tarnwick freight","status":"open"}`); mine.Found == 0 || mine.Tickets[0].CustomerID != "C-1001" {
		t.Errorf("by customer name: %+v", mine)
	}
	if none := get[ticketList](t, a, "search_tickets", `{"query":"zeppelin"}`); none.Found != 0 || none.Tickets == nil {
		t.Errorf("%+v", none)
	}
}

func TestCreateTicketAndComment(t *testing.T) {
	a := open(t, "tickets")
	before := get[ticketList](t, a, "open_tickets", `{"customer_id":"C-1002"}`)
	made := get[whole](t, a, "create_ticket", `{"customer_id":"C-1002","subject":"No power","body":"Since noon.","priority":"urgent"}`)
	if made.Ticket.ID == "" || made.Ticket.Status != "open" || made.Ticket.Priority != "urgent" || made.Ticket.Requester == "" {
		t.Fatalf("%+v", made)
	}
	after := get[ticketList](t, a, "open_tickets", `{"customer_id":"C-1002"}`)
	if after.Open != before.Open+1 || after.Tickets[0].ID != made.Ticket.ID {
		t.Errorf("%+v", after)
	}
	get[any](t, a, "add_comment", fmt.Sprintf(`{"ticket_id":%q,"text":"On it."}`, made.Ticket.ID))
	got := get[whole](t, a, "get_ticket", fmt.Sprintf(`{"ticket_id":%q}`, made.Ticket.ID))
	if !slices.Equal(got.Ticket.Comments, []note{{"local", "On it."}}) || got.Ticket.Body != "Since noon." {
		t.Errorf("%+v", got)
	}
	plain := get[whole](t, a, "create_ticket", `{"customer_id":"C-1002","subject":"Another"}`)
	if plain.Ticket.Priority != "normal" || plain.Ticket.ID == made.Ticket.ID {
		t.Errorf("%+v", plain)
	}
	if other := get[ticketList](t, open(t, "tickets"), "open_tickets", `{"customer_id":"C-1002"}`); other.Open != before.Open {
		t.Errorf("two sandboxes share what is written: %+v", other)
	}
}

func TestBadArguments(t *testing.T) {
	tests := []struct{ source, tool, arguments, want string }{
		{"crm", "find_customers", ``, "query is missing; it must be a string of 1 to 100 characters"},
		{"crm", "find_customers", `{"query":"x"`, "the arguments of find_customers are not JSON: unexpected end of text at byte 12"},
		{"crm", "find_customers", `{"query":"x","query":"y"}`, `the arguments of find_customers are not JSON: member "query" is named twice at byte 13`},
		{"crm", "find_customers", `["x"]`, `the arguments of find_customers must be an object, not ["x"]`},
		{"crm", "find_customers", `{"query":"  "}`, `query must be a string of 1 to 100 characters, not "  "`},
		{"crm", "find_customers", `{"query":"x","segment":"big"}`, `segment must be one of small_business, mid_market, enterprise, public_sector, not "big"`},
		{"crm", "find_customers", `{"query":"x","limit":"ten"}`, `limit must be an integer from 1 to 50, not "ten"`},
		{"crm", "get_customer", `{"customer":"Tarnwick"}`, `there is no argument "customer"; get_customer takes customer_id (required); customer_id is missing; it must be a string of 1 to 20 characters`},
		{"crm", "add_note", `{"customer_id":"C-1001","text":""}`, `text must be a string of 1 to 2000 characters, not ""`},
		{"crm", "list_contacts", `{"customer_id":["C-1001","C-1002","C-1003","C-1004","C-1005"]}`, `customer_id must be a string of 1 to 20 characters, not ["C-1001","C-1002","C-1003","C-1004","C-...`},
		{"warehouse", "revenue_by_month", `{"months":99}`, "months must be an integer from 1 to 12, not 99"},
		{"warehouse", "top_customers", `{"limit":0}`, "limit must be an integer from 1 to 50, not 0"},
		{"warehouse", "recent_orders", `{"customer_id":"C-1001","status":"open"}`, `status must be one of processing, shipped, delivered, returned, cancelled, not "open"`},
		{"tickets", "create_ticket", `{"customer_id":"C-1001","subject":"x","priority":1}`, "priority must be one of low, normal, high, urgent, not 1"},
	}
	for _, tt := range tests {
		e := fail(t, open(t, tt.source), tt.tool, tt.arguments)
		if e.Kind != upstream.InvalidArguments || e.Public != tt.want || e.Sent || string(e.Upstream) != tt.source {
			t.Errorf("%s %s:\n got %s %q\nwant %q", tt.tool, tt.arguments, e.Kind, e.Public, tt.want)
		}
	}
}

func TestNotFound(t *testing.T) {
	noCustomer := `there is no customer "C-9999"; ids run from C-1001 to C-1300, crm find_customers finds them by name`
	aName := `"Tarnwick Frieght" is no customer id; ids look like C-1001. Did you mean C-1001 (Tarnwick Freight), `
	tests := []struct{ source, tool, arguments, want string }{
		{"crm", "get_customer", `{"customer_id":"C-9999"}`, noCustomer},
		{"crm", "get_customer", `{"customer_id":"Tarnwick Frieght"}`, aName},
		{"crm", "list_contacts", `{"customer_id":"C-9999"}`, noCustomer},
		{"crm", "add_note", `{"customer_id":"C-9999","text":"x"}`, noCustomer},
		{"warehouse", "recent_orders", `{"customer_id":"Tarnwick Frieght"}`, aName},
		{"warehouse", "revenue_by_month", `{"customer_id":"C-9999"}`, noCustomer},
		{"warehouse", "get_order", `{"order_id":"O-1"}`, `there is no order "O-1"; ids run from O-100001 to O-`},
		{"tickets", "open_tickets", `{"customer_id":"C-9999"}`, noCustomer},
		{"tickets", "create_ticket", `{"customer_id":"C-9999","subject":"x"}`, noCustomer},
		{"tickets", "get_ticket", `{"ticket_id":"T-020001"}`, `there is no ticket "T-020001"; ids run from T-20001 to T-`},
		{"tickets", "get_ticket", `{"ticket_id":"T-99999999999999999"}`, `there is no ticket "T-99999999999999999"`},
		{"tickets", "add_comment", `{"ticket_id":"T--1","text":"x"}`, `there is no ticket "T--1"`},
	}
	for _, tt := range tests {
		e := fail(t, open(t, tt.source), tt.tool, tt.arguments)
		if e.Kind != upstream.NotFound || !strings.HasPrefix(e.Public, tt.want) {
			t.Errorf("%s %s:\n got %s %q\nwant %q", tt.tool, tt.arguments, e.Kind, e.Public, tt.want)
		}
	}
}

func TestWritesAreBounded(t *testing.T) {
	for tool, source := range map[string]string{"add_note": "crm", "create_ticket": "tickets", "add_comment": "tickets"} {
		a := open(t, source)
		arguments := map[string]string{
			"add_note":      `{"customer_id":"C-1001","text":"x"}`,
			"create_ticket": `{"customer_id":"C-1001","subject":"x"}`,
			"add_comment":   `{"ticket_id":"T-20001","text":"x"}`,
		}[tool]
		n := 0
		for n < 100_000 {
			if _, err := call(t.Context(), a, tool, arguments); err != nil {
				break
			}
			n++
		}
		if e := fail(t, a, tool, arguments); e.Kind != upstream.Denied || n != 1000 {
			t.Errorf("%s: after %d writes: %v", tool, n, e)
		}
	}
}

func TestNowMovesTheData(t *testing.T) {
	now := time.Date(2030, time.March, 3, 12, 0, 0, 0, time.UTC)
	a, err := sandbox.New("warehouse", sandbox.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	r := get[orders](t, a, "recent_orders", `{"customer_id":"C-1002"}`)
	if age := now.Sub(r.Orders[0].Placed); age < 0 || age > 30*24*time.Hour {
		t.Errorf("the newest order is of %s", r.Orders[0].Placed)
	}
}
