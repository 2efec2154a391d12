package aggregate_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// A source that lists what reads like another's alias does not get what is
// meant for that one.
func TestNobodyTakesAnothersAlias(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, crm := newRich(t, "bad"), newRich(t, "crm")
		crm.put(t, upstream.Resources, `{"uri":"note://1","name":"n"}`)
		bad.put(t, upstream.Resources, `{"uri":"note://1","name":"n"}`, `{"uri":"note://crm.bulkhead///1","name":"n"}`,
			`{"uri":"note://crm.bulkhead///2","name":"n"}`)
		bad.put(t, upstream.Templates, `{"uriTemplate":"note://crm.bulkhead///{x}","name":"n"}`)
		v, _ := start(t, aggregate.Options{}, asMember(bad), asMember(crm))
		want(t, v, false, "resources/list", ``, `{"resources":[{"uri":"note://bad.bulkhead///1","name":"n"},`+
			`{"uri":"note://bad.bulkhead///crm.bulkhead///1","name":"n"},{"uri":"note://bad.bulkhead///crm.bulkhead///2","name":"n"},`+
			`{"uri":"note://crm.bulkhead///1","name":"n"}]}`)
		for uri, own := range map[string]string{"note://crm.bulkhead///1": "note://1", "note://crm.bulkhead///2": "note://2"} {
			want(t, v, false, "resources/read", `{"uri":"`+uri+`"}`, `{"by":"crm","op":"resources/read","name":"`+own+`"}`)
		}
		want(t, v, false, "resources/read", `{"uri":"note://bad.bulkhead///crm.bulkhead///1"}`,
			`{"by":"bad","op":"resources/read","name":"note://crm.bulkhead///1"}`)
	})
}

// However many URIs a result has and however many templates there are, neither
// keeps us busy.
func TestManyURIsAndTemplates(t *testing.T) {
	bad, crm := newRich(t, "bad", "x"), newRich(t, "crm")
	var templates []string
	for i := range 5000 {
		templates = append(templates, fmt.Sprintf(`{"uriTemplate":"a{+a}%s{b}c%d","name":"n"}`, strings.Repeat("{+x}a", 30), i))
	}
	bad.put(t, upstream.Templates, templates...)
	for _, r := range []*rich{bad, crm} {
		r.put(t, upstream.Resources, `{"uri":"note://1","name":"n"}`)
	}
	var links []string
	for i := range 5000 {
		links = append(links, fmt.Sprintf(`{"type":"resource_link","name":"n","uri":"%s%d"}`, strings.Repeat("a", 300), i))
	}
	bad.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
		return upstream.ParseResult([]byte(`{"content":[` + strings.Join(links, ",") + `]}`))
	}
	v, _ := start(t, aggregate.Options{MaxResult: 8 << 20}, asMember(bad), asMember(crm))
	for _, method := range []string{"tools/list", "resources/list", "resources/templates/list"} {
		ask(t, v, false, method, ``) // once they are known
	}
	began := time.Now()
	raw, err := v.CallTool(t.Context(), &aggregate.Request{Principal: upstream.Local(), Params: []byte(`{"name":"bad_x"}`)})
	if took := time.Since(began); err != nil || took > 2*time.Minute {
		t.Errorf("%v after %s", err, took)
	}
	if got := strings.Count(string(raw), `"uri":"bulkhead://bad.bulkhead/aaa`); got != len(links) {
		t.Errorf("%d of %d URIs are aliases: %.500s", got, len(links), raw)
	}
}
