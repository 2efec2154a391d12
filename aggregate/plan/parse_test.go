package plan_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
)

// find knows tools whose names say what they are: SOURCE_read*, SOURCE_write*.
func find(name string) (plan.Tool, error) {
	source, what, ok := strings.Cut(name, "_")
	t := plan.Tool{Source: source, Reads: strings.HasPrefix(what, "read"), Writes: strings.HasPrefix(what, "write")}
	t.Check = func(arguments json.RawMessage, _ [][]string) string {
		if strings.Contains(string(arguments), "wrong") {
			return "x: is wrong"
		}
		return ""
	}
	if !ok || !t.Reads && !strings.HasPrefix(what, "write") {
		return t, errors.New("there is no tool " + name + "; did you mean crm_read?")
	}
	if what == "read_detail" {
		t.Requires = []string{source + "_read_list"}
	}
	return t, nil
}

func TestFaults(t *testing.T) {
	many := make([]string, plan.MaxNodes+1)
	for i := range many {
		many[i] = fmt.Sprintf(`{"id":"a%d","tool":"crm_read"}`, i)
	}
	refs := strings.Repeat(`{"$ref":"#/a/x"},`, plan.MaxRefs) + `{"$ref":"#/a/x"}`
	for calls, want := range map[string][]string{
		`{}`:                                {"calls: must be a list of calls"},
		`[]`:                                {"calls: is empty"},
		"[" + strings.Join(many, ",") + "]": {"calls: has 65 calls, at most 64"},
		`[1]`:                               {"calls[0]: is a number, not an object"},
		`[{"id":"a"}]`:                      {"a: names no tool"},
		`[{"tool":"crm_read"}]`:             {"calls[0]: needs an id"},
		`[{"id":"item","tool":"crm_read"}]`: {"calls[0]: needs an id", "other than item"},
		`[{"id":"a","tool":"crm_read"},{"id":"a","tool":"crm_read"}]`:                                  {`calls[1]: has the id "a" of calls[0]`},
		`[{"id":"a","tool":"crm_reed"}]`:                                                               {"a: there is no tool crm_reed; did you mean crm_read?"},
		`[{"id":"a","tool":"crm_read","args":{}}]`:                                                     {`a: has an unknown member "args"`, "arguments"},
		`[{"id":"a","tool":"crm_read","arguments":[]}]`:                                                {"a: arguments is a list, not an object"},
		`[{"id":"a","tool":"crm_read","on_error":"retry"}]`:                                            {"a: on_error is none of skip, null and fail"},
		`[{"id":"a","tool":"crm_read","after":"b"}]`:                                                   {"a: after is no list of ids"},
		`[{"id":"a","tool":"crm_read","after":["b"]}]`:                                                 {`a: after: there is no call "b" in the plan; the calls are a`},
		`[{"id":"a","tool":"crm_read","after":["a"]}]`:                                                 {"a: after: it needs its own result"},
		`[{"id":"a","tool":"crm_read","after":["b"]},{"id":"b","tool":"crm_read"}]`:                    {"a: after: b comes later; write b before a"},
		`[{"id":"a","tool":"crm_read","after":["b"]},{"id":"b","tool":"crm_read","after":["a"]}]`:      {"a: is part of a circle: a needs b needs a; remove one of these references"},
		`[{"id":"a","tool":"crm_read","arguments":{"x":{"$ref":"#/b/id"}}}]`:                           {`a: #/b/id: there is no call "b"`},
		`[{"id":"a","tool":"crm_read","arguments":{"x":[{"$ref":7}]}}]`:                                {"a: $ref is a number, not a text"},
		`[{"id":"a","tool":"crm_read","arguments":{"x":{"$ref":"b.id"}}}]`:                             {`a: the reference "b.id"`, `{"$literal":...}`},
		`[{"id":"a","tool":"crm_read","arguments":{"x":{"$ref":"#/%zz"}}}]`:                            {"not escaped"},
		`[{"id":"a","tool":"crm_read","arguments":{"x":{"$ref":"#/item/id"}}}]`:                        {"a: #/item/id is the element of a list, but the call has no map"},
		`[{"id":"a","tool":"crm_read","map":["x"]}]`:                                                   {"a: map is no reference"},
		`[{"id":"a","tool":"crm_read","map":{"$ref":"rows"}}]`:                                         {"a: map: a reference is"},
		`[{"id":"a","tool":"crm_read"},{"id":"b","tool":"crm_read","arguments":{"x":[` + refs + `]}}]`: {"calls: has 257 references, at most 256"},
		`[{"id":"b","tool":"crm_read_detail"}]`:                                                        {"b: crm_read_detail needs the output of crm_read_list, which is not in the plan"},
		`[{"id":"a","tool":"crm_read_list"},{"id":"b","tool":"crm_read_detail"}]`:                      {"b: crm_read_detail needs the output of crm_read_list, but does not depend on call a", `"after":["a"]`},
		`[{"id":"a","tool":"crm_read_list","on_error":"null"},{"id":"b","tool":"crm_read_detail","after":["a"]}]`: {
			"b: crm_read_detail needs the output of crm_read_list, but is made without it where a call before it fails with on_error null; leave on_error out of a and"},
		`[{"id":"a","tool":"crm_read_list"},{"id":"m","tool":"erp_read","after":["a"],"on_error":"null"},{"id":"b","tool":"crm_read_detail","arguments":{"x":{"$ref":"#/m"}}}]`: {
			"b: crm_read_detail needs the output of crm_read_list, but is made without it"},
		`[{"id":"a","tool":"crm_read","arguments":{"x":{"$literal":"wrong"}}}]`: {"a: crm_read: x: is wrong"},
		// All faults at once.
		`[{"id":"a","tool":"crm_reed"},{"id":"b","arguments":3},7]`: {"a: there is no tool", "b: names no tool", "b: arguments is a number", "calls[2]: is a number"},
	} {
		_, err := plan.Parse(json.RawMessage(calls), find, false)
		faults, ok := errors.AsType[plan.Faults](err)
		if !ok || len(faults) == 0 {
			t.Errorf("%.200s: %v", calls, err)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%.200s:\n%v\nhas no %q", calls, err, w)
			}
		}
	}
}

func TestReadOnly(t *testing.T) {
	calls := json.RawMessage(`[{"id":"a","tool":"crm_write"}]`)
	if _, err := plan.Parse(calls, find, false); err != nil {
		t.Error(err)
	}
	if _, err := plan.Parse(calls, find, true); err == nil || !strings.Contains(err.Error(), "a: crm_write does not say that it only reads") {
		t.Error(err)
	}
}

func TestRequirementMet(t *testing.T) {
	for _, calls := range []string{
		`[{"id":"a","tool":"crm_read_list"},{"id":"b","tool":"crm_read_detail","after":["a"]}]`,
		`[{"id":"a","tool":"crm_read_list"},{"id":"m","tool":"erp_read","arguments":{"x":{"$ref":"#/a"}}},{"id":"b","tool":"crm_read_detail","arguments":{"x":{"$ref":"#/m/y"}}}]`,
		`[{"id":"a","tool":"crm_read_list"},{"id":"m","tool":"erp_read","after":["a"],"on_error":"null"},{"id":"b","tool":"crm_read_detail","after":["a","m"]}]`,
	} {
		if _, err := plan.Parse(json.RawMessage(calls), find, true); err != nil {
			t.Errorf("%s: %v", calls, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`[{"id":"a","tool":"crm_read"},{"id":"b","tool":"crm_write","after":["a"],"map":{"$ref":"#/a/x~1y/0"},"arguments":{"x":{"$ref":"#/item"}}}]`)
	f.Add(`[{"id":"a","tool":"crm_read","arguments":{"x":{"$ref":"#/a"}}}]`)
	f.Fuzz(func(t *testing.T, calls string) {
		if !json.Valid([]byte(calls)) {
			return
		}
		p, err := plan.Parse(json.RawMessage(calls), find, false)
		if err != nil && err.Error() == "" || err == nil && len(p.Nodes) == 0 {
			t.Errorf("%q: %v", calls, err)
		}
	})
}
