package graphql

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// How much of the types of variables is written out for one operation.
const (
	inputDepth = 5        // input objects within each other
	inputSize  = 32 << 10 // bytes of JSON
	inputParts = 2_000    // types, before they are encoded
	enumValues = 200      // of one enum
)

// inputSchema is the JSON Schema of an operation's variables. Input objects are
// written out as deep as the whole stays within bounds; what lies deeper, and a
// type within itself, is any object.
func inputSchema(op *operation, types *Schema) (json.RawMessage, error) {
	told := toldOf(op)
	for depth := inputDepth; ; depth-- {
		in := &inputs{depth: depth, types: types, room: inputParts}
		raw, err := rawjson.Marshal(in.variables(op.def.VariableDefinitions, told))
		if err != nil {
			return nil, err
		}
		if depth == 0 || in.room >= 0 && len(raw) <= inputSize {
			return raw, nil
		}
	}
}

// inputs writes out the types of variables.
type inputs struct {
	types *Schema // nil if it is not known
	depth int     // of input objects that are written out
	open  []string
	room  int // how many types may still be written; negative once there are too many
}

func (in *inputs) variables(all ast.VariableDefinitionList, told map[string]string) *schema {
	closed := false
	s := &schema{Type: "object", Additional: &closed}
	for _, v := range all {
		p := in.typ(v.Type)
		p.Default = constant(v.DefaultValue)
		p.describe(v.Description)
		if v.Description == "" {
			p.describe(told[v.Variable])
		}
		if v.Type.NonNull && v.DefaultValue == nil {
			s.Required = append(s.Required, v.Variable)
		}
		s.Properties = append(s.Properties, property{v.Variable, p})
	}
	return s
}

// describe puts a text before what a schema says already.
func (s *schema) describe(text string) {
	text = strings.Join(strings.Fields(text), " ")
	switch {
	case text == "" || text == s.Description:
	case s.Description == "":
		s.Description = text
	default:
		s.Description = text + " " + s.Description
	}
}

func (in *inputs) typ(t *ast.Type) *schema {
	in.room--
	if t.Elem != nil {
		return &schema{Type: "array", Items: in.typ(t.Elem)}
	}
	if name := scalars[t.NamedType]; name != "" {
		return &schema{Type: name}
	}
	var def *ast.Definition
	if in.types != nil {
		def = in.types.types.Types[t.NamedType]
	}
	if def == nil {
		return &schema{Description: "GraphQL type " + t.NamedType + "."}
	}
	switch def.Kind {
	case ast.Enum:
		return enumeration(def)
	case ast.InputObject:
		return in.object(def)
	}
	s := &schema{Description: "GraphQL scalar " + def.Name + "."}
	s.describe(first(def.Description))
	return s
}

func enumeration(def *ast.Definition) *schema {
	s := &schema{Type: "string"}
	if len(def.EnumValues) > enumValues {
		s.Description = "A value of the GraphQL enum " + def.Name + "."
		return s
	}
	var told []string
	for _, v := range def.EnumValues {
		s.Enum = append(s.Enum, v.Name)
		if v.Description != "" && len(def.EnumValues) <= maxTold {
			told = append(told, v.Name+": "+first(v.Description))
		}
	}
	s.Description = strings.Join(told, " ")
	return s
}

// maxTold is how many values an enum may have for each to be explained.
const maxTold = 12

func (in *inputs) object(def *ast.Definition) *schema {
	s := &schema{Type: "object"}
	if slices.Contains(in.open, def.Name) {
		s.Description = "As the " + def.Name + " around it."
		return s
	}
	s.describe(first(def.Description))
	if len(in.open) >= in.depth || in.room < 0 {
		s.describe("GraphQL input type " + def.Name + ".")
		return s
	}
	in.open = append(in.open, def.Name)
	defer func() { in.open = in.open[:len(in.open)-1] }()
	closed := false
	s.Additional = &closed
	for _, f := range def.Fields {
		p := in.typ(f.Type)
		p.Default = constant(f.DefaultValue)
		p.describe(first(f.Description))
		if f.Type.NonNull && f.DefaultValue == nil {
			s.Required = append(s.Required, f.Name)
		}
		s.Properties = append(s.Properties, property{f.Name, p})
	}
	if def.Directives.ForName("oneOf") != nil { // GraphQL, section 3.10.1 of the draft
		s.Least, s.Most = 1, 1
	}
	return s
}

// maxFirst is how much of a type's or field's description is kept, in bytes.
const maxFirst = 300

// first returns the first paragraph of a text, on one line and within bounds.
func first(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n\n")
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxFirst {
		cut := strings.LastIndexByte(text[:maxFirst], ' ')
		text = strings.ToValidUTF8(text[:max(cut, maxFirst/2)], "") + "…"
	}
	return text
}

// toldOf says of each variable what is known of it apart from its type: the
// comment above its declaration, or else what the schema says of the first
// argument that it is given to.
func toldOf(op *operation) map[string]string {
	told := make(map[string]string)
	var selections func(set ast.SelectionSet)
	selections = func(set ast.SelectionSet) {
		for _, s := range set {
			switch s := s.(type) {
			case *ast.InlineFragment:
				selections(s.SelectionSet)
			case *ast.Field:
				for _, a := range s.Arguments {
					if a.Value.Kind != ast.Variable || told[a.Value.Raw] != "" || s.Definition == nil {
						continue
					}
					if def := s.Definition.Arguments.ForName(a.Name); def != nil {
						told[a.Value.Raw] = first(def.Description)
					}
				}
				selections(s.SelectionSet)
			}
		}
	}
	selections(op.def.SelectionSet)
	for _, f := range op.doc.Fragments {
		selections(f.SelectionSet)
	}
	for _, v := range op.def.VariableDefinitions {
		if text := comment(v.Comment); text != "" {
			told[v.Variable] = text
		}
	}
	return told
}

func comment(c *ast.CommentGroup) string {
	if c == nil {
		return ""
	}
	var lines []string
	for _, line := range c.List {
		lines = append(lines, strings.TrimSpace(line.Text()))
	}
	return strings.TrimSpace(strings.Join(lines, " "))
}

// describe says what an operation does: what its author says, or else what it
// asks for.
func (op *operation) describe() string {
	switch {
	case strings.TrimSpace(op.def.Description) != "":
		return strings.TrimSpace(op.def.Description)
	case op.above != "":
		return op.above
	}
	var asked, told []string
	for _, s := range op.def.SelectionSet {
		if f, ok := s.(*ast.Field); ok {
			asked = append(asked, f.Name)
			if f.Definition != nil && f.Definition.Description != "" {
				told = append(told, first(f.Definition.Description))
			}
		}
	}
	text := fmt.Sprintf("GraphQL %s of %s.", op.def.Operation, strings.Join(asked, ", "))
	return strings.TrimSpace(strings.Join(told, " ") + " " + text)
}
