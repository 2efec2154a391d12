package graphql

import (
	"encoding/json"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// How much an output schema may say. A larger one is left out: it would cost a
// host more than it is worth.
const (
	outputSize  = 16 << 10 // bytes
	outputParts = 1_000    // fields
)

// outputSchema is the JSON Schema of what an operation answers, by its
// selections; nil without types, or if it would be too large.
func outputSchema(op *operation, types *Schema) (json.RawMessage, error) {
	if types == nil {
		return nil, nil
	}
	root := types.types.Query
	if op.def.Operation == ast.Mutation {
		root = types.types.Mutation
	}
	if root == nil { // the schema has no mutations; the document was refused
		return nil, nil
	}
	out := &outputs{types: types.types, doc: op.doc, room: outputParts}
	data := out.object(root, []chosen{{set: op.def.SelectionSet}})
	if out.room < 0 {
		return nil, nil
	}
	data.Type = "object"
	s := &schema{Type: "object", Required: []string{memberData}, Properties: properties{
		{memberData, data},
		{memberErrors, &schema{Type: "array", Items: &schema{Type: "object"}, Description: "What is missing from data, and why."}},
	}}
	raw, err := rawjson.Marshal(s)
	if err != nil || len(raw) > outputSize {
		return nil, err
	}
	return raw, nil
}

// outputs writes out what selections answer.
type outputs struct {
	types *ast.Schema
	doc   *ast.QueryDocument
	room  int // how many fields may still be written
}

// chosen is a selection set that applies to an object, perhaps.
type chosen struct {
	set     ast.SelectionSet
	perhaps bool // it depends on the type of the object, or on a variable
}

// answered is a field of an answer, from all places where it was selected.
type answered struct {
	key     string
	typ     *ast.Type
	sets    []chosen
	perhaps bool
	mixed   bool // it has one type in one place and another in another
}

// object is the schema of an object of which sets were selected.
func (o *outputs) object(parent *ast.Definition, sets []chosen) *schema {
	fields := &answers{at: make(map[string]*answered)}
	for _, c := range sets {
		o.collect(parent, c, fields)
	}
	s := &schema{Type: "object"}
	for _, f := range fields.all {
		if o.room--; o.room < 0 {
			break
		}
		p := &schema{}
		if !f.mixed {
			p = o.typ(f.typ, f.sets)
		}
		s.Properties = append(s.Properties, property{f.key, p})
		if !f.perhaps {
			s.Required = append(s.Required, f.key)
		}
	}
	return s
}

type answers struct {
	all []*answered
	at  map[string]*answered
}

// collect adds what one selection set answers (GraphQL, October 2021, section
// 6.3.2).
func (o *outputs) collect(parent *ast.Definition, c chosen, into *answers) {
	if o.room--; o.room < 0 {
		return
	}
	for _, s := range c.set {
		switch s := s.(type) {
		case *ast.Field:
			if s.Definition != nil {
				into.add(s, c.perhaps || conditional(s.Directives))
			}
		case *ast.InlineFragment:
			perhaps := c.perhaps || conditional(s.Directives) || !o.always(parent, s.TypeCondition)
			o.collect(parent, chosen{s.SelectionSet, perhaps}, into)
		case *ast.FragmentSpread:
			if f := o.doc.Fragments.ForName(s.Name); f != nil {
				perhaps := c.perhaps || conditional(s.Directives) || !o.always(parent, f.TypeCondition)
				o.collect(parent, chosen{f.SelectionSet, perhaps}, into)
			}
		}
	}
}

func (a *answers) add(f *ast.Field, perhaps bool) {
	key := f.Alias
	if key == "" {
		key = f.Name
	}
	known := a.at[key]
	if known == nil {
		known = &answered{key: key, typ: f.Definition.Type, perhaps: true}
		a.at[key] = known
		a.all = append(a.all, known)
	}
	known.mixed = known.mixed || known.typ.String() != f.Definition.Type.String()
	known.perhaps = known.perhaps && perhaps
	known.sets = append(known.sets, chosen{f.SelectionSet, perhaps})
}

// conditional reports whether a selection may be left out, or come later.
func conditional(d ast.DirectiveList) bool {
	return d.ForName("skip") != nil || d.ForName("include") != nil || d.ForName("defer") != nil
}

// always reports whether every object of a type is one of the type that a
// fragment is on; "" is any.
func (o *outputs) always(parent *ast.Definition, on string) bool {
	return on == "" || on == parent.Name || slices.Contains(parent.Interfaces, on)
}

func (o *outputs) typ(t *ast.Type, sets []chosen) *schema {
	s := &schema{}
	switch {
	case t.Elem != nil:
		s.Type, s.Items = "array", o.typ(t.Elem, sets)
	case o.types.Types[t.NamedType] == nil:
	default:
		switch def := o.types.Types[t.NamedType]; def.Kind {
		case ast.Object, ast.Interface, ast.Union:
			inner := make([]chosen, len(sets))
			for i, c := range sets {
				inner[i] = chosen{c.set, c.perhaps && len(sets) > 1}
			}
			s = o.object(def, inner)
		case ast.Enum:
			s.Type = "string"
		case ast.Scalar:
			if name := scalars[def.Name]; name != "" {
				s.Type = name
			}
		}
	}
	if s.Type != nil && !t.NonNull {
		s.Type = []string{s.Type.(string), "null"}
	}
	return s
}
