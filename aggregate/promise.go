package aggregate

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// promise is what an output schema says of a value, as far as that is looked at:
// the JSON type, the fields of an object, the items of an array. What a schema
// says by references or alternatives is taken for nothing said.
type promise struct {
	types    jsonTypes // 0 is any
	fields   []promisedField
	items    *promise // nil says nothing of them
	declared json.RawMessage
}

type promisedField struct {
	name     string
	required bool
	promise
}

// jsonTypes is a set of the types that a JSON value can have.
type jsonTypes uint8

const (
	isObject jsonTypes = 1 << iota
	isArray
	isString
	isNumber
	isBoolean
	isNull
)

// typeNames are the types as JSON Schema and people call them. An integer is a
// number: 1.0 is both.
var typeNames = []struct {
	name string
	is   jsonTypes
}{{"object", isObject}, {"array", isArray}, {"string", isString}, {"number", isNumber}, {"boolean", isBoolean}, {"null", isNull}, {"integer", isNumber}}

func typeNamed(name string) jsonTypes {
	for _, t := range typeNames {
		if t.name == name {
			return t.is
		}
	}
	return 0
}

func jsonTypeOf(v []byte) jsonTypes {
	switch k := rawjson.Kind(v); k {
	case '{':
		return isObject
	case '[':
		return isArray
	case '"':
		return isString
	case 't', 'f':
		return isBoolean
	case 'n':
		return isNull
	default:
		return isNumber
	}
}

// words names the types: "a string", "a number or null".
func (t jsonTypes) words() string {
	var names []string
	for _, n := range typeNames[:6] {
		if t&n.is == 0 {
			continue
		}
		switch n.is {
		case isNull:
			names = append(names, n.name)
		case isObject, isArray:
			names = append(names, "an "+n.name)
		default:
			names = append(names, "a "+n.name)
		}
	}
	return strings.Join(names, " or ")
}

// How much of an output schema is looked at.
const (
	promisedDepth  = 8
	promisedFields = 300
)

// promised reads the output schema of a tool; nil if it has none, or none that
// says anything.
func promised(t *upstream.Tool) *promise {
	raw, ok := rawjson.Get(t.Raw, "outputSchema")
	if !ok || rawjson.Kind(raw) != '{' {
		return nil
	}
	room := promisedFields
	p := readPromise(raw, promisedDepth, &room)
	p.declared = raw
	return &p
}

func readPromise(schema []byte, depth int, room *int) promise {
	var p promise
	if rawjson.Kind(schema) != '{' || depth == 0 {
		return p
	}
	var required []string
	var properties json.RawMessage
	for m := range rawjson.Members(schema) {
		switch m.Name {
		case "type":
			p.types = readTypes(m.Value)
		case "required":
			if rawjson.Kind(m.Value) == '[' {
				for name := range rawjson.Elements(m.Value) {
					required = append(required, rawjson.String(name))
				}
			}
		case "properties":
			properties = m.Value
		case "items":
			items := readPromise(m.Value, depth-1, room)
			p.items = &items
		}
	}
	if rawjson.Kind(properties) == '{' {
		for m := range rawjson.Members(properties) {
			if *room--; *room < 0 {
				break
			}
			p.fields = append(p.fields, promisedField{m.Name, slices.Contains(required, m.Name), readPromise(m.Value, depth-1, room)})
		}
	}
	for _, name := range required {
		if p.field(name) == nil && len(p.fields) < promisedFields {
			p.fields = append(p.fields, promisedField{name: name, required: true})
		}
	}
	return p
}

func readTypes(v []byte) (t jsonTypes) {
	switch rawjson.Kind(v) {
	case '"':
		return typeNamed(rawjson.String(v))
	case '[':
		for name := range rawjson.Elements(v) {
			is := jsonTypes(0)
			if rawjson.Kind(name) == '"' {
				is = typeNamed(rawjson.String(name))
			}
			if is == 0 { // none that is known: it may be anything
				return 0
			}
			t |= is
		}
	}
	return t
}

func (p *promise) field(name string) *promisedField {
	for i := range p.fields {
		if p.fields[i].name == name {
			return &p.fields[i]
		}
	}
	return nil
}

// breach is one way in which a value is not what was promised.
type breach struct{ field, problem string }

// How much of one answer is looked at, and how much is found in it at most.
const (
	keptItems   = 5 // of each array
	maxBreaches = 5
)

// kept adds to found how v, which stands at path, breaks the promise.
func (p *promise) kept(v []byte, path string, found []breach) []breach {
	if len(found) >= maxBreaches {
		return found
	}
	is := jsonTypeOf(v)
	if p.types != 0 && p.types&is == 0 {
		return append(found, breach{path, "is " + is.words() + ", not " + p.types.words()})
	}
	switch {
	case is == isArray && p.items != nil:
		n := 0
		for item := range rawjson.Elements(v) {
			if n++; n > keptItems {
				break
			}
			found = p.items.kept(item, path+"[]", found)
		}
	case is == isObject && len(p.fields) > 0:
		found = p.fieldsKept(v, path, found)
	}
	return found
}

func (p *promise) fieldsKept(v []byte, path string, found []breach) []breach {
	seen := make([]bool, len(p.fields))
	for m := range rawjson.Members(v) {
		for i := range p.fields {
			if f := &p.fields[i]; f.name == m.Name {
				seen[i] = true
				found = f.kept(m.Value, below(path, f.name), found)
				break
			}
		}
	}
	for i := range p.fields {
		if f := &p.fields[i]; f.required && !seen[i] && len(found) < maxBreaches {
			found = append(found, breach{below(path, f.name), "is gone"})
		}
	}
	return found
}

func below(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// replaced adds to found what a later promise q takes back of p: fields that it
// does not promise any more, and types that a value did not have before.
func (p *promise) replaced(q *promise, path string, found []breach) []breach {
	if len(found) >= maxBreaches {
		return found
	}
	if p.types != 0 && q.types != 0 && q.types&^p.types != 0 {
		return append(found, breach{path, "is declared as " + q.types.words() + ", not " + p.types.words() + " any more"})
	}
	if p.items != nil && q.items != nil {
		found = p.items.replaced(q.items, path+"[]", found)
	}
	for i := range p.fields {
		f := &p.fields[i]
		if g := q.field(f.name); g != nil {
			found = f.replaced(&g.promise, below(path, f.name), found)
		} else if len(found) < maxBreaches {
			found = append(found, breach{below(path, f.name), "is not declared any more"})
		}
	}
	return found
}

// changed returns how the promise of a tool has changed; none if it is the same.
func changed(before, after *promise) []breach {
	switch {
	case before == nil:
		return nil // whatever it promises now, nobody relied on it
	case after == nil:
		return []breach{{"", "has no output schema any more"}}
	case bytes.Equal(before.declared, after.declared):
		return nil
	}
	if found := before.replaced(after, "", nil); len(found) > 0 {
		return found
	}
	return []breach{{"", "has another output schema"}}
}
