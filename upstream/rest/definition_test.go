package rest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

const fullDefinition = `
title   = "Tickets"
docs    = ["https://developer.example.com/api"]
read    = "2026-11"
base_url = "https://{subdomain}.example.com/api"
headers = { Accept = "application/json", X-Sub = "{subdomain}" }
[values.subdomain]
doc = "The first part of your address."
pattern = "[a-z0-9][a-z0-9-]*"
example = "acme"
[values.version]
default = "2"
[preset]
timeout = "30s"
[preset.limit]
rate = "200/1m"
concurrency = 10
[auth.client_credentials]
token_url = "https://{subdomain}.example.com/oauth/tokens"
scopes = ["read"]
[auth.bearer]
[auth.authorization_code]
scopes = ["{subdomain}"]
[errors]
failed = { path = "/ok", equals = false }
message = ["/error/message"]
code = ["/error/code"]
codes = { ratelimited = "rate_limited" }
[paging.cursor]
kind = "cursor"
param = "page[after]"
next = "/meta/after"
more = "/meta/more"
size = "page[size]"
default = 25
most = 100
total = "/count"
[action.list_tickets]
entity = "ticket"
verb = "list"
method = "GET"
path = "/v{version}/tickets"
records = "/tickets"
fields = ["id", "requester.name"]
paging = "cursor"
cost = 1
scopes = ["tickets:read"]
headers = { "X-Y" = "z" }
query = { include = "users" }
[action.list_tickets.params.status]
type = "string"
enum = ["open", "solved"]
[action.list_tickets.params.after]
format = "date-time"
default = "2026-01-01T00:00:00Z"
[action.list_tickets.params]
zeta.type = "integer"
alpha = { type = "boolean" }
[action.create_ticket]
method = "POST"
path = "/v2/tickets"
idempotency = "Idempotency-Key"
constant = { ticket = { source = "bulkhead" } }
params.subject = { name = "/ticket/subject", required = true }
[action.add_comment]
method = "POST"
path = "/v2/tickets/{id}/comments"
params.id.type = "integer"
params.body = {}
`

func TestDefinitionIsPlainData(t *testing.T) {
	d := parse(t, fullDefinition)
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var again rest.Definition
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if err := again.Check(); err != nil {
		t.Error(err)
	}
	text2, _ := json.Marshal(&again)
	if diff := cmp.Diff(string(text), string(text2)); diff != "" {
		t.Error(diff)
	}
	var actions, args, auth []string
	for _, a := range again.Actions {
		actions = append(actions, a.Name)
		for _, p := range a.Params {
			args = append(args, p.Arg)
		}
	}
	for _, a := range again.Auth {
		auth = append(auth, a.Type)
	}
	if got := fmt.Sprint(actions, args, auth); got != "[list_tickets create_ticket add_comment] [status after zeta alpha subject id body] [client_credentials bearer authorization_code]" {
		t.Errorf("the order of the file is lost: %s", got)
	}
}

func TestFill(t *testing.T) {
	d := parse(t, fullDefinition)
	f, err := d.Fill(map[string]string{"subdomain": "acme"})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal([]any{f.BaseURL, f.Preset, f.Auth, f.Members})
	want := `["https://acme.example.com/api",{"limit":{"concurrency":10,"rate":"200/1m"},"timeout":"30s"},[{"type":"client_credentials","keys":{"scopes":["read"],"token_url":"https://acme.example.com/oauth/tokens"}},` +
		`{"type":"bearer"},{"type":"authorization_code","keys":{"scopes":["acme"]}}],null]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	_, err = d.Fill(map[string]string{"subdomain": "evil.example/", "tenant": "x"})
	for _, part := range []string{`values.subdomain: "evil.example/" does not look like one: The first part of your address. (for example "acme")`, "values.tenant: there is no such value; there are subdomain, version"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v lacks %q", err, part)
		}
	}
	if _, err = d.Fill(nil); err == nil || !strings.Contains(err.Error(), "values.subdomain: is missing") {
		t.Error(err)
	}
	for _, bad := range []string{"a\nb", "-a", "", "a.b", "A"} {
		if _, err = d.Fill(map[string]string{"subdomain": bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// Everything that is wrong is told at once, with its key.
func TestFaults(t *testing.T) {
	for _, c := range []struct{ text, faults string }{
		{"a = ", "line 1, column"},
		{`titel = "x"
[action.a]
method = 1
path = "/"
params.x = { typ = "string" }
[errors]
message = "/x"
[paging]
p = 5`, `titel: unknown key; there are action
action.a.method: must be a string, not a whole number
action.a.params.x.typ: unknown key
errors.message: must be a list, not a string
paging.p: must be a table, not a whole number`},
		{``, `action: there is none`},
		{`base_url = "ftp://x"
[action.a-]
method = "GET"
path = "/"`, `base_url: must be an absolute https:// or http:// URL`},
		{`base_url = "https://{nobody}.example.com/a/../b"
headers = { Host = "x", "a b" = "c", X = "a\nb" }
[values.v]
pattern = "("
[values.w]
token = "instance_url"
[values.x]
pattern = "[a-z]+"
example = "A"
suffixes = ["x/"]
[errors]
failed = { path = "ok" }
code = ["error"]
codes = { x = "oops" }
retry_header = "a b"
[quota]
restore = "x"
[paging.p]
kind = "pages"
[paging.c]
kind = "cursor"
size = "n"
[action."1x"]
method = "get"
path = "x"
[action.b]
method = "GET"
path = "/{id}/{gone}//x"
class = "harmless"
records = "items"
fields = ["a..b"]
paging = "nope"
body = "xml"
cost = -1
constant = { a = 1 }
answer = "some"
params.id = { in = "cookie" }
params.h = { in = "header", name = "Cookie" }
params.b = { in = "body", type = "text", items = "x", style = "odd" }
params.p = { in = "path" }
params.s = { schema = {}, type = "string" }
params.d = { type = "integer", default = "x" }
params."a b" = {}
[action.c]
method = "POST"
path = "/a b?c"
paging = "c"
constant = { a = { b = 1 } }
params.cursor = {}
params.limit = {}
params.x = { name = "/a/b/c" }
params.y = { name = "/" }
params.z = { name = "q" }
params.zz = { name = "/q" }`, `base_url: {nobody} is no value of the definition
base_url: has an empty or dot segment
headers.Host: is set by the transport or by auth
headers.a b: is no name of a header
headers.X: has a line break
values.v.pattern: error parsing regexp
values.w.suffixes: is missing
values.x.example: does not match the pattern
values.x.suffixes[0]: must be the end of a host name
errors.failed.path: "ok" is no JSON pointer
errors.failed: needs equals or present = true
errors.code[0]: "error" is no JSON pointer
errors.codes.x: "oops" is none of
errors.retry_header: is no name of a header
quota.restore: "x" is no JSON pointer
quota.left: is missing
paging.p.kind: "pages" is none of cursor, last_id
paging.c.param: is missing
paging.c.next: is missing
paging.c.most: must be at least 1
action.1x: a name has
action.1x.method: "get" is none of
action.1x.path: must begin with /
action.b.class: "harmless"
action.b.body: "xml"
action.b.answer: "some"
action.b.records: "items" is no JSON pointer
action.b.fields[0]: "a..b" is no dotted path
action.b.cost: must not be negative
action.b.path: {id} is neither a parameter nor a value
action.b.path: {gone} is neither
action.b.path: has an empty or dot segment
action.b.paging: there is no [paging.nope]
action.b.params.id.in: "cookie"
action.b.params.h.name: is set by the transport
action.b.params.b.in: GET has no body
action.b.params.b.type: "text"
action.b.params.b.items: "x"
action.b.params.b.style: "odd"
action.b.params.p.in: the path has no {p}
action.b.params.s.schema: stands instead
action.b.params.d.default: d: it must be a whole number
action.b.params.a b: an argument's name
action.b.constant: GET has no body
action.c.path: has the character ' '
action.c.params.cursor: an argument of this name is there already
action.c.params.limit: an argument of this name
action.c.params.y: is the whole body, but there is more for it
action.c: params.x: its place in the body is inside a constant`},
	} {
		_, err := rest.Parse([]byte(c.text), "x.toml")
		if err == nil {
			t.Fatalf("%s: no fault", c.text)
		}
		lines := strings.Split(err.Error(), "\n")
		for want := range strings.SplitSeq(c.faults, "\n") {
			if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "x.toml: "+want) }) {
				t.Errorf("lacks %q", want)
			}
		}
		if t.Failed() {
			t.Fatalf("got:\n%v", err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"[action.a]\nmethod='GET'\npath='/'":                                                                      "no base URL",
		"base_url='https://{v}/x'\n[values.v]\n[action.a]\nmethod='GET'\npath='/'":                                "values.v: is missing",
		"base_url='https://{v}/x'\n[values.v]\ndefault='a b?c'\npattern='.*'\n[action.a]\nmethod='GET'\npath='/'": "base URL",
		"base_url='https://x'\n[values.v]\ndefault='..'\n[action.a]\nmethod='GET'\npath='/{v}'":                   "cannot stand in a path",
	} {
		_, err := rest.New(rest.Options{ID: "x", Definition: parse(t, text)}, client(t))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A typing error does not hide what is wrong elsewhere, and is told once.
func TestAllFaultsAtOnce(t *testing.T) {
	_, err := rest.Parse([]byte(`
base_url = "https://example.com"
bogus = 1
[action.list_x]
method = 5
path = "/x/{id}"
records = "items"
`), "d.toml")
	if err == nil {
		t.Fatal("no fault")
	}
	for _, want := range []string{"bogus: unknown key", "action.list_x.method: must be", "action.list_x.records: ", "action.list_x.path: "} {
		if strings.Count(err.Error(), want) != 1 {
			t.Errorf("%s in\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "action.list_x.method"); n != 1 {
		t.Errorf("%d times about the method:\n%v", n, err)
	}
}
