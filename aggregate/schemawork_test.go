package aggregate_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
)

// chain is a schema of references, each of which leads to the next one twice.
func chain(length int) string {
	var defs []string
	for i := range length {
		next := fmt.Sprintf(`{"$ref":"#/$defs/d%d"}`, i+1)
		defs = append(defs, fmt.Sprintf(`"d%d":{"allOf":[%s,%s]}`, i, next, next))
	}
	return fmt.Sprintf(`{"type":"object","$ref":"#/$defs/d0","$defs":{%s,"d%d":{}}}`, strings.Join(defs, ","), length)
}

// circle is a schema whose parts lead to themselves, each by way of the one before.
func circle(length int) string {
	var defs, all []string
	for k := 1; k <= length; k++ {
		before := strings.Repeat(fmt.Sprintf(`,{"$ref":"#/$defs/b%d"}`, k-1), 2)
		if k == 1 {
			before = ""
		}
		defs = append(defs, fmt.Sprintf(`"a%d":{"allOf":[{"$ref":"#/$defs/b%d"}%s]},"b%d":{"$ref":"#/$defs/a%d"}`, k, k, before, k, k))
		all = append(all, fmt.Sprintf(`{"$ref":"#/$defs/a%d"}`, k))
	}
	return fmt.Sprintf(`{"type":"object","allOf":[%s],"$defs":{%s}}`, strings.Join(all, ","), strings.Join(defs, ","))
}

// TestSchemasOfHours: a source's schema cannot keep us busy for longer than a
// moment; arguments that it cannot be asked about are the source's business.
func TestSchemasOfHours(t *testing.T) {
	const twice = `{"properties":{"a":{"$ref":"#"}},"required":["z"]}`
	for name, tt := range map[string]struct{ schema, arguments string }{
		"two ways into each level": {`{"type":"object","anyOf":[` + twice + `,` + twice + `]}`, strings.Repeat(`{"a":`, 40) + `{}` + strings.Repeat(`}`, 40)},
		"references to references": {chain(40), `{"x":1}`},
		"circles":                  {circle(30), `{"x":1}`},
		"escaped names":            {strings.ReplaceAll(chain(40), "$ref", `\u0024ref`), `{"x":1}`},
		"references by the way":    {strings.ReplaceAll(chain(40), "$ref", `$dynamicRef`), `{"x":1}`},
		"nested":                   {`{"type":"object",` + strings.Repeat(`"properties":{"a":{`, 2000) + strings.Repeat(`}}`, 2000) + `}`, `{"x":1}`},
		"a hundred thousand parts": {`{"type":"object","properties":{` + `"a":{}` + strings.Join(manyProperties(100_000), "") + `}}`, `{"x":1}`},
		"ways times values":        {`{"type":"object","properties":{"l":{"items":{"anyOf":[{"const":1}` + strings.Repeat(`,{"type":"string"}`, 5000) + `]}}}}`, `{"l":[0` + strings.Repeat(",0", 100_000) + `]}`},
		"a number of many digits":  {`{"type":"object","properties":{"n":{"minimum":0}}}`, `{"n":1e9999999}`},
		"many of many digits":      {`{"type":"object","properties":{"n":{"items":{"minimum":0}}}}`, `{"n":[1` + strings.Repeat(",1e999999", 100) + `]}`},
		"digits in the schema":     {`{"type":"object","properties":{"x":{"multipleOf":1e-999999}}}`, `{"x":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, "crm")
			f.tools = append(f.tools, parse(t, "crm", `{"name":"get","annotations":{"readOnlyHint":true},"inputSchema":`+tt.schema+`}`))
			m := member(f)
			m.CheckSchema = true
			var logged lockedText
			v := whole(t, aggregate.Options{Log: slog.New(slog.NewTextHandler(&logged, nil))}, m)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range 2 {
					if a := call(t, v, "crm_get", tt.arguments); a.IsError {
						t.Errorf("%.300s", a.text())
					}
				}
				if a := call(t, v, "bulkhead_batch_read", `{"calls":[{"id":"a","tool":"crm_get","arguments":`+tt.arguments+`}]}`); a.IsError {
					t.Errorf("in a plan: %.300s", a.text())
				}
			}()
			select {
			case <-done:
			case <-time.After(2 * time.Minute):
				t.Fatal("it takes too long")
			}
			if s := logged.String(); strings.Count(s, "level=WARN") != 2 || !strings.Contains(s, "tool=get") { // calls and plans
				t.Errorf("the log: %.500s", s)
			}
		})
	}
}

// whole runs an aggregate of one, with our own tools.
func whole(t *testing.T, opt aggregate.Options, m aggregate.Member) *aggregate.View {
	t.Helper()
	a, err := aggregate.New([]aggregate.Member{m}, opt)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := run(t, a)
	if err := a.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	return v
}

func manyProperties(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(`,"p%d":{}`, i)
	}
	return out
}

// TestSchemasThatReferAreHeldTo: what refers to itself in a sane way is checked,
// to whatever depth.
func TestSchemasThatReferAreHeldTo(t *testing.T) {
	const filter = `{"name":"get","inputSchema":{"type":"object","properties":{"filter":{"$ref":"#/$defs/f"}},"$defs":{"f":{"oneOf":[
		{"type":"object","required":["and"],"properties":{"and":{"type":"array","items":{"$ref":"#/$defs/f"}}}},
		{"type":"object","required":["or"],"properties":{"or":{"type":"array","items":{"$ref":"#/$defs/f"}}}},
		{"type":"object","required":["field"],"properties":{"field":{"type":"string"}}}]}}}}`
	f := newFake(t, "crm")
	f.tools = append(f.tools, parse(t, "crm", filter))
	m := member(f)
	m.CheckSchema = true
	v := whole(t, aggregate.Options{}, m)
	nested := func(leaf string, depth int) string {
		return `{"filter":` + strings.Repeat(`{"and":[{"field":"a"},{"or":[`, depth) + leaf + strings.Repeat(`]}]}`, depth) + `}`
	}
	for _, depth := range []int{0, 1, 8, 50} {
		if a := call(t, v, "crm_get", nested(`{"field":"b"}`, depth)); a.IsError {
			t.Errorf("%d deep: %s", depth, a.text())
		}
		if a := call(t, v, "crm_get", nested(`{"field":7}`, depth)); !strings.HasPrefix(a.text(), "invalid_arguments: crm: ") {
			t.Errorf("%d deep: %.200s", depth, a.text())
		}
	}
}
