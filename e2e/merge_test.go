package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// kindsOfList are the lists, with the member that tells entries apart.
var kindsOfList = []struct{ method, member, key string }{
	{"tools/list", "tools", "name"}, {"prompts/list", "prompts", "name"},
	{"resources/list", "resources", "uri"}, {"resources/templates/list", "resourceTemplates", "uriTemplate"},
}

// pages reads a list to its end and returns the keys, and the length of the
// first page.
func (w *wire) pages(method, member, key string) (keys []string, first int) {
	w.t.Helper()
	members := ""
	for range 200 {
		result, err := w.begin(w.t.Context(), method, members, "").result()
		if err != nil {
			w.t.Fatalf("%s %s: %v", method, members, err)
		}
		if fresh := at(result, "ttlMs") != "" && at(result, "cacheScope") != ""; fresh != w.modern {
			w.t.Errorf("%s: ttlMs and cacheScope: %v, modern: %v", method, fresh, w.modern)
		}
		list, _ := rawjson.Get(result, member)
		for entry := range rawjson.Elements(list) {
			name, _ := rawjson.GetString(entry, key)
			keys = append(keys, name)
		}
		if members == "" {
			first = len(keys)
		}
		cursor := at(result, "nextCursor")
		if cursor == "" {
			return keys, first
		}
		members = `"cursor":` + cursor
	}
	w.t.Fatalf("%s has no end", method)
	return nil, 0
}

// malformed are tools without a usable name or schema.
const malformed = `[{"description":"nameless"},{"name":7,"inputSchema":{"type":"object"}},"no object",{"name":"schemaless_but_listed","inputSchema":"none"}]`

// The lists of several sources are one, in one order, on pages or not; what is
// dead or malformed leaves the others alone.
func rowMerge(t *testing.T, program string) {
	upstreams := upstreamTable("beta", fmt.Sprintf("url = %q", startFixture(t, program, "-http", "127.0.0.1:0", "-era", "modern", "-pages"))) +
		upstreamTable("alpha", fmt.Sprintf("url = %q", startFixture(t, program, "-http", "127.0.0.1:0", "-era", "legacy", "-more", malformed))) +
		upstreamTable("dead", "url = 'http://127.0.0.1:1/mcp'")
	whole := before(t, "[server]\nlist_wait = '30s'\n"+upstreams)
	paged := before(t, "[server]\nlist_wait = '30s'\npage_size = 7\n"+upstreams)
	own := direct(t, program, way{"stdio", "legacy"})
	for _, kind := range kindsOfList {
		theirs, _ := own.pages(kind.method, kind.member, kind.key)
		slices.Sort(theirs)
		for _, w := range ways {
			all, first := whole.join(w).pages(kind.method, kind.member, kind.key)
			if len(all) != first {
				t.Errorf("%s, %s: the first page has %d of %d", w, kind.method, first, len(all))
			}
			parts, first := paged.join(w).pages(kind.method, kind.member, kind.key)
			if !slices.Equal(parts, all) || first != min(7, len(all)) {
				t.Errorf("%s, %s: pages of %d: %q, whole: %q", w, kind.method, first, parts, all)
			}
			mine := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return strings.HasPrefix(name, "bulkhead_") })
			var want []string
			for _, source := range []string{"alpha", "beta"} {
				for _, key := range theirs {
					want = append(want, exposed(source, kind.key, key))
				}
			}
			if !slices.Equal(mine, want) {
				t.Errorf("%s, %s: got %q, want %q", w, kind.method, mine, want)
			}
		}
	}
	c := paged.join(way{"http", "modern"})
	result, err := c.begin(t.Context(), "tools/list", "", "").result()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.begin(t.Context(), "prompts/list", `"cursor":`+at(result, "nextCursor"), "").result(); err == nil || !strings.Contains(err.Error(), "-32602") {
		t.Errorf("the cursor of another list: %v", err)
	}
	for source, uri := range map[string]string{"alpha": "test://alpha.bulkhead/static-text", "beta": "test://beta.bulkhead/static-text"} {
		r := c.converse(step{name: source, method: "resources/read", members: fmt.Sprintf(`"uri":%q`, exposed(source, "uri", "test://static-text"))})
		if r.failed || !strings.Contains(string(r.answer), "the static text resource") {
			t.Errorf("%s: %s", uri, r.answer)
		}
	}
	if got := c.call("bulkhead_sources", `{}`); !strings.Contains(string(got.answer), `"dead"`) {
		t.Errorf("bulkhead_sources: %s", got.answer)
	}
}

// exposed is the name or, as both sources list the same, the alias under which
// clients know something.
func exposed(source, key, name string) string {
	if key == "name" {
		return source + "_" + name
	}
	scheme, rest, _ := strings.Cut(name, ":")
	return scheme + "://" + source + ".bulkhead/" + rest
}

var safeName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,48}$`)

var hostileNames = []string{
	"../../etc/passwd", "a b", "naïve—😀", strings.Repeat("long", 30), strings.Repeat("long", 30) + "er",
	"bulkhead_sources", "x.y/z", "dup!", "dup?", "\u202eevil", "<script>", "UPPER", "upper", "-", "__proto__", "новый", "$ref", "tab\tin it",
}

// Whatever upstreams call their tools, hosts get names that they take, each for
// one tool.
func rowNames(t *testing.T, program string) {
	var more []map[string]any
	for i, name := range hostileNames {
		more = append(more, map[string]any{"name": name, "description": fmt.Sprint("hostile ", i, "."), "inputSchema": map[string]any{"type": "object"}})
	}
	text, err := json.Marshal(more)
	if err != nil {
		t.Fatal(err)
	}
	for _, era := range []string{"legacy", "modern"} {
		upstream := upstreamTable("fixture", fmt.Sprintf("url = %q", startFixture(t, program, "-http", "127.0.0.1:0", "-era", era, "-more", string(text))))
		for _, names := range []string{"prefix", "flat"} {
			s := before(t, "[server]\nlist_wait = '30s'\nnames = '"+names+"'\n"+upstream)
			for _, w := range ways {
				c := s.join(w)
				result, err := c.begin(t.Context(), "tools/list", "", "").result()
				if err != nil {
					t.Fatal(err)
				}
				list, _ := rawjson.Get(result, "tools")
				seen, hostile := map[string]bool{}, 0
				for entry := range rawjson.Elements(list) {
					name, _ := rawjson.GetString(entry, "name")
					if !safeName.MatchString(name) || seen[name] {
						t.Errorf("%s, %s: %q", w, names, name)
					}
					seen[name] = true
					description, _ := rawjson.GetString(entry, "description")
					var i int
					if _, err := fmt.Sscanf(description, "hostile %d.", &i); err != nil {
						continue
					}
					hostile++
					if got, want := c.says(name, `{}`), "called "+strconv.Quote(hostileNames[i]); got != want {
						t.Errorf("%s, %s: %s: %s, want %s", w, names, name, got, want)
					}
				}
				if hostile != len(hostileNames) {
					t.Errorf("%s, %s: %d of %d hostile names are listed", w, names, hostile, len(hostileNames))
				}
			}
		}
	}
}

// The fields that repeat a modern request are made anew: the fixture refuses a
// request whose fields do not agree with the body.
func rowHeaders(t *testing.T, program string) {
	s := before(t, "[server]\nlist_wait = '30s'\n"+upstreamBy(t, program, way{"http", "modern"}))
	for _, w := range ways {
		c := s.join(w)
		for _, region := range []string{"eu", "é 😀", "=?base64?ZXU=?=", "=?base64?no?=", " padded ", "a\tb\r\nc", "", "100"} {
			quoted, _ := json.Marshal(region) // strings always marshal
			arguments := fmt.Sprintf(`{"limit":9007199254740991,"region":%s,"note":"\u00e9"}`, quoted)
			field, _ := mcp.EncodeHeaderValue(region)
			c.params = http.Header{"Mcp-Param-Region": {field}, "Mcp-Param-Limit": {"9007199254740991"}}
			if got := c.says("fixture_test_x_mcp_header", arguments); got != "arguments: "+arguments {
				t.Errorf("%s, %q: %s", w, region, got)
			}
		}
		c.params = nil
		for what, st := range map[string]step{
			"a prompt":   {method: "prompts/get", members: `"name":"fixture_test_simple_prompt"`},
			"a resource": {method: "resources/read", members: `"uri":"test://template/é b/data"`},
		} {
			st.name = what
			if r := c.converse(st); r.failed {
				t.Errorf("%s, %s: %.300s", w, what, r.answer)
			}
		}
	}
	c := s.join(way{"http", "modern"})
	c.params = http.Header{"Mcp-Param-Region": {"us"}}
	if r := c.call("fixture_test_x_mcp_header", `{"region":"eu"}`); !r.failed || at(r.answer, "code") != "-32020" {
		t.Errorf("a field that says otherwise: %.300s", r.answer)
	}
}

// Trace context passes untouched (MCP 2026-07-28, basic, §_meta; W3C Trace
// Context and Baggage).
func rowTrace(t *testing.T, program string) {
	context := []string{
		`"traceparent":"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"`,
		`"tracestate":"vendor=a\u003db,other=1"`, `"baggage":"user=J%C3%BCrgen;p=1,k=v"`,
	}
	eachUpstream(t, program, ways, func(t *testing.T, s *site, _ way) {
		for _, w := range ways {
			r := s.join(w).converse(step{name: "trace", method: "tools/call", members: tool("odd_arguments", `{}`), meta: strings.Join(context, ",")})
			content, _ := rawjson.Get(r.answer, "content")
			sent := ""
			for item := range rawjson.Elements(content) {
				sent, _ = rawjson.GetString(item, "text")
			}
			for _, member := range context {
				if !strings.Contains(sent, member) {
					t.Errorf("%s: %s is not in %s", w, member, sent)
				}
			}
		}
	})
}

// Batches are taken where revision 2025-03-26 was negotiated and nowhere else.
func rowBatches(t *testing.T, program string) {
	const batch = `[{"jsonrpc":"2.0","id":"b-1","method":"tools/call","params":{"name":"test_simple_text","arguments":{}}},` +
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"nobody"}},` +
		`{"jsonrpc":"2.0","id":2,"method":"ping"},{"jsonrpc":"2.0","id":"b-3","method":"tools/call","params":{"name":"odd_fields","arguments":{}}}]`
	eachUpstream(t, program, overHTTPBoth, func(t *testing.T, s *site, _ way) {
		for _, w := range ways {
			for _, version := range []string{"2024-11-05", "2025-03-26", "2025-06-18", legacyVersion, modernVersion} {
				if (version == modernVersion) != w.modern() {
					continue
				}
				c := s.join(w)
				if !w.modern() {
					c = s.speaking(w, version)
				}
				ids, want := []string{"null"}, `"code":-32600`
				if version == "2025-03-26" {
					ids, want = []string{`"b-1"`, "2", `"b-3"`}, `"result":`
				}
				var answers []*flight
				for _, id := range ids {
					answers = append(answers, c.expect(id))
				}
				if err := c.put(t.Context(), []byte(batch), c.header("", nil)); err != nil {
					t.Fatal(err)
				}
				for _, f := range answers {
					x, err := f.wait(t.Context())
					if err != nil || !strings.Contains(string(x.answer), want) {
						t.Errorf("%s, %s, id %s: %v %.300s", w, version, f.id, err, x.answer)
					}
				}
			}
		}
	})
}
