package rest_test

import (
	"net/http"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// transport answers without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func FuzzParse(f *testing.F) {
	f.Add(suiteDefinition)
	f.Add("[action.a]\nmethod=1")
	f.Add("[auth.x]\n[values.a]\npattern='('\n[paging.p]\nkind='x'")
	f.Add("base_url='https://{a}.example.com/{b'\n[action.a]\npath='/{x}/../'\nparams.a={name='/0/1',in='body',default=[1]}")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := rest.Parse([]byte(text), "fuzz")
		if err != nil {
			return
		}
		if err := d.Check(); err != nil {
			t.Errorf("parsed, but %v", err)
		}
		a, err := rest.New(rest.Options{ID: "x", Definition: d, BaseURL: "https://example.com", Writes: true}, &http.Client{})
		if err != nil {
			return // values are missing
		}
		_ = a.Close()
	})
}
