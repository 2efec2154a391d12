package data_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/data"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGenerateIsPure(t *testing.T) {
	dump := func(now time.Time) string {
		raw, err := json.Marshal(data.Generate(now))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	first := dump(time.Time{})
	if first != dump(data.Reference()) {
		t.Error("two runs differ, or the zero time is not the reference")
	}
	if first == dump(data.Reference().AddDate(0, 0, 1)) {
		t.Error("the reference time has no effect")
	}
	zone := time.FixedZone("east", 5*3600)
	if first != dump(data.Reference().In(zone)) {
		t.Error("the time zone of now changes the data")
	}
}

// TestRelations holds for any day, not only for the default one.
func TestRelations(t *testing.T) {
	for _, now := range []time.Time{
		{},
		time.Date(2028, time.February, 29, 0, 0, 0, 0, time.UTC),
		time.Date(2031, time.January, 1, 23, 59, 59, 0, time.UTC),
	} {
		d := data.Generate(now)
		t.Run(d.Now.Format(time.DateOnly), func(t *testing.T) {
			checkCustomers(t, d)
			checkContacts(t, d)
			checkOrders(t, d)
			checkTickets(t, d)
		})
	}
}

func oneOf(t *testing.T, what, got string, allowed []string) {
	t.Helper()
	if !slices.Contains(allowed, got) {
		t.Errorf("%s: %q is none of %v", what, got, allowed)
	}
}

func checkCustomers(t *testing.T, d *data.Dataset) {
	if len(d.Customers) != data.Count {
		t.Fatalf("%d customers", len(d.Customers))
	}
	ids, names, today := map[string]bool{}, map[string]bool{}, d.Now.Format(time.DateOnly)
	for _, c := range d.Customers {
		ids[c.ID], names[c.Name] = true, true
		oneOf(t, c.ID, c.Segment, data.Segments())
		oneOf(t, c.ID, c.Plan, data.Plans())
		oneOf(t, c.ID, c.Region, data.Regions())
		oneOf(t, c.ID, c.Health, data.Healths())
		if c.MRR <= 0 || c.Owner == "" || c.Industry == "" || c.Currency != data.Currency {
			t.Errorf("incomplete: %+v", c)
		}
		if c.Since >= today || c.Renewal <= today {
			t.Errorf("%s: since %s, renewal %s, today %s", c.ID, c.Since, c.Renewal, today)
		}
		if !strings.HasSuffix(c.Website, ".example") {
			t.Errorf("%s: website %s is not of a reserved domain", c.ID, c.Website)
		}
	}
	if len(ids) != data.Count || len(names) != data.Count {
		t.Errorf("%d different ids and %d different names", len(ids), len(names))
	}
	// Every kind of customer occurs.
	for _, values := range [][]string{data.Segments(), data.Plans(), data.Regions(), data.Healths()} {
		for _, v := range values {
			if !slices.ContainsFunc(d.Customers, func(c data.Customer) bool {
				return c.Segment == v || c.Plan == v || c.Region == v || c.Health == v
			}) {
				t.Errorf("no customer is %s", v)
			}
		}
	}
}

func checkContacts(t *testing.T, d *data.Dataset) {
	customers := byID(d)
	primaries, emails := map[string]int{}, map[string]bool{}
	for _, p := range d.Contacts {
		c, ok := customers[p.CustomerID]
		if !ok {
			t.Fatalf("%s belongs to nobody: %s", p.ID, p.CustomerID)
		}
		if p.Primary {
			primaries[c.ID]++
		}
		if emails[p.Email] || !strings.HasSuffix(p.Email, "@"+strings.TrimPrefix(c.Website, "https://")) {
			t.Errorf("%s: e-mail %s is taken or not of %s", p.ID, p.Email, c.Website)
		}
		emails[p.Email] = true
		if !strings.Contains(p.Phone, "-555-01") {
			t.Errorf("%s: %s may be somebody's number", p.ID, p.Phone)
		}
	}
	for id := range customers {
		if primaries[id] != 1 {
			t.Errorf("%s has %d primary contacts", id, primaries[id])
		}
	}
}

func checkOrders(t *testing.T, d *data.Dataset) {
	customers := byID(d)
	orders := map[string]int{}
	statuses := map[string]bool{}
	for i, o := range d.Orders {
		if _, ok := customers[o.CustomerID]; !ok {
			t.Fatalf("%s belongs to nobody: %s", o.ID, o.CustomerID)
		}
		orders[o.CustomerID]++
		statuses[o.Status] = true
		oneOf(t, o.ID, o.Status, data.OrderStatuses())
		if i > 0 && (o.Placed.Before(d.Orders[i-1].Placed) || o.ID <= d.Orders[i-1].ID) {
			t.Errorf("%s is out of order", o.ID)
		}
		if o.Placed.After(d.Now) || o.Placed.Before(d.Now.AddDate(0, 0, -366)) {
			t.Errorf("%s placed at %s", o.ID, o.Placed)
		}
		var sum data.Money
		for _, it := range o.Items {
			if it.Quantity < 1 || it.Amount != data.Money(it.Quantity)*it.UnitPrice {
				t.Errorf("%s: %+v does not add up", o.ID, it)
			}
			sum += it.Amount
		}
		if len(o.Items) == 0 || sum != o.Subtotal || o.Subtotal-o.Discount+o.Shipping != o.Total || o.Total <= 0 {
			t.Errorf("%s does not add up: %+v", o.ID, o)
		}
	}
	if len(statuses) != len(data.OrderStatuses()) {
		t.Errorf("only these statuses occur: %v", statuses)
	}
	for id := range customers {
		if orders[id] < 2 {
			t.Errorf("%s has %d orders in a year", id, orders[id])
		}
	}
}

func checkTickets(t *testing.T, d *data.Dataset) {
	customers, orders, people := byID(d), map[string]data.Order{}, map[string]bool{}
	for _, o := range d.Orders {
		orders[o.ID] = o
	}
	for _, p := range d.Contacts {
		people[p.CustomerID+p.Name] = true
	}
	open, about := map[string]int{}, 0
	for i, k := range d.Tickets {
		if _, ok := customers[k.CustomerID]; !ok {
			t.Fatalf("%s belongs to nobody: %s", k.ID, k.CustomerID)
		}
		oneOf(t, k.ID, k.Status, data.TicketStatuses())
		oneOf(t, k.ID, k.Priority, data.Priorities())
		if i > 0 && (k.Opened.Before(d.Tickets[i-1].Opened) || k.ID <= d.Tickets[i-1].ID) {
			t.Errorf("%s is out of order", k.ID)
		}
		if !people[k.CustomerID+k.Requester] {
			t.Errorf("%s: %s does not work there", k.ID, k.Requester)
		}
		if k.OrderID != "" {
			about++
			o := orders[k.OrderID]
			if o.CustomerID != k.CustomerID || !o.Placed.Before(k.Opened) || !strings.Contains(k.Body, o.ID) {
				t.Errorf("%s is about %q, which does not fit: %+v", k.ID, k.OrderID, o)
			}
		}
		checkTimes(t, d, k)
		if k.Open() {
			open[k.CustomerID]++
		}
	}
	if about < len(d.Tickets)/2 {
		t.Errorf("only %d of %d tickets are about an order", about, len(d.Tickets))
	}
	for id, c := range customers {
		lowest := map[string]int{"churn_risk": 3, "watch": 1, "healthy": 0}[c.Health]
		highest := map[string]int{"churn_risk": 5, "watch": 2, "healthy": 1}[c.Health]
		if n := open[id]; n < lowest || n > highest {
			t.Errorf("%s is %s and has %d open tickets", id, c.Health, n)
		}
	}
}

func checkTimes(t *testing.T, d *data.Dataset, k data.Ticket) {
	last := k.Opened
	for _, c := range k.Comments {
		if !c.At.After(last) || c.Text == "" || c.Author == "" {
			t.Errorf("%s: comment %+v after %s", k.ID, c, last)
		}
		last = c.At
	}
	if !k.Updated.Equal(last) || last.After(d.Now) {
		t.Errorf("%s: opened %s, last comment %s, updated %s", k.ID, k.Opened, last, k.Updated)
	}
	if k.Status != "open" && len(k.Comments) == 0 {
		t.Errorf("%s is %s but nobody has answered", k.ID, k.Status)
	}
}

// TestChurnRiskOrdersLess is the story in the data that a model can find.
func TestChurnRiskOrdersLess(t *testing.T) {
	d := data.Generate(time.Time{})
	last := map[string]time.Time{}
	for _, o := range d.Orders {
		last[o.CustomerID] = o.Placed
	}
	for _, c := range d.Customers {
		days := int(d.Now.Sub(last[c.ID]).Hours() / 24)
		if risk := c.Health == "churn_risk"; risk != (days >= 27) {
			t.Errorf("%s is %s and ordered %d days ago", c.ID, c.Health, days)
		}
	}
}

func TestMoney(t *testing.T) {
	for m, want := range map[data.Money]string{0: "0.00", 5: "0.05", 1234: "12.34", -7: "-0.07", -12345: "-123.45", 900719925474099301: "9007199254740993.01"} {
		raw, err := json.Marshal(m)
		if err != nil || string(raw) != want {
			t.Errorf("%d: %s, %v; want %s", int64(m), raw, err, want)
		}
	}
}

func byID(d *data.Dataset) map[string]data.Customer {
	out := map[string]data.Customer{}
	for _, c := range d.Customers {
		out[c.ID] = c
	}
	return out
}
