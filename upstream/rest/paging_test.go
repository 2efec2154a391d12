package rest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// pages follows a list to its end and returns the ids, page by page.
func pages(t *testing.T, a *rest.Adapter, tool, args string) [][]string {
	t.Helper()
	var out [][]string
	cursor := ""
	for range 20 {
		var in map[string]any
		if err := json.Unmarshal([]byte(args), &in); err != nil {
			t.Fatal(err)
		}
		if cursor != "" {
			in["cursor"] = cursor
		}
		text, _ := json.Marshal(in)
		var got struct {
			Records []struct{ ID json.RawMessage }
			Count   int
			Next    string `json:"next_cursor"`
			Total   *int
		}
		if err := json.Unmarshal([]byte(structured(t, a, tool, string(text))), &got); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, r := range got.Records {
			ids = append(ids, strings.Trim(string(r.ID), `"`))
		}
		if got.Count != len(ids) {
			t.Errorf("count %d of %d records", got.Count, len(ids))
		}
		out = append(out, ids)
		if cursor = got.Next; cursor == "" {
			return out
		}
	}
	t.Fatal("there is no end")
	return nil
}

// seven is a source of the records 1 to 7.
func seven(from, size int) string {
	var items []string
	for i := from; i < from+size && i <= 7; i++ {
		items = append(items, fmt.Sprintf(`{"id":%d,"x":"y"}`, i))
	}
	return strings.Join(items, ",")
}

func number(s string, otherwise int) int {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return otherwise
}

func TestPaging(t *testing.T) {
	for _, c := range []struct {
		name, paging, method string
		answer               func(w http.ResponseWriter, r *http.Request)
	}{
		{"cursor", `kind = "cursor"
param = "page[after]"
size = "page[size]"
default = 3
most = 10
next = "/meta/after"
more = "/meta/more"`, "GET", func(w http.ResponseWriter, r *http.Request) {
			from := number(strings.TrimPrefix(r.FormValue("page[after]"), "c"), 1)
			size := number(r.FormValue("page[size]"), 0)
			_, _ = fmt.Fprintf(w, `{"records":[%s],"meta":{"after":"c%d","more":%v}}`, seven(from, size), from+size, from+size <= 7)
		}},
		{"cursor in a body", `kind = "cursor"
param = "/variables/after"
size = "/variables/first"
in = "body"
default = 3
most = 10
next = "/page/end"`, "POST", func(w http.ResponseWriter, r *http.Request) {
			var in struct {
				Variables struct {
					After *int
					First int
				}
			}
			_ = json.NewDecoder(r.Body).Decode(&in)
			from, end := 1, "null"
			if in.Variables.After != nil {
				from = *in.Variables.After
			}
			if from+in.Variables.First <= 7 {
				end = strconv.Itoa(from + in.Variables.First)
			}
			_, _ = fmt.Fprintf(w, `{"records":[%s],"page":{"end":%s}}`, seven(from, in.Variables.First), end)
		}},
		{"link", `kind = "link"
size = "per_page"
default = 3
most = 10`, "GET", func(w http.ResponseWriter, r *http.Request) {
			from, size := number(r.FormValue("from"), 1), number(r.FormValue("per_page"), 0)
			if from+size <= 7 {
				w.Header().Add("Link", fmt.Sprintf(`<http://%s/list?from=1>; rel="first", <http://%s/list?from=%d&per_page=%d>; title="a"; rel="next last"`, r.Host, r.Host, from+size, size))
			}
			_, _ = fmt.Fprintf(w, `{"records":[%s]}`, seven(from, size))
		}},
		{"cursor that ends with 0", `kind = "cursor"
param = "from"
next = "/next"`, "GET", func(w http.ResponseWriter, r *http.Request) {
			from := number(r.FormValue("from"), 1)
			next := from + 3
			if next > 7 {
				next = 0
			}
			_, _ = fmt.Fprintf(w, `{"records":[%s],"next":%d}`, seven(from, 3), next)
		}},
		{"next url", `kind = "next_url"
next = "/nextRecordsUrl"
total = "/totalSize"`, "GET", func(w http.ResponseWriter, r *http.Request) {
			from := number(strings.TrimPrefix(r.URL.Path, "/more/c-"), 1)
			next := fmt.Sprintf(`"/more/c-%d"`, from+3)
			if from+3 > 7 {
				next = "null"
			}
			_, _ = fmt.Fprintf(w, `{"records":[%s],"nextRecordsUrl":%s,"totalSize":7}`, seven(from, 3), next)
		}},
		{"last id", `kind = "last_id"
param = "starting_after"
size = "limit"
default = 3
most = 10
more = "/has_more"`, "GET", func(w http.ResponseWriter, r *http.Request) {
			from, size := number(r.FormValue("starting_after"), 0)+1, number(r.FormValue("limit"), 0)
			_, _ = fmt.Fprintf(w, `{"records":[%s],"has_more":%v}`, seven(from, size), from+size <= 7)
		}},
		{"offset", `kind = "offset"
param = "startAt"
size = "maxResults"
default = 3
most = 10
total = "/total"`, "GET", func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, `{"records":[%s],"total":7}`, seven(number(r.FormValue("startAt"), 0)+1, number(r.FormValue("maxResults"), 0)))
		}},
		{"page", `kind = "page"
param = "page"
size = "per_page"
default = 3
most = 10`, "GET", func(w http.ResponseWriter, r *http.Request) {
			size := number(r.FormValue("per_page"), 0)
			_, _ = fmt.Fprintf(w, `{"records":[%s]}`, seven((number(r.FormValue("page"), 1)-1)*size+1, size))
		}},
		{"page from zero with a total", `kind = "page"
param = "page"
start = 0
size = "per_page"
default = 3
most = 10
total = "/total"`, "GET", func(w http.ResponseWriter, r *http.Request) {
			size := number(r.FormValue("per_page"), 0)
			_, _ = fmt.Fprintf(w, `{"records":[%s],"total":7}`, seven(number(r.FormValue("page"), 0)*size+1, size))
		}},
		{"partition", `kind = "partition"
param = "partition"
next = "/info"`, "GET", func(w http.ResponseWriter, r *http.Request) {
			n := number(r.FormValue("partition"), 0)
			info := ""
			if n == 0 {
				info = `,"info":[{},{},{}]`
			}
			_, _ = fmt.Fprintf(w, `{"records":[%s]%s}`, seven(n*3+1, 3), info)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := open(t, "[paging.p]\n"+c.paging+"\n[action.list_x]\nclass='read'\nmethod='"+c.method+"'\npath='/list'\nrecords='/records'\npaging='p'\nfields=['id']",
				serve(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					c.answer(w, r)
				}))
			want := [][]string{{"1", "2", "3"}, {"4", "5", "6"}, {"7"}}
			if got := pages(t, a, "list_x", `{}`); !slices.EqualFunc(got, want, slices.Equal) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func TestMoreRecordsThanAreGivenAtOnce(t *testing.T) {
	asked := 0
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `[`+seven(1, 7)+`]`)
	})
	a := open(t, "[action.list_x]\nmethod='GET'\npath='/list'\n[action.list_y]\nmethod='POST'\npath='/list'", s, func(o *rest.Options) { o.MaxRecords = 3 })
	want := [][]string{{"1", "2", "3"}, {"4", "5", "6"}, {"7"}}
	if got := pages(t, a, "list_x", `{}`); !slices.EqualFunc(got, want, slices.Equal) || asked != 3 {
		t.Errorf("%v in %d requests, want %v", got, asked, want)
	}
	if got := structured(t, a, "list_x", `{}`); !strings.Contains(got, `"note":"these are 3 of the 7 records of the answer; next_cursor gives the others"`) {
		t.Errorf("nothing is said of the others: %s", got)
	}
	if got := structured(t, a, "list_y", `{}`); strings.Contains(got, "next_cursor") || !strings.Contains(got, `"note":"these are 3 of the 7 records of the answer"`) {
		t.Errorf("what writes is to be done again: %s", got)
	}
}

func pagedBy(t *testing.T, next string, change ...func(*rest.Options)) (*rest.Adapter, *httptest.Server) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"records":[{"id":1}],"next":%q}`, strings.ReplaceAll(next, "HOST", r.Host))
	})
	return open(t, `[paging.p]
kind = "next_url"
next = "/next"
[action.list_x]
method = "GET"
path = "/list"
records = "/records"
paging = "p"
params.q = {}
[action.list_y]
method = "GET"
path = "/list"
records = "/records"
paging = "p"
params.q = {}`, s, change...), s
}

func TestNextURLElsewhereIsNotFollowed(t *testing.T) {
	for _, next := range []string{
		"http://evil.example/list?page=2", "//evil.example/x", "https://HOST/x", "http://user@HOST/x", "http://HOST.evil.example/", "http://HOST:1/x", "http://HOST@evil.example/",
		"javascript:alert(1)", "file:///etc/passwd", "http:opaque",
	} {
		a, _ := pagedBy(t, next)
		if got := structured(t, a, "list_x", `{}`); strings.Contains(got, "next_cursor") || !strings.Contains(got, "another address") {
			t.Errorf("%s: %s", next, got)
		}
	}
	a, _ := pagedBy(t, "http://HOST/list?page=2")
	if got := structured(t, a, "list_x", `{}`); !strings.Contains(got, "next_cursor") {
		t.Errorf("its own address is refused: %s", got)
	}
}

func TestCursorBelongsToItsCall(t *testing.T) {
	key := func(o *rest.Options) { o.Key = []byte("the same for all") }
	a, _ := pagedBy(t, "/list?page=2", key)
	other, _ := pagedBy(t, "/list?page=2", key, func(o *rest.Options) { o.ID = "other" })
	again, _ := pagedBy(t, "/list?page=2", key)
	foreign, _ := pagedBy(t, "/list?page=2")
	var got struct {
		Next string `json:"next_cursor"`
	}
	if err := json.Unmarshal([]byte(structured(t, a, "list_x", `{"q":"a"}`)), &got); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got.Next, "page") {
		t.Errorf("the cursor can be read: %s", got.Next)
	}
	changed := []byte(got.Next)
	if changed[10] == 'A' {
		changed[10] = 'B'
	} else {
		changed[10] = 'A'
	}
	args := func(q, cursor string) string { return fmt.Sprintf(`{"q":%q,"cursor":%q}`, q, cursor) }
	for name, c := range map[string]struct {
		a    *rest.Adapter
		tool string
		args string
	}{
		"another tool":      {a, "list_y", args("a", got.Next)},
		"another upstream":  {other, "list_x", args("a", got.Next)},
		"another key":       {foreign, "list_x", args("a", got.Next)},
		"another argument":  {a, "list_x", args("b", got.Next)},
		"no other argument": {a, "list_x", fmt.Sprintf(`{"cursor":%q}`, got.Next)},
		"changed":           {a, "list_x", args("a", string(changed))},
		"cut off":           {a, "list_x", args("a", got.Next[:8])},
		"made up":           {a, "list_x", args("a", "page=2")},
		"much too long":     {a, "list_x", args("a", strings.Repeat("A", 1<<20))},
	} {
		_, err := call(t.Context(), c.a, c.tool, c.args)
		e := wantKind(t, err, upstream.InvalidArguments, false, "the cursor is not one")
		if t.Failed() {
			t.Fatalf("%s: %v", name, e)
		}
	}
	_, err := callAs(t.Context(), upstream.NewPrincipal("https://login", "somebody else"), a, "list_x", args("a", got.Next))
	wantKind(t, err, upstream.InvalidArguments, false, "the cursor is not one")
	structured(t, a, "list_x", args("a", got.Next))
	structured(t, again, "list_x", args("a", got.Next)) // after a restart
	structured(t, a, "list_x", fmt.Sprintf(`{"q":"a","cursor":%q,"fields":["id"]}`, got.Next))
}
