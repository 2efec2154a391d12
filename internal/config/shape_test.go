package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

func shapeOf(keys string) string {
	return upstream("sandbox = 'crm'", "tools.override.get = { "+keys+" }")
}

var theShape = of(func(u config.Upstream) any { return u.Tools.Override["get"].Shape })

// shapeBehaviour is more of behaviour: what is shown of results.
var shapeBehaviour = map[string]behaves{
	"upstream.*.tools.override.*.jq":        {shapeOf(`jq = ".items | map({id})"`), theShape, config.Shape{JQ: ".items | map({id})"}},
	"upstream.*.tools.override.*.rows_at":   {shapeOf(`rows_at = "", max_rows = 1`), theShape, config.Shape{RowsAt: new(""), MaxRows: 1}},
	"upstream.*.tools.override.*.fields":    {shapeOf(`fields = ["id", "owner.email", "/e.f/g~1h"]`), theShape, config.Shape{Fields: []string{"id", "owner.email", "/e.f/g~1h"}}},
	"upstream.*.tools.override.*.max_rows":  {shapeOf(`max_rows = 50, rows_at = "/data/items"`), theShape, config.Shape{MaxRows: 50, RowsAt: new("/data/items")}},
	"upstream.*.tools.override.*.max_bytes": {shapeOf(`max_bytes = "16KiB"`), theShape, config.Shape{MaxBytes: 16 << 10}},
}

// shapeFaults is more of faultCases.
var shapeFaults = []faultCase{
	{"shape", shapeOf(`jq = 1, rows_at = "items", fields = "id", max_rows = 0, max_bytes = "1B"`), []string{
		"upstream.crm.tools.override.get.jq: must be a string in quotes, not the number 1",
		`upstream.crm.tools.override.get.rows_at: must be a JSON pointer such as "/data/items", or empty`,
		"upstream.crm.tools.override.get.fields: must be a list of strings, not a string",
		"upstream.crm.tools.override.get.max_rows: 0 is out of range: from 1 to 1000000",
		`upstream.crm.tools.override.get.max_bytes: "1B" is out of range: from 1KiB to 1GiB`}},
	{"no program", shapeOf(`jq = ""`), []string{"upstream.crm.tools.override.get.jq: must be a program | map({id, total})"}},
	{"field paths", shapeOf(`fields = ["id", "a..b", "", "/", "/a~b"]`), []string{
		`upstream.crm.tools.override.get.fields[1]: "a..b" has a name in it that is empty | "owner.email"`,
		`upstream.crm.tools.override.get.fields[2]: "" has a name in it that is empty`,
		`upstream.crm.tools.override.get.fields[3]: "/" has a name in it that is empty`,
		`upstream.crm.tools.override.get.fields[4]: "/a~b" is no JSON pointer`}},
	{"shapes without effect", "[server]\nmax_result = '8KiB'\n" + shapeOf(`fields = []`) + "[upstream.shop]\nsandbox = 'crm'\ntools.override.'a b' = { rows_at = '/x' }\ntools.override.b.max_bytes = '9KiB'\n", []string{
		"upstream.crm.tools.override.get.fields: names no field, so that nothing would be left",
		`upstream.shop.tools.override."a b".rows_at: has no effect without fields, max_rows or max_bytes`,
		"upstream.shop.tools.override.b.max_bytes: has no effect: it is more than server.max_result, which is 8KiB | raise server.max_result"}},
}

func TestJQIsChecked(t *testing.T) {
	r := config.Reader{CheckJQ: func(program string) error {
		if program == "." {
			return nil
		}
		return errors.New("is no jq program: unexpected EOF")
	}}
	if _, err := r.Parse([]byte(shapeOf(`jq = "."`)), "/etc/bulkhead/config.toml", nil); err != nil {
		t.Error(err)
	}
	_, err := r.Parse([]byte(shapeOf(`jq = ".a |"`)), "/etc/bulkhead/config.toml", nil)
	if err == nil || !strings.Contains(err.Error(), "upstream.crm.tools.override.get.jq: is no jq program: unexpected EOF") {
		t.Error(err)
	}
}
