package data

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
)

// year is how many days of orders and tickets there are.
const year = 365

// orders fills in the orders of the twelve months before Now. Numbers are given
// in order of time, across customers, as a shop would.
func (d *Dataset) orders() {
	for i := range d.Customers {
		d.Orders = append(d.Orders, d.ordersOf(stream(i, streamOrders), &d.Customers[i])...)
	}
	slices.SortStableFunc(d.Orders, func(a, b Order) int { return a.Placed.Compare(b.Placed) })
	for i := range d.Orders {
		d.Orders[i].ID = fmt.Sprintf("O-%d", 100001+i)
	}
}

func (d *Dataset) ordersOf(r *rand.Rand, c *Customer) []Order {
	gap := year / between(r, 4, 8) // days from order to order
	switch c.Plan {
	case "business":
		gap = year / between(r, 9, 15)
	case "enterprise":
		gap = year / between(r, 15, 26)
	}
	// One who thinks of leaving has stopped ordering for a while.
	ago := between(r, 1, 20)
	if c.Health == "churn_risk" {
		ago = between(r, 28, 60)
	}
	var out []Order
	for ; ago < year; ago += max(1, between(r, gap/2, gap+gap/2)) {
		out = append(out, d.order(r, c, ago))
	}
	return out
}

func (d *Dataset) order(r *rand.Rand, c *Customer, ago int) Order {
	o := Order{CustomerID: c.ID, Placed: d.daysAgo(r, ago), Currency: Currency}
	scale := 1 + slices.Index(Plans(), c.Plan) // larger plans buy more at once
	for _, p := range r.Perm(len(products))[:between(r, 1, 4)] {
		item := Item{SKU: products[p].sku, Name: products[p].name, UnitPrice: products[p].price}
		item.Quantity = between(r, 1, max(1, products[p].most*scale/3))
		item.Amount = Money(item.Quantity) * item.UnitPrice
		o.Subtotal += item.Amount
		o.Items = append(o.Items, item)
	}
	slices.SortFunc(o.Items, func(a, b Item) int { return cmp.Compare(b.Amount, a.Amount) })
	if o.Subtotal >= 5000_00 {
		o.Discount = o.Subtotal / 20
	}
	if o.Subtotal < 500_00 {
		o.Shipping = 14_90
	}
	o.Total = o.Subtotal - o.Discount + o.Shipping
	switch {
	case ago <= 2:
		o.Status = "processing"
	case ago <= 7:
		o.Status = "shipped"
	default:
		o.Status = weighted(r, []string{"delivered", "returned", "cancelled"}, 92, 4, 4)
	}
	return o
}
