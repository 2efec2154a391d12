package aggregate_test

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
)

func TestUndeclaredFields(t *testing.T) {
	const record = `{"type":"object","properties":{"id":{},"owner":{"properties":{"email":{}}},"tags":{"type":"array","items":{"properties":{"name":{}}}},"any":{"$ref":"#/x"},` +
		`"open":{"properties":{},"additionalProperties":{}},"closed":{"properties":{"a":{}},"additionalProperties":false}}}`
	const list = `{"type":"array","items":` + record + `}`
	fields := []string{"id", "owner.email", "owner.phone", "tags.name", "tags.text", "any.thing", "open.thing", "closed.b", "nosuch"}
	missing := []string{"owner.phone", "tags.text", "closed.b", "nosuch"}
	for name, tt := range map[string]struct {
		schema string
		rules  shaping.Rules
		want   []string
	}{
		"none":          {``, shaping.Rules{Fields: fields}, nil},
		"no words":      {`{"type":"object"}`, shaping.Rules{Fields: fields}, nil},
		"one record":    {record, shaping.Rules{Fields: fields, RowsAt: new("")}, missing},
		"the only list": {`{"type":"object","properties":{"items":` + list + `,"total":{"type":"number"}}}`, shaping.Rules{Fields: fields}, missing},
		"pointed to":    {`{"properties":{"a":{"properties":{"items":` + list + `}},"b":{"items":{}},"c":{"items":{}}}}`, shaping.Rules{Fields: fields, RowsAt: new("/a/items")}, missing},
		"several lists": {`{"properties":{"id":{},"a":{"items":{}},"b":{"items":{}}}}`, shaping.Rules{Fields: []string{"id", "x"}}, []string{"x"}},
		"made by jq":    {record, shaping.Rules{Fields: fields, JQ: "."}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				definition := `{"name":"get","inputSchema":{"type":"object"}`
				if tt.schema != "" {
					definition += `,"outputSchema":` + tt.schema
				}
				shape, err := shaping.New(tt.rules)
				if err != nil {
					t.Fatal(err)
				}
				f := newFake(t, "crm")
				f.tools = append(f.tools, parse(t, "crm", definition+"}"))
				m := member(f)
				m.Shape = map[string]*shaping.Shaper{"get": shape}
				a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
				if err != nil {
					t.Fatal(err)
				}
				v, _ := run(t, a)
				names(t, v)
				var want []string
				for _, field := range tt.want {
					want = append(want, `tools.override.get.fields names "`+field+`", which its output schema does not have`)
				}
				if diff := cmp.Diff(want, aggregate.Undeclared(a, "crm")); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}
