package aggregate

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

func toolOf(t interface{ Fatal(...any) }, schema string) *upstream.Tool {
	tool, err := upstream.ParseTool("crm", fmt.Appendf(nil, `{"name":"get","inputSchema":%s}`, schema))
	if err != nil {
		t.Fatal(schema, err)
	}
	return &tool
}

// TestControlsThatAToolTakes: what a tool knows by any way in which a schema can
// say so stays.
func TestControlsThatAToolTakes(t *testing.T) {
	const arguments = `{"x": 1, "wait_for_previous" : true ,"task_progress":"- [x] 1","toolCallId":"c","__tool_use_purpose":"p","y":{"wait_for_previous":1}}`
	const left = `{"x": 1,"wait_for_previous" : true,"y":{"wait_for_previous":1}}`
	const none = `{"x": 1,"y":{"wait_for_previous":1}}`
	deep := strings.Repeat(`{"allOf":[`, 300) + `{}` + strings.Repeat(`]}`, 300)
	for schema, want := range map[string]string{
		`{"type":"object"}`: none,
		`{"type":"object","additionalProperties":false}`:                                                                       none,
		`{"type":"object","properties":{"x":{"properties":{"wait_for_previous":{}},"required":["wait_for_previous"]}}}`:        none,
		`{"type":"object","properties":{"x":{"enum":["wait_for_previous"]}},"description":"\"wait_for_previous\" is no more"}`: none,
		`{"type":"object","properties":{"wait_for_previous":{}}}`:                                                              left,
		`{"type":"object","required":["wait_for_previous"]}`:                                                                   left,
		`{"type":"object","patternProperties":{"^wait":{}}}`:                                                                   left,
		`{"type":"object","patternProperties":{"^w(?!x)":{}},"additionalProperties":false}`:                                    arguments, // not to be told here
		`{"type":"object","allOf":[{"anyOf":[{"oneOf":[{"properties":{"wait_for_previous":{}}}]}]}]}`:                          left,
		`{"type":"object","if":{"properties":{"wait_for_previous":{"const":true}}}}`:                                           left,
		`{"type":"object","then":{"required":["wait_for_previous"]}}`:                                                          left,
		`{"type":"object","not":{"required":["wait_for_previous"]}}`:                                                           left,
		`{"type":"object","dependentRequired":{"wait_for_previous":["x"]}}`:                                                    left,
		`{"type":"object","dependentSchemas":{"x":{"properties":{"wait_for_previous":{}}}}}`:                                   left,
		`{"type":"object","propertyNames":{"enum":["x","y","wait_for_previous"]}}`:                                             left,
		`{"type":"object","$ref":"#/$defs/a~1b","$defs":{"a/b":{"properties":{"wait_for_previous":{}}}}}`:                      left,
		`{"type":"object","$ref":"#/$defs/no"}`:                                                                                arguments,
		`{"type":"object","$ref":"#/$defs/","$defs":{"":{"properties":{"wait_for_previous":{}}}}}`:                             left,
		`{"type":"object","$ref":"#/$defs/a~b","$defs":{"a~b":{}}}`:                                                            arguments, // no pointer
		`{"type":"object","$ref":"https://example.com/schema"}`:                                                                arguments,
		`{"type":"object","$ref":"#"}`:                                                                                         arguments, // without end
		`{"type":"object","allOf":[` + deep + `]}`:                                                                             arguments,
		`{"type":"object","additionalProperties":true}`:                                                                        arguments,
		`{"type":"object","additionalProperties":{"type":"string"}}`:                                                           arguments,
		`{"type":"object","allOf":[{"unevaluatedProperties":{}}]}`:                                                             arguments,
		`{"type":"object","unevaluatedProperties":false}`:                                                                      none,
	} {
		if got := string(withoutControls(toolOf(t, schema), json.RawMessage(arguments))); got != want {
			t.Errorf("%.100s:\n%s, want\n%s", schema, got, want)
		}
	}
	for _, other := range []string{``, `null`, `[]`, `"wait_for_previous"`, `["wait_for_previous"]`, `{"a":"wait_for_previous"}`, `{"a":{"\"wait_for_previous\"":1}}`} {
		if got := string(withoutControls(toolOf(t, `{"type":"object"}`), json.RawMessage(other))); got != other {
			t.Errorf("%s: %s", other, got)
		}
	}
}

// schemas draws schemas that speak of members called x, y and like the control, in
// every way that a validator understands.
func schemas(control string) *rapid.Generator[string] {
	name := rapid.SampledFrom([]string{"x", "y", control})
	leaf := rapid.SampledFrom([]string{`{}`, `{"type":"integer"}`, `{"properties":{"` + control + `":{"type":"integer"}},"required":["` + control + `"]}`, `{"type":["boolean","object"]}`})
	var schema func(depth int) *rapid.Generator[string]
	schema = func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			members := []string{`"type":"object"`}
			some := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 0 }
			if rapid.Bool().Draw(t, "properties") {
				members = append(members, fmt.Sprintf(`"properties":{"x":%s,%q:%s}`, leaf.Draw(t, "x"), name.Filter(func(n string) bool { return n != "x" }).Draw(t, "name"), leaf.Draw(t, "of")))
			}
			if some("required") {
				members = append(members, fmt.Sprintf(`"required":[%q]`, name.Draw(t, "required")))
			}
			if some("patterns") {
				members = append(members, fmt.Sprintf(`"patternProperties":{%q:%s}`, rapid.SampledFrom([]string{"^x", control[:3], "."}).Draw(t, "pattern"), leaf.Draw(t, "of")))
			}
			if rapid.Bool().Draw(t, "additional") {
				members = append(members, `"additionalProperties":`+rapid.SampledFrom([]string{"false", "false", "true", `{"type":"boolean"}`}).Draw(t, "others"))
			}
			if depth > 0 {
				inner := func() string { return schema(depth-1).Draw(t, "inner") }
				for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
					if some(keyword) {
						members = append(members, fmt.Sprintf(`%q:[%s,%s]`, keyword, inner(), inner()))
					}
				}
				for _, keyword := range []string{"if", "then", "else", "not"} {
					if some(keyword) {
						members = append(members, fmt.Sprintf(`%q:%s`, keyword, inner()))
					}
				}
				if some("ref") {
					members = append(members, `"$ref":"#/$defs/d"`)
				}
			}
			return "{" + strings.Join(members, ",") + "}"
		})
	}
	return rapid.Custom(func(t *rapid.T) string {
		return fmt.Sprintf(`{"$defs":{"d":%s},%s`, schema(0).Draw(t, "definition"), schema(2).Draw(t, "schema")[1:])
	})
}

// TestControlsProperty: whatever a tool declares, nothing is taken from a call but
// members of its arguments that are called like a control; that never turns a call
// that the tool takes into one that it refuses; and it happens where the tool does
// not speak of it.
func TestControlsProperty(t *testing.T) {
	checked := &schemaCache{log: slog.New(slog.DiscardHandler)}
	dropped, kept := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		control := rapid.SampledFrom(controls).Draw(t, "control")
		declares := fmt.Sprintf(`{"type":"object","properties":{%q:{}}}`, control)
		schema := rapid.OneOf(rapid.Just(`{"type":"object"}`), rapid.Just(declares), schemas(control), schemas(control)).Draw(t, "schema")
		tool := toolOf(t, schema)
		others := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{`"x":1`, `"y" : {"` + control + `":true}`, `"z":"` + control + `"`}), 0, 3, rapid.ID).Draw(t, "others")
		members := slices.Insert(others, rapid.IntRange(0, len(others)).Draw(t, "place"), `"`+control+`":true`)
		arguments := json.RawMessage("{" + strings.Join(members, ", ") + "}")
		left := withoutControls(tool, arguments)

		want := rawjson.Delete(arguments, control)
		switch string(left) {
		case string(arguments):
			kept++
			takes := regexp.MustCompile(`"additionalProperties":[^f]|"patternProperties":`).MatchString(schema)
			if !takes && !strings.Contains(schema, control) {
				t.Fatalf("%s is left in %s for %s", control, arguments, schema)
			}
		case string(want):
			dropped++
		default:
			t.Fatalf("%s of %s", left, arguments)
		}
		if before, after := checked.check(tool, arguments), checked.check(tool, left); before == "" && after != "" {
			t.Fatalf("%s was taken, %s is not: %s by %s", arguments, left, after, tool.Raw)
		}
	})
	if dropped == 0 || kept == 0 {
		t.Errorf("%d dropped, %d kept: one of both is not tested", dropped, kept)
	}
}
