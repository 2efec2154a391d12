package sandbox

import (
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/data"
)

// directory finds customers; all three sources know them by id and name.
type directory struct {
	customers []data.Customer
	byID      map[string]*data.Customer
}

func newDirectory(d *data.Dataset) directory {
	dir := directory{customers: d.Customers, byID: make(map[string]*data.Customer, len(d.Customers))}
	for i := range d.Customers {
		dir.byID[d.Customers[i].ID] = &d.Customers[i]
	}
	return dir
}

// customer returns the one with that id; the error helps whoever passed a name
// or mistyped.
func (d directory) customer(id string) (*data.Customer, error) {
	if c := d.byID[strings.ToUpper(id)]; c != nil {
		return c, nil
	}
	first, last := d.customers[0].ID, d.customers[len(d.customers)-1].ID
	if strings.HasPrefix(strings.ToUpper(id), "C-") {
		return nil, notFound("there is no customer %q; ids run from %s to %s, crm find_customers finds them by name", id, first, last)
	}
	var hint []string
	for _, c := range d.nearest(id, 3) {
		hint = append(hint, c.ID+" ("+c.Name+")")
	}
	return nil, notFound("%q is no customer id; ids look like %s. Did you mean %s?", id, first, strings.Join(hint, ", "))
}

// search returns the customers of whom every word of query is part of the
// name, id, industry or owner; those whose name is or begins with query first.
// segment "" means any.
func (d directory) search(query, segment string) []data.Customer {
	query = strings.ToLower(query)
	var best, rest []data.Customer
	for _, c := range d.customers {
		if segment != "" && c.Segment != segment {
			continue
		}
		switch name := strings.ToLower(c.Name); {
		case name == query:
			best = slices.Insert(best, 0, c)
		case strings.HasPrefix(name, query):
			best = append(best, c)
		case hasWords(strings.ToLower(c.Name+" "+c.ID+" "+c.Industry+" "+c.Owner), query):
			rest = append(rest, c)
		}
	}
	return append(best, rest...)
}

// hasWords reports whether text has every word of query, anywhere; both are in
// lower case.
func hasWords(text, query string) bool {
	for w := range strings.FieldsSeq(query) {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// nearest returns the n customers whose names take the fewest edits to become
// query; a query of one word is compared with their first words.
func (d directory) nearest(query string, n int) []data.Customer {
	query = strings.ToLower(query)
	type scored struct {
		c    data.Customer
		away int
	}
	all := make([]scored, 0, len(d.customers))
	for _, c := range d.customers {
		name := strings.ToLower(c.Name)
		if !strings.Contains(query, " ") {
			name, _, _ = strings.Cut(name, " ")
		}
		all = append(all, scored{c, edits(name, query)})
	}
	slices.SortStableFunc(all, func(a, b scored) int { return a.away - b.away })
	var out []data.Customer
	for _, s := range all[:n] {
		out = append(out, s.c)
	}
	return out
}

// edits is the Levenshtein distance of two short strings, in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
