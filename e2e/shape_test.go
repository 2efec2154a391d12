package e2e_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestShaping: what an operator leaves out of results is not there, the model is
// told how much that is, and rows that are left out can be read.
func TestShaping(t *testing.T) {
	t.Parallel()
	const tool = "tools.override.find_customers = "
	config := sandboxUpstream("fields", "crm", 0, tool+"{ fields = ['customer_id', 'name'] }") +
		sandboxUpstream("rows", "crm", 0, tool+"{ max_rows = 3, rows_at = '/customers' }") +
		sandboxUpstream("bytes", "crm", 0, tool+"{ max_bytes = '1KiB', fields = ['customer_id'] }") +
		sandboxUpstream("jq", "crm", 0, tool+"{ jq = '{found, ids: [.customers[].customer_id]}' }") +
		sandboxUpstream("bad", "crm", 0, tool+"{ jq = '.found | keys' }") +
		sandboxUpstream("whole", "crm", 0)
	for _, modern := range []bool{false, true} {
		t.Run(fmt.Sprint("modern ", modern), func(t *testing.T) {
			c := start(t, config, nil).stdio(modern)
			c.ready()
			find := func(source string) result {
				return c.mustCall(source+"_find_customers", map[string]string{"query": "a"})
			}
			type answer struct {
				Found     int
				Customers []map[string]any
				IDs       []string
			}
			read := func(text string) (a answer) {
				if err := json.Unmarshal([]byte(text), &a); err != nil {
					t.Fatalf("%v in %s", err, text)
				}
				return a
			}
			whole := read(find("whole").Content[0].Text)
			if len(whole.Customers) < 5 || len(whole.Customers[0]) < 5 {
				t.Fatalf("%+v", whole)
			}
			r := find("fields")
			for _, text := range []string{r.Content[0].Text, string(r.Structured)} {
				a := read(text)
				if len(a.Customers) != len(whole.Customers) || len(a.Customers[0]) != 2 || a.Customers[0]["name"] != whole.Customers[0]["name"] || a.Found != whole.Found {
					t.Errorf("fields: %s", text)
				}
			}
			if note := r.Content[1].Text; note != fmt.Sprintf("[fields: showing 2 of %d fields of each row]", len(whole.Customers[0])) {
				t.Error(note)
			}
			r = find("rows")
			got := read(r.Content[0].Text).Customers
			handle := regexp.MustCompile(fmt.Sprintf(`^\[rows: showing 3 of %d rows; .*"handle":"([A-Z0-9]+)"`, len(whole.Customers))).FindStringSubmatch(r.Content[1].Text)
			if len(got) != 3 || handle == nil || r.Structured != nil {
				t.Fatalf("rows: %+v", r)
			}
			for page := 1; len(got) < len(whole.Customers); page++ {
				var more []map[string]any
				m := c.mustCall("bulkhead_read_more", map[string]any{"handle": handle[1], "page": page})
				if err := json.Unmarshal([]byte(m.Content[0].Text), &more); err != nil || m.IsError {
					t.Fatalf("page %d: %v %s", page, err, m.text())
				}
				got = append(got, more...)
			}
			if fmt.Sprint(got) != fmt.Sprint(whole.Customers) {
				t.Errorf("the rows are %v", got)
			}
			if r = find("bytes"); len(r.text()) > 1<<10 || len(read(r.Content[0].Text).Customers) == 0 {
				t.Errorf("bytes: %d of them: %s", len(r.text()), r.text())
			}
			r = find("jq")
			if a := read(r.Content[0].Text); a.Customers != nil || len(a.IDs) != len(whole.Customers) || string(r.Structured) != r.Content[0].Text {
				t.Errorf("jq: %+v", r)
			}
			if r = find("bad"); !r.IsError || !strings.HasPrefix(r.text(), "internal: bad: the call was carried out, but its answer could not be shaped") ||
				!strings.Contains(r.text(), "tools.override.find_customers): jq: keys cannot be applied to: number") {
				t.Errorf("bad: %s", r.text())
			}
		})
	}
}
