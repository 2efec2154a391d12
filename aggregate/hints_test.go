package aggregate

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// shown returns what a member makes of a tool that has these annotations; ""
// for none.
func shown(t interface{ Fatal(...any) }, m Member, annotations string) (raw string, tool *upstream.Tool) {
	raw = `{ "name":"x", "inputSchema":{"type":"object"}`
	if annotations != "" {
		raw += `, "annotations" : ` + annotations
	}
	raw += `,"n":1e400 }`
	parsed, err := upstream.ParseTool("crm", []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	tool = m.present(&parsed)
	if string(parsed.Raw) != raw {
		t.Fatal("the upstream's own definition was changed: " + string(parsed.Raw))
	}
	if m.Override == nil && !m.Cautious && tool != &parsed {
		t.Fatal("a tool that is relayed was copied")
	}
	return raw, tool
}

func TestPresent(t *testing.T) {
	relay, careful := Member{}, Member{Cautious: true}
	with := func(m Member, h Hints) Member { m.Override = map[string]Hints{"x": h, "y": {}}; return m }
	yes, no := new(true), new(false)
	const all = `{"readOnlyHint":true,"destructiveHint":false,"idempotentHint":true,"openWorldHint":false,"title":"T","x":7}`
	for name, c := range map[string]struct {
		m            Member
		before, want string
		traits       upstream.Traits
		hints        bool
	}{
		"relay":                 {relay, all, all, upstream.Traits{ReadOnly: true, Idempotent: true}, true},
		"absent stays absent":   {relay, "", "", upstream.Traits{}, false},
		"cautious":              {careful, all, `{"title":"T","x":7}`, upstream.Traits{}, false},
		"cautious, none":        {careful, "", "", upstream.Traits{}, false},
		"cautious, careful":     {careful, `{"readOnlyHint":false, "destructiveHint": true,"idempotentHint":false,"openWorldHint":true}`, `{"readOnlyHint":false, "destructiveHint": true,"idempotentHint":false,"openWorldHint":true}`, upstream.Traits{Destructive: true}, true},
		"cautious, in part":     {careful, `{ "openWorldHint" : true , "readOnlyHint" : true }`, `{ "openWorldHint" : true }`, upstream.Traits{}, false},
		"override":              {with(relay, Hints{ReadOnly: yes}), `{ "readOnlyHint" : false , "title":"T"}`, `{ "readOnlyHint" : true , "title":"T"}`, upstream.Traits{ReadOnly: true}, true},
		"override, none before": {with(relay, Hints{OpenWorld: no, Destructive: yes}), "", `{"destructiveHint":true,"openWorldHint":false}`, upstream.Traits{Destructive: true}, true},
		"override, the same":    {with(relay, Hints{Idempotent: yes}), all, all, upstream.Traits{ReadOnly: true, Idempotent: true}, true},
		"override of nothing":   {with(relay, Hints{}), "", "", upstream.Traits{}, false},
		"override wins":         {with(careful, Hints{ReadOnly: yes, Idempotent: no}), all, `{"title":"T","x":7,"readOnlyHint":true,"idempotentHint":false}`, upstream.Traits{ReadOnly: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			raw, tool := shown(t, c.m, c.before)
			got, _ := rawjson.Get(tool.Raw, "annotations")
			if string(got) != c.want || tool.Hints != c.traits || tool.HasHints != c.hints {
				t.Errorf("%s, %+v, %v", got, tool.Hints, tool.HasHints)
			}
			if c.want == c.before && string(tool.Raw) != raw {
				t.Errorf("not byte for byte: %s", tool.Raw)
			}
			rest, before := rawjson.Delete(tool.Raw, "annotations"), rawjson.Delete([]byte(raw), "annotations")
			if c.before != "" && string(rest) != string(before) {
				t.Errorf("%s, want %s", rest, before)
			}
			if n, _ := rawjson.Get(tool.Raw, "n"); string(n) != "1e400" || tool.Upstream != "crm" || tool.Name != "x" {
				t.Errorf("%s %+v", n, tool)
			}
		})
	}
}

// Whatever a tool says, cautious never makes it look safer, and an override is
// what clients see.
func TestPresentIsNeverBolder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SampledFrom([]string{"", "true", "false"})
		annotations, sep := "{", ""
		said := map[string]string{}
		for _, h := range hints() {
			if v := value.Draw(t, h.name); v != "" {
				annotations, sep = annotations+sep+`"`+h.name+`":`+v, ","
				said[h.name] = v
			}
		}
		m := Member{Cautious: rapid.Bool().Draw(t, "cautious")}
		var set Hints
		if rapid.Bool().Draw(t, "set") {
			set.ReadOnly = new(rapid.Bool().Draw(t, "readOnly"))
			m.Override = map[string]Hints{"x": set}
		}
		_, tool := shown(t, m, annotations+"}")
		after, _ := rawjson.Get(tool.Raw, "annotations")
		for _, h := range hints() {
			v, _ := rawjson.Get(after, h.name)
			switch want := h.set(set); {
			case want != nil:
				if string(v) != map[bool]string{true: "true", false: "false"}[*want] {
					t.Fatalf("%s is %s", h.name, v)
				}
			case m.Cautious && (string(v) == h.favourable || said[h.name] != h.favourable && string(v) != said[h.name]):
				t.Fatalf("%s was %q and is %q", h.name, said[h.name], v)
			case !m.Cautious && string(v) != said[h.name]:
				t.Fatalf("%s was %q and is %q", h.name, said[h.name], v)
			}
		}
	})
}
