package rest_test

import (
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// The members of an object may be fields of their own. None of them is a constant,
// another argument, or what paging says.
func TestMembersAreNoOtherFields(t *testing.T) {
	var rec recorder
	a := open(t, `[paging.p]
kind = "cursor"
param = "page[after]"
next = "/after"
size = "page[size]"
most = 100
[action.list_things]
method = "GET"
path = "/x"
query = { fixed = "1", "scope[a]" = "2" }
paging = "p"
params.q = {}
params.o = { type = "object" }
params.page = { type = "object", style = "deep" }
params.any = { schema = {} }
params.list = { type = "array", style = "deep", name = "scope" }
[action.run_it]
method = "POST"
path = "/y"
body = "form"
idempotency = "?request"
constant = { fixed = 1, in = { a = 1 } }
params.free = { type = "object", style = "form" }
params.in = { type = "object" }
params.card = { name = "/card/number" }
params.card_more = { type = "object", name = "card" }
params.asked = { in = "query", type = "object" }`, rec.serve(t))
	for _, c := range []struct{ tool, args, says string }{
		{"list_things", `{"o":{"fixed":"2"}}`, `o must not have a member that becomes the field "fixed"`},
		{"list_things", `{"o":{"x":1,"FIXED":"2"}}`, `"FIXED"`},
		{"list_things", `{"o":{" fixed":"2"}}`, `" fixed"`},
		{"list_things", `{"o":{"fixed[]":"2"}}`, `"fixed[]"`},
		{"list_things", `{"o":{"f\u0069xed":"2"}}`, `"fixed"`},
		{"list_things", `{"o":{"deep":{"fixed":[1]}}}`, `"fixed"`},
		{"list_things", `{"o":"{\"fixed\":2}"}`, `"fixed"`},
		{"list_things", `{"o":{"q":"x"}}`, `"q"`},
		{"list_things", `{"o":{"page[size]":100000}}`, `"page[size]"`},
		{"list_things", `{"o":{"page[after]":"x"}}`, `"page[after]"`},
		{"list_things", `{"o":{"page":5}}`, `"page"`},
		{"list_things", `{"o":{"scope":1}}`, `"scope"`},
		{"list_things", `{"page":{"size":100000}}`, `page must not have a member that becomes the field "page[size]"`},
		{"list_things", `{"page":{"size":[1]}}`, `"page[size][0]"`},
		{"list_things", `{"any":{"fixed":2}}`, `any must not`},
		{"list_things", `{"list":[{"a":1}],"o":{"scope[a]":1}}`, `"scope[a]"`},
		{"run_it", `{"free":{"fixed":2}}`, `free must not`},
		{"run_it", `{"free":{"in[a]":2}}`, `"in[a]"`},
		{"run_it", `{"in":{"a":2}}`, `"in[a]"`},
		{"run_it", `{"card_more":{"number":"2"}}`, `"card[number]"`},
		{"run_it", `{"asked":{"request":"mine"}}`, `asked must not`},
	} {
		_, err := call(t.Context(), a, c.tool, c.args)
		if wantKind(t, err, upstream.InvalidArguments, false, c.says); t.Failed() {
			t.Fatal(c.args)
		}
	}
	if rec.got != nil {
		t.Fatalf("sent all the same: %q", rec.got)
	}
	for _, c := range []struct{ tool, args, want string }{
		{"list_things", `{"o":{"o":1,"other":[1,2],"fixedly":3,"pages[size]":4,"a&fixed":"2=3"},"page":{"of":1},"q":"fixed=2"}`,
			"/x?fixed=1&scope%5Ba%5D=2&q=fixed%3D2&o=1&other=1&other=2&fixedly=3&pages%5Bsize%5D=4&a%26fixed=2%3D3&page%5Bof%5D=1"},
		{"run_it", `{"free":{"x":1},"in":{"b":2},"card":"3","card_more":{"name":"n"},"asked":{"card":1}}`,
			"fixed=1&in%5Ba%5D=1&x=1&in%5Bb%5D=2&card%5Bnumber%5D=3&card%5Bname%5D=n"},
	} {
		rec.got = nil
		structured(t, a, c.tool, c.args)
		if len(rec.got) != 1 || !strings.Contains(rec.got[0], c.want) {
			t.Errorf("got  %q\nwant %s", rec.got, c.want)
		}
	}
}
