package aggregate_test

import (
	"context"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// BenchmarkRules measures a call whose answer of 64 KiB is shaped, beside one that
// is passed on.
func BenchmarkRules(b *testing.B) {
	_, raw := table(700)
	for name, rules := range map[string]*shaping.Rules{
		"none": nil, "bytes": {MaxBytes: 1 << 20}, "rows": {MaxRows: 50}, "fields": {Fields: []string{"id", "name"}}, "jq": {JQ: ".rows | map({id, name})"},
	} {
		b.Run(name, func(b *testing.B) {
			f := newFake(b, "crm", "get")
			f.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
				return upstream.ParseResult([]byte(raw))
			}
			m := member(f)
			if rules != nil {
				shape, err := shaping.New(*rules)
				if err != nil {
					b.Fatal(err)
				}
				m.Shape = map[string]*shaping.Shaper{"get": shape}
			}
			a, err := aggregate.New([]aggregate.Member{m}, aggregate.Options{})
			if err != nil {
				b.Fatal(err)
			}
			v, _ := run(b, a)
			b.SetBytes(int64(len(raw)))
			r := &aggregate.Request{Principal: upstream.Local(), Params: []byte(`{"name":"crm_get"}`)}
			for b.Loop() {
				if _, err := v.CallTool(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
