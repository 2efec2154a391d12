package config

import (
	"maps"
	"slices"
	"strings"
)

var pointerForm = newForm(`^(/([^~]|~[01])*)?$`) // RFC 6901, section 3

// shapeKeys are the keys of an override that say what is shown of a tool's
// results, in the order in which they apply.
var shapeKeys = []key{
	{name: "jq", kind: text, example: ".items | map({id, total})", pattern: newForm(`.`), expect: "a program",
		doc:   "A [jq](https://jqlang.org/manual/) program that makes of each of its results what is shown. It yields one value, within a second, of at most 8 MiB; it has no environment, input or modules. A result that it fails on is not shown. See [shaping](shaping.md).",
		field: func(t target) any { return &t.tool.Shape.JQ }},
	{name: "rows_at", kind: optional, example: "/data/items", pattern: pointerForm, expect: "a JSON pointer such as \"/data/items\", or empty for the whole result",
		doc:   "Where in its results the list of the records is that `fields` and `max_rows` are about, or the one record. Left out, it is the result if that is a list, else its only member that is a list; without any, the result is a record.",
		field: func(t target) any { return &t.tool.Shape.RowsAt }},
	{name: "fields", kind: list, example: []any{"id", "name", "owner.email"}, check: checkFieldPath,
		doc:   "The members that each record of its results keeps; those of members behind dots, or as a JSON pointer (`/owner/e.mail`) where a name has dots itself. Lists on the way need no word of their own.",
		field: func(t target) any { return &t.tool.Shape.Fields }},
	{name: "max_rows", kind: number, example: int64(50), least: 1, most: 1_000_000,
		doc:   "How many records of a result are shown at once; the others are read with `bulkhead_read_more`.",
		field: func(t target) any { return &t.tool.Shape.MaxRows }},
	{name: "max_bytes", kind: size, example: "16KiB", least: 1 << 10, most: 1 << 30,
		doc:   "How long its results are at most, where that is less than `server.max_result`. Whole records are left out where there are any, and read with `bulkhead_read_more`; else the text is cut.",
		field: func(t target) any { return &t.tool.Shape.MaxBytes }},
}

// checkFieldPath repeats the rule of those who read the path.
func checkFieldPath(v string) (problem, hint string) {
	hint = `for example "id", "owner.email" or "/owner/e.mail"`
	names := strings.Split(v, ".")
	if strings.HasPrefix(v, "/") {
		if names = strings.Split(v[1:], "/"); !pointerForm.MatchString(v) {
			return quote(v) + " is no JSON pointer: ~ stands before 0 or 1 only", hint
		}
	}
	if slices.Contains(names, "") {
		return quote(v) + " has a name in it that is empty", hint
	}
	return "", ""
}

// checkShapes refuses what has no effect, and what the reader knows to be no jq
// program.
func checkShapes(d *decoder, at string, u *Upstream, maxResult int64) {
	for _, name := range slices.Sorted(maps.Keys(u.Tools.Override)) {
		s, path := u.Tools.Override[name].Shape, join(at+".tools.override", name)
		given := func(key string) bool { return d.given[join(path, key)] }
		if s.JQ != "" && d.checkJQ != nil {
			if err := d.checkJQ(s.JQ); err != nil {
				d.fault(join(path, "jq"), err.Error(), `for example jq = ".items | map({id, total})"; https://jqlang.org/manual/ has the language`)
			}
		}
		if s.Fields != nil && len(s.Fields) == 0 {
			d.fault(join(path, "fields"), "names no field, so that nothing would be left", "remove it, or name the fields to keep")
		}
		if s.RowsAt != nil && !given("fields") && !given("max_rows") && !given("max_bytes") {
			d.fault(join(path, "rows_at"), "has no effect without fields, max_rows or max_bytes", "remove it, or add one of them")
		}
		if s.MaxBytes > maxResult {
			d.fault(join(path, "max_bytes"), "has no effect: it is more than server.max_result, which is "+sizeText(maxResult), "lower it, or raise server.max_result")
		}
	}
}
