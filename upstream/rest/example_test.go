package rest_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// The definition among the examples asks as its service's documentation says.
func TestExampleDefinition(t *testing.T) {
	text, err := os.ReadFile("../../examples/definitions/earthquakes.toml")
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	event := func(i int) string {
		return fmt.Sprintf(`{"type":"Feature","id":"us%d","properties":{"mag":5.1,"place":"10 km W of Town","time":1763000000000,"alert":null,"tsunami":0,"url":"https://x.invalid","felt":null},"geometry":{"type":"Point","coordinates":[1.5,-2.5,10]}}`, i)
	}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI)
		w.Header().Set("Content-Type", "application/json;charset=utf-8")
		switch q := r.URL.Query(); {
		case r.URL.Path == "/count":
			_, _ = io.WriteString(w, `{"count":3,"maxAllowed":20000}`)
		case q.Get("eventid") != "":
			_, _ = io.WriteString(w, event(7))
		case q.Get("offset") == "3":
			_, _ = io.WriteString(w, `{"type":"FeatureCollection","metadata":{"count":1},"features":[`+event(3)+`]}`)
		default:
			_, _ = io.WriteString(w, `{"type":"FeatureCollection","metadata":{"count":2},"features":[`+event(1)+`,`+event(2)+`]}`)
		}
	})
	a := open(t, string(text), s, func(o *rest.Options) { o.Writes = false })
	if got := pages(t, a, "search_earthquakes", `{"min_magnitude":5,"start":"2026-11-01","limit":2}`); fmt.Sprint(got) != "[[us1 us2] [us3]]" {
		t.Errorf("the pages are %v", got)
	}
	structured(t, a, "get_earthquake", `{"id":"us7"}`)
	if got := structured(t, a, "get_count", `{"min_magnitude":5}`); got != `{"count":3}` {
		t.Errorf("the count is %s", got)
	}
	if want := []string{
		"/query?format=geojson&starttime=2026-11-01&minmagnitude=5&limit=2",
		"/query?format=geojson&starttime=2026-11-01&minmagnitude=5&offset=3&limit=2",
		"/query?format=geojson&eventid=us7",
		"/count?format=geojson&minmagnitude=5",
	}; !slices.Equal(asked, want) {
		t.Errorf("it asked\n%q, want\n%q", asked, want)
	}
	if d := a.Drift(); len(d) != 0 {
		t.Errorf("it finds that the service has changed: %+v", d)
	}
}
