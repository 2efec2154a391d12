package aggregate

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestTemplates(t *testing.T) {
	for _, tt := range []struct {
		template, uri string
		match         bool
	}{
		{"db://{table}/row/{id}", "db://users/row/7", true},
		{"db://{table}/row/{id}", "db://users/col/7", false},
		{"db://{table}/row/{id}", "db://a/b/row/7", false},
		{"db://{table}", "db://a%2Fb", true},
		{"db://{table}", "db:/", false},
		{"file:///{+path}", "file:///a/b/c?d#e", true},
		{"file:///{path}", "file:///a/b", false},
		{"file:///{path*}", "file:///a/b", true},
		{"file:///a{/seg*}", "file:///a/b/c", true},
		{"file:///a{/seg*}", "file:///a", true},
		{"file:///a{/seg*}", "file:///ab", false},
		{"x:a{.ext}", "x:a.txt", true},
		{"x:a{?q,page}", "x:a?q=1&page=2", true},
		{"x:a{?q,page}", "x:a", true},
		{"x:a{?q}", "x:a/b", false},
		{"x:a?f=1{&q}", "x:a?f=1&q=2", true},
		{"x:a{#frag}", "x:a#b/c?d", true},
		{"x:a{#frag}", "x:ab", false},
		{"x:a{;p}", "x:a;p=1;q=2", true},
		{"x:{a,b}:{c}", "x:1,2:3", true},
		{"x:plain", "x:plain", true},
		{"x:plain", "x:plainer", false},
		{"x:{a}b{c}b", "x:bbbb", true},
		{"x:{a}", "x:" + strings.Repeat("a", maxURIText), false},
	} {
		parsed, ok := parseTemplate(tt.template)
		if !ok {
			t.Errorf("%s is not understood", tt.template)
		} else if got := parsed.match(tt.uri); got != tt.match {
			t.Errorf("%s matches %.40s: %v, want %v", tt.template, tt.uri, got, tt.match)
		}
	}
	for _, bad := range []string{"x:{", "x:{}", "x:{a}{", strings.Repeat("{a}", maxParts+1)} {
		if _, ok := parseTemplate(bad); ok {
			t.Errorf("%.20s is understood", bad)
		}
	}
}

// FuzzTemplate finds templates that panic, or that do not match what they
// expand to. One that took more than linear time would not come to an end on
// the longer seeds.
func FuzzTemplate(f *testing.F) {
	f.Add("db://{a}/x{/b*}{?c}", "db://1/x/2/3?c=4")
	f.Add(strings.Repeat("{a}b", 30), strings.Repeat("b", 4000))
	f.Add(strings.Repeat("{+a}", maxParts), strings.Repeat("/", 8000)+"x")
	f.Add("{", "}")
	f.Fuzz(func(t *testing.T, template, uri string) {
		parsed, ok := parseTemplate(template)
		if !ok {
			return
		}
		parsed.match(uri)
		var empty strings.Builder
		for _, p := range parsed.parts {
			empty.WriteString(p.literal)
		}
		if empty.Len() <= maxURIText && !parsed.match(empty.String()) {
			t.Errorf("%q does not match %q, which it is without values", template, empty.String())
		}
		if before, after, found := strings.Cut(template, "{a}"); found && !strings.ContainsAny(before+after, "{}") {
			if filled := before + "value" + after; len(filled) <= maxURIText && !parsed.match(filled) {
				t.Errorf("%q does not match %q", template, filled)
			}
		}
	})
}

func TestAliasesAreInvertible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		uri := rapid.OneOf(
			rapid.StringMatching(`[a-z][a-z0-9+.-]{0,5}:(//)?[a-z./?#%{}]{0,12}`),
			rapid.StringMatching(`bulkhead:(//)?[a-z./]{0,12}`), rapid.String(),
		).Draw(t, "uri")
		id := upstream.ID(rapid.StringMatching(`[a-z][a-z0-9_-]{0,23}`).Draw(t, "id"))
		made := alias(id, uri)
		from, own, ok := unalias(made)
		if !ok || from != id || own != uri {
			t.Fatalf("%q of %s is %q, which is %q of %s (%v)", uri, id, made, own, from, ok)
		}
		if s := scheme(uri); s != "" && scheme(made) != s {
			t.Fatalf("%q of scheme %q became %q", uri, s, made)
		}
	})
	for _, none := range []string{"", "x", "file:///a", "file://crm.bulkhead", "file://.bulkhead/x", "file://crm/x", "file:crm.bulkhead/x"} {
		if id, own, ok := unalias(none); ok {
			t.Errorf("%q is taken for %q of %s", none, own, id)
		}
	}
}

// A template of very many parts is given up early, not taken apart and dropped.
func TestATemplateOfManyPartsCostsLittle(t *testing.T) {
	long := strings.Repeat("{a}", 1_000_000)
	if n := testing.AllocsPerRun(1, func() {
		if _, ok := parseTemplate(long); ok {
			t.Error("taken")
		}
	}); n > 20 {
		t.Errorf("%v allocations", n)
	}
}
