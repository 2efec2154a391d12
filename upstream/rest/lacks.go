package rest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// maxNamed is how many fields a note names.
const maxNamed = 30

// tally returns where to note which of the fields that a call chose there are; nil
// if it chose all.
func (s *shape) tally() []bool {
	if s.whole {
		return nil
	}
	return make([]bool, len(s.fieldsOf()))
}

// lacks takes which fields so many records had, which stand in value. Those that are
// declared and not there are drift; of those that the call has chosen it says which
// no record has, and which there are.
func (a *action) lacks(v *visit, seen []bool, records int, value json.RawMessage) string {
	if v.in.fields == nil {
		a.drift.check(seen, records)
		return ""
	}
	if seen == nil || records == 0 {
		return ""
	}
	var missing, there []string
	for _, f := range v.in.fields.fieldsOf() {
		if !seen[f.seen] {
			missing = append(missing, f.path)
		}
	}
	if missing == nil {
		return ""
	}
	for e := range rawjson.Elements(value) {
		value = e // the first will do
		break
	}
	for m := range rawjson.Members(value) {
		there = append(there, m.Name)
	}
	return fmt.Sprintf("nothing here has the fields %s; there are: %s", named(missing), named(there))
}

func named(fields []string) string {
	more := ""
	if n := len(fields) - maxNamed; n > 0 {
		fields, more = fields[:maxNamed], fmt.Sprintf(" and %d more", n)
	}
	short := make([]string, len(fields))
	for i, f := range fields {
		short[i] = shortened(f, 60)
	}
	return strings.Join(short, ", ") + more
}
