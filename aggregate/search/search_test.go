package search_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/aggregate/search"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var tools = []search.Doc{
	{Name: "crm_find_customers", Description: "Finds customers by name, id, industry or account owner.", Arguments: []string{"query", "segment"}, Effect: search.Reads},
	{Name: "crm_add_note", Description: "Writes a note onto a customer's record.", Effect: search.Writes},
	{Name: "warehouse_recent_orders", Description: "Returns the latest orders of one customer with their totals.", Arguments: []string{"customer_id"}},
	{Name: "tickets_create_ticket", Description: "Opens a support ticket for a customer.", Details: "How urgent it is: low, high or blocking."},
	{Name: "tickets_search_tickets", Description: "Searches tickets by words in subject and comments.", Arguments: []string{"query", "status"}},
	{Name: "git_mergePullRequest", Title: "Merge pull request", Description: "Merges it."},
	{Name: "cluster_apply", Description: "Applies a CronJob. Says what an HTTPServer and a YouTube channel have to do with it."},
	{Name: "shop_getOrder", Description: "Gets an order.", Effect: search.Reads},
	{Name: "shop_dropOrder", Description: "Drops an order.", Effect: search.Writes},
	{Name: "lager_größen", Description: "Liefert die Größen aller Artikel. 顧客の注文を表示します。"},
}

// named returns the names of the best tools for a question.
func named(x *search.Index, docs []search.Doc, question string, limit int) (names []string, fit int) {
	hits, fit := x.Search(question, nil, limit)
	for _, h := range hits {
		names = append(names, docs[h.Doc].Name)
	}
	return names, fit
}

func TestSearch(t *testing.T) {
	x := search.New(tools)
	for question, want := range map[string]string{
		"merging a pull request":                         "git_mergePullRequest",
		"pull requests that can be merged":               "git_mergePullRequest",
		"leave a note on the customer":                   "crm_add_note",
		"open a new support ticket":                      "tickets_create_ticket",
		"what did they order recently":                   "warehouse_recent_orders",
		"search tickets whose comments mention shipping": "tickets_search_tickets",
		"customer by industry":                           "crm_find_customers",
		"warehouse_recent_orders":                        "warehouse_recent_orders",
		"indust":                                         "crm_find_customers", // the beginning of a word
		"something urgent":                               "tickets_create_ticket",
		"cronjob":                                        "cluster_apply", // as one word, as two, and cut at its capitals
		"cron job":                                       "cluster_apply",
		"CronJobs":                                       "cluster_apply",
		"youtube":                                        "cluster_apply",
		"http server":                                    "cluster_apply",
		"order":                                          "shop_getOrder", // asks for nothing to be changed
		"GRÖSSEN größen":                                 "lager_größen",
		"注文":                                             "lager_größen",
	} {
		if got, fit := named(x, tools, question, 3); len(got) == 0 || got[0] != want || fit < len(got) {
			t.Errorf("%q: %q of %d, want %s", question, got, fit, want)
		}
	}
	for _, nothing := range []string{"", "the of and", "zzz", "!", "\x00\xff", "🙂", strings.Repeat("the ", 5000)} {
		if hits, fit := x.Search(nothing, nil, 3); len(hits) != 0 || fit != 0 {
			t.Errorf("%.20q finds %v", nothing, hits)
		}
	}
	if hits, _ := search.New(nil).Search("customer", nil, 3); len(hits) != 0 {
		t.Errorf("%v in nothing", hits)
	}
}

// TestCommandsFindWhatChanges: of two tools that differ in nothing else the one is
// first that does what the question asks for: to change something, or not.
func TestCommandsFindWhatChanges(t *testing.T) {
	docs := []search.Doc{{Name: "a", Description: "Labels of an issue.", Effect: search.Writes}, {Name: "b", Description: "Labels of an issue."}, {Name: "c", Description: "Labels of an issue.", Effect: search.Reads}}
	x := search.New(docs)
	for question, want := range map[string]string{
		"labels of an issue": "c b a", "which labels were removed from this issue": "c b a", "Remove, from an issue, all labels": "a b c", "removing labels": "a b c",
	} {
		if got, _ := named(x, docs, question, 3); strings.Join(got, " ") != want {
			t.Errorf("%q: %q", question, got)
		}
	}
}

// TestSearchLimits: the best are the same whatever the limit is, in order, and
// what is not to be kept neither comes nor counts.
func TestSearchLimits(t *testing.T) {
	docs := many(300)
	x := search.New(docs)
	all, fit := x.Search("customer order", nil, len(docs))
	if len(all) != fit || fit < 100 {
		t.Fatalf("%d of %d", len(all), fit)
	}
	if !slices.IsSortedFunc(all, func(a, b search.Hit) int {
		if a.Score == b.Score {
			return a.Doc - b.Doc
		}
		return int(b.Score*1e12 - a.Score*1e12)
	}) {
		t.Error("they are not in order")
	}
	for _, limit := range []int{0, 1, 5, fit - 1, fit, fit + 1} {
		if hits, n := x.Search("customer order", nil, limit); n != fit || !slices.Equal(hits, all[:min(limit, fit)]) {
			t.Errorf("%d: %d of %d", limit, len(hits), n)
		}
	}
	even := func(doc int) bool { return doc%2 == 0 }
	want := slices.DeleteFunc(slices.Clone(all), func(h search.Hit) bool { return !even(h.Doc) })
	if hits, n := x.Search("customer order", even, 10); n != len(want) || !slices.Equal(hits, want[:10]) {
		t.Errorf("%v of %d, want %v of %d", hits, n, want[:10], len(want))
	}
}

// TestSearchesAtOnce: they share what they count in, and it does not show.
func TestSearchesAtOnce(t *testing.T) {
	docs := many(500)
	x := search.New(docs)
	questions := []string{"customer order", "leave a note", "merge", "zzz", "ticket comments 77"}
	var want [][]search.Hit
	for _, q := range questions {
		hits, _ := x.Search(q, nil, 10)
		want = append(want, hits)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				q := i % len(questions)
				if hits, _ := x.Search(questions[q], nil, 10); !slices.Equal(hits, want[q]) {
					t.Errorf("%q: %v, want %v", questions[q], hits, want[q])
				}
			}
		})
	}
	wg.Wait()
}

// FuzzSearch: whatever tools say of themselves and whatever is asked, an answer is
// ordered, has each tool once, and is the same again.
func FuzzSearch(f *testing.F) {
	f.Add("crm_findCustomers", "Finds customers. By name", "status open|closed", "find open customers")
	f.Add("ÄÖ_ΣΑΣ", "ſſ İı ﬀ 顧客", "\xff\xfe", "ΣΑΣ İ \xff")
	f.Fuzz(func(t *testing.T, name, description, details, question string) {
		docs := append([]search.Doc{{Name: name, Title: details, Description: description, Details: details, Arguments: []string{name, question}}}, tools...)
		x := search.New(docs)
		hits, fit := x.Search(question, nil, len(docs))
		again, _ := x.Search(question, nil, len(docs))
		seen := map[int]bool{}
		for _, h := range hits {
			if seen[h.Doc] || !(h.Score > 0) {
				t.Fatalf("%v", hits)
			}
			seen[h.Doc] = true
		}
		if len(hits) != fit || !slices.Equal(hits, again) {
			t.Fatalf("%v of %d, then %v", hits, fit, again)
		}
	})
}

// many returns so many tools, no two of them alike.
func many(n int) []search.Doc {
	words := strings.Fields("customer order invoice ticket comment note pull request branch release deployment secret volume report user team project event")
	var docs []search.Doc
	for i := range n {
		d := tools[i%len(tools)]
		a, b, c := words[i%len(words)], words[i/7%len(words)], words[i/31%len(words)]
		d.Name = fmt.Sprintf("%s_%s_%d", d.Name, a, i)
		d.Description += fmt.Sprintf(" It has to do with the %s of a %s, and with each %s%d.\nSee the manual for how a %s is made.", a, b, c, i%97, b)
		d.Details = fmt.Sprintf("The %s. Whether the %s is open, closed or all.", b, c)
		docs = append(docs, d)
	}
	return docs
}

func BenchmarkSearch(b *testing.B) {
	x := search.New(many(10_000))
	b.ReportAllocs()
	for b.Loop() {
		x.Search("leave a note on the customer record 77 whose orders and tickets are still open", nil, 10)
	}
}

func BenchmarkNew(b *testing.B) {
	docs := many(10_000)
	b.ReportAllocs()
	for b.Loop() {
		search.New(docs)
	}
}

// A word that few tools have says more than two that nearly all have.
func TestRareWordsSayMore(t *testing.T) {
	docs := []search.Doc{{Name: "depot_freight", Description: "Shows freight."}}
	for i := range 20 {
		docs = append(docs, search.Doc{Name: fmt.Sprintf("crm_customer_record_%d", i), Description: "Shows a record of a customer."})
	}
	if got, fit := named(search.New(docs), docs, "freight of a customer record", 1); got[0] != "depot_freight" || fit != len(docs) {
		t.Errorf("%q of %d", got, fit)
	}
}
