package graphql_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/graphql"
)

// BenchmarkCall measures a call with an answer of 50 records beside the same
// request by net/http.
func BenchmarkCall(b *testing.B) {
	var records []string
	for i := range 50 {
		records = append(records, fmt.Sprintf(`{"id":"%d","name":"customer %d","total":%d}`, i, i, i*1000))
	}
	answer := `{"data":{"orders":[` + strings.Join(records, ",") + `]}}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	defer s.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	hc := &http.Client{Transport: tr}
	b.Run("adapter", func(b *testing.B) {
		a, err := graphql.New(graphql.Options{ID: "shop", Documents: docs(`query Orders($first: Int) { orders(first: $first) { id name total } }`)}, s.URL, hc)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := try(b.Context(), a, "orders", `{"first":50}`); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("nethttp", func(b *testing.B) {
		for b.Loop() {
			resp, err := hc.Post(s.URL, "application/json", strings.NewReader(`{"query":"query Orders($first: Int) { orders(first: $first) { id name total } }","variables":{"first":50}}`))
			if err != nil {
				b.Fatal(err)
			}
			_, err = io.ReadAll(resp.Body)
			if _ = resp.Body.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
