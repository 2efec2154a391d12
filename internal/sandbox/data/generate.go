package data

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// seed fixes the data. Every customer draws from streams of its own, so that a
// change to one kind of record leaves the others as they are.
const seed = 0x62756c6b68656164

const (
	streamCustomer = iota
	streamOrders
	streamTickets
	streams
)

func stream(customer, kind int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(customer*streams+kind)))
}

// Generate makes the sample data as of now; the zero time means [Reference].
// The same now always gives the same data, down to the byte.
func Generate(now time.Time) *Dataset {
	if now.IsZero() {
		now = Reference()
	}
	d := &Dataset{Now: now.UTC()}
	for i := range Count {
		r := stream(i, streamCustomer)
		d.Customers = append(d.Customers, d.customer(r, i))
		d.Contacts = append(d.Contacts, contacts(r, &d.Customers[i], len(d.Contacts))...)
	}
	d.orders()
	d.tickets()
	return d
}

// daysAgo is a moment in working hours, n days before now; for n above 0 it is
// in the past.
func (d *Dataset) daysAgo(r *rand.Rand, n int) time.Time {
	day := d.Now.Truncate(24*time.Hour).AddDate(0, 0, -n)
	return day.Add(7*time.Hour + time.Duration(r.IntN(10*60))*time.Minute)
}

func (d *Dataset) customer(r *rand.Rand, i int) Customer {
	// A stem returns every len(stems) customers, with the next industry.
	n := i % len(stems)
	line := industries[(n+i/len(stems))%len(industries)]
	c := Customer{
		ID:       fmt.Sprintf("C-%d", 1001+i),
		Name:     stems[n] + " " + line.suffix,
		Industry: line.name,
		Segment:  weighted(r, Segments(), 40, 35, 15, 10),
		Region:   weighted(r, Regions(), 45, 30, 15, 10),
		Owner:    pick(r, owners[:]),
		Health:   Healths()[0],
		Currency: Currency,
	}
	switch {
	case i%9 == 0:
		c.Health = Healths()[2]
	case i%4 == 1:
		c.Health = Healths()[1]
	}
	c.Plan, c.MRR = plan(r, c.Segment)
	since := d.Now.AddDate(0, 0, -between(r, 370, 2600))
	renewal := since
	for !renewal.After(d.Now) {
		renewal = renewal.AddDate(1, 0, 0)
	}
	c.Since, c.Renewal = since.Format(time.DateOnly), renewal.Format(time.DateOnly)
	c.Website = "https://" + domain(c.Name)
	return c
}

func domain(company string) string {
	return strings.ReplaceAll(strings.ToLower(company), " ", "-") + ".example"
}

// plan returns a plan that fits the segment and a price that fits the plan, in
// steps of ten.
func plan(r *rand.Rand, segment string) (string, Money) {
	weights := map[string][]int{
		"small_business": {80, 20, 0}, "mid_market": {10, 75, 15},
		"enterprise": {0, 10, 90}, "public_sector": {0, 60, 40},
	}[segment]
	p := weighted(r, Plans(), weights...)
	lowest, highest := 9, 45
	switch p {
	case "business":
		lowest, highest = 60, 320
	case "enterprise":
		lowest, highest = 400, 1800
	}
	return p, Money(between(r, lowest, highest)) * 10_00
}

func contacts(r *rand.Rand, c *Customer, before int) []Contact {
	n := between(r, 2, 4)
	first, last, role := r.IntN(len(firstNames)), r.IntN(len(lastNames)), r.IntN(len(roles))
	var out []Contact
	for i := range n {
		// Steps that share no factor with the lengths: nobody appears twice.
		f := firstNames[(first+i*7)%len(firstNames)]
		l := lastNames[(last+i*5)%len(lastNames)]
		out = append(out, Contact{
			ID:         fmt.Sprintf("P-%d", 5001+before+i),
			CustomerID: c.ID,
			Name:       f + " " + l,
			Role:       roles[(role+i)%len(roles)],
			Email:      strings.ToLower(f+"."+l) + "@" + domain(c.Name),
			Phone:      fmt.Sprintf("+1-%d-555-01%02d", between(r, 201, 989), r.IntN(100)),
			Primary:    i == 0,
		})
	}
	return out
}

// between returns a number from lowest to highest, both included.
func between(r *rand.Rand, lowest, highest int) int { return lowest + r.IntN(highest-lowest+1) }

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// weighted picks one of from; weights are percentages and add up to 100.
func weighted(r *rand.Rand, from []string, weights ...int) string {
	n := r.IntN(100)
	for i, w := range weights {
		if n -= w; n < 0 {
			return from[i]
		}
	}
	return from[len(from)-1]
}
