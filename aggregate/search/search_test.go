package search_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/aggregate/search"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"listOpenTickets":                         "list open ticket",
		"crm_get_customer":                        "crm get customer",
		"Finds the customers of this segment!":    "find customer segment",
		"Creating, updated and deletes companies": "creat updat delet company",
		"OAuth2 ÜBER-Größen":                      "oauth2 über größen",
		"  ":                                      "",
	} {
		if got := strings.Join(search.Words(text), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

var tools = []search.Doc{
	{Name: "crm_find_customers", Description: "Finds customers by name, id, industry or account owner.", Arguments: []string{"query", "segment"}},
	{Name: "crm_add_note", Description: "Writes a note onto a customer's record."},
	{Name: "warehouse_recent_orders", Description: "Returns the latest orders of one customer with their totals.", Arguments: []string{"customer_id"}},
	{Name: "tickets_create_ticket", Description: "Opens a support ticket for a customer."},
	{Name: "tickets_search_tickets", Description: "Searches tickets by words in subject and comments.", Arguments: []string{"query", "status"}},
	{Name: "git_mergePullRequest", Title: "Merge pull request", Description: "Merges it."},
}

func TestSearch(t *testing.T) {
	x := search.New(tools)
	for query, want := range map[string]string{
		"merging a pull request":                         "git_mergePullRequest",
		"leave a note on the customer":                   "crm_add_note",
		"open a new support ticket":                      "tickets_create_ticket",
		"what did they order recently":                   "warehouse_recent_orders",
		"search tickets whose comments mention shipping": "tickets_search_tickets",
		"customer by industry":                           "crm_find_customers",
		"warehouse_recent_orders":                        "warehouse_recent_orders",
		"indust":                                         "crm_find_customers", // the beginning of a word
	} {
		hits := x.Search(query, 3)
		if len(hits) == 0 || tools[hits[0].Doc].Name != want {
			t.Errorf("%q: %v, want %s", query, hits, want)
		}
		if !slices.IsSortedFunc(hits, func(a, b search.Hit) int { return int(b.Score*1e9 - a.Score*1e9) }) || len(hits) > 3 {
			t.Errorf("%q: %v", query, hits)
		}
	}
	for _, nothing := range []string{"", "the of and", "zzz", "!"} {
		if hits := x.Search(nothing, 3); len(hits) != 0 {
			t.Errorf("%q finds %v", nothing, hits)
		}
	}
	if hits := search.New(nil).Search("customer", 3); len(hits) != 0 {
		t.Errorf("%v in nothing", hits)
	}
}

func BenchmarkSearch(b *testing.B) {
	var docs []search.Doc
	for i := range 10_000 {
		d := tools[i%len(tools)]
		d.Name = fmt.Sprintf("%s_%d", d.Name, i)
		docs = append(docs, d)
	}
	x := search.New(docs)
	for b.Loop() {
		x.Search("leave a note on the customer record 77", 10)
	}
}

func BenchmarkNew(b *testing.B) {
	var docs []search.Doc
	for i := range 10_000 {
		d := tools[i%len(tools)]
		d.Name = fmt.Sprintf("%s_%d", d.Name, i)
		docs = append(docs, d)
	}
	for b.Loop() {
		search.New(docs)
	}
}
