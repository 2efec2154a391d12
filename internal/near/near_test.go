package near_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/near"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNames(t *testing.T) {
	known := []string{"f_big", "f_bigtext", "f_die", "f_echo", "f_sleep", "f_write", "crm_list_customers", "crm_get_customer", "crm_del", "crm_set", "Timeout", "f_y", "accommodations", strings.Repeat("x", 190)}
	for name, want := range map[string]string{
		"f_slep":                      "f_sleep",
		"f_ecko":                      "f_echo",
		"f_wirte":                     "f_write", // two letters swapped
		"f_bigtxet":                   "f_bigtext",
		"crm_get_custmer":             "crm_get_customer",
		"crm-get-custmer":             "crm_get_customer",
		"crm_dse":                     "",                // two of three
		"crm_de":                      "crm_del",         // set is two away
		"crm_dek":                     "crm_del",         //
		"crm_sel":                     "crm_del crm_set", // as close
		"timeot":                      "Timeout",
		"wiki_get":                    "",
		"f_":                          "",
		"f_x":                         "",
		"accommodatoins":              "accommodations",
		"akkomodatoins":               "accommodations",
		"akomodatoinz":                "", // five
		"":                            "",
		strings.Repeat("f_echo", 100): "",
		strings.Repeat("Ⱥ", 64):       "", // longer in small letters
	} {
		if got := strings.Join(near.Names(name, known, 3), " "); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if got := near.Names("crm_sel", known, 1); !slices.Equal(got, []string{"crm_del"}) {
		t.Error(got)
	}
	if got := near.Name("crm_sel", known); got != "crm_del" {
		t.Error(got)
	}
	if got := near.Name("zzz", known); got != "" {
		t.Error(got)
	}
}

// BenchmarkNames looks for a name among as many as the largest catalogs have.
func BenchmarkNames(b *testing.B) {
	var known []string
	for i := range 10_000 {
		known = append(known, fmt.Sprintf("source%d_actions_get_github_%d_permissions_repository", i%20, i))
	}
	for b.Loop() {
		near.Names("source7_actions_gte_github_4711_permission_repository", known, 3)
	}
}
