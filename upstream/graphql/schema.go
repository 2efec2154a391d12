package graphql

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
)

// maxSchema is how long a schema may be, in bytes. GitHub's has 1.5 MB as text
// and 9 MB as the answer to introspection.
const maxSchema = 64 << 20

// Schema is the types of a service.
type Schema struct{ types *ast.Schema }

// ReadSchema reads a schema in either of its forms: as text in the schema
// definition language (GraphQL, October 2021, section 3), or as the answer to
// introspection in JSON (section 4), with or without the "data" around it.
func ReadSchema(s Source) (*Schema, error) {
	if len(s.Text) > maxSchema {
		return nil, fmt.Errorf("%s: has %d bytes, at most %d are read", s.Name, len(s.Text), maxSchema)
	}
	text := strings.TrimSpace(strings.TrimPrefix(s.Text, "\ufeff"))
	if text == "" {
		return nil, fmt.Errorf("%s: is empty", s.Name)
	}
	doc := &ast.SchemaDocument{}
	prelude, err := parser.ParseSchema(validator.Prelude)
	if err != nil { // it is the library's own
		return nil, err
	}
	doc.Merge(prelude)
	if strings.HasPrefix(text, "{") {
		err = introspected(s.Name, text, doc)
	} else {
		err = defined(s.Name, s.Text, doc)
	}
	if err != nil {
		return nil, err
	}
	for _, def := range doc.Definitions {
		def.Fields = once(def.Fields)
	}
	types, err := validator.ValidateSchemaDocument(doc)
	if err != nil {
		return nil, told(s.Name, err)
	}
	if types.Query == nil {
		return nil, fmt.Errorf("%s: has no type of queries", s.Name)
	}
	return &Schema{types}, nil
}

// once returns the fields without those that are there already: GitHub's published
// schema has had one twice, to which the library takes exception.
func once(fields ast.FieldList) ast.FieldList {
	seen := make(map[string]bool, len(fields))
	return slices.DeleteFunc(fields, func(f *ast.FieldDefinition) bool {
		again := seen[f.Name]
		seen[f.Name] = true
		return again
	})
}

func defined(name, text string, into *ast.SchemaDocument) error {
	doc, err := parser.ParseSchema(&ast.Source{Name: name, Input: strings.TrimPrefix(text, "\ufeff")})
	if err != nil {
		return told(name, err)
	}
	into.Merge(doc)
	return nil
}

// The members of the answer to introspection that matter here (GraphQL, section
// 4.2).
type (
	typeRef struct {
		Kind   string   `json:"kind"`
		Name   string   `json:"name"`
		OfType *typeRef `json:"ofType"`
	}
	inputValue struct {
		Name         string  `json:"name"`
		Description  string  `json:"description"`
		Type         typeRef `json:"type"`
		DefaultValue *string `json:"defaultValue"`
	}
	introspectedType struct {
		Kind        string `json:"kind"`
		Name        string `json:"name"`
		Description string `json:"description"`
		Fields      []struct {
			Name        string       `json:"name"`
			Description string       `json:"description"`
			Args        []inputValue `json:"args"`
			Type        typeRef      `json:"type"`
			Deprecated  bool         `json:"isDeprecated"`
		} `json:"fields"`
		InputFields []inputValue `json:"inputFields"`
		Interfaces  []typeRef    `json:"interfaces"`
		EnumValues  []struct {
			Name        string `json:"name"`
			Description string `json:"description"`
			Deprecated  bool   `json:"isDeprecated"`
		} `json:"enumValues"`
		PossibleTypes []typeRef `json:"possibleTypes"`
		OneOf         bool      `json:"isOneOf"`
	}
	introspection struct {
		QueryType    *typeRef           `json:"queryType"`
		MutationType *typeRef           `json:"mutationType"`
		Types        []introspectedType `json:"types"`
		Directives   []struct {
			Name      string       `json:"name"`
			Locations []string     `json:"locations"`
			Args      []inputValue `json:"args"`
			Repeats   bool         `json:"isRepeatable"`
		} `json:"directives"`
	}
)

// introspected adds the answer to introspection to a document.
func introspected(name, text string, into *ast.SchemaDocument) error {
	var answer struct {
		Schema *introspection `json:"__schema"`
		Data   struct {
			Schema *introspection `json:"__schema"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return fmt.Errorf("%s: is no answer to introspection: %w", name, err)
	}
	in := answer.Schema
	if in == nil {
		in = answer.Data.Schema
	}
	if in == nil || in.QueryType == nil {
		return fmt.Errorf("%s: is no answer to introspection: it has no __schema with a queryType", name)
	}
	at := &ast.Position{Line: 1, Src: &ast.Source{Name: name}}
	root := &ast.SchemaDefinition{Position: at}
	root.OperationTypes = append(root.OperationTypes, &ast.OperationTypeDefinition{Operation: ast.Query, Type: in.QueryType.Name, Position: at})
	if in.MutationType != nil {
		root.OperationTypes = append(root.OperationTypes, &ast.OperationTypeDefinition{Operation: ast.Mutation, Type: in.MutationType.Name, Position: at})
	}
	into.Schema = append(into.Schema, root)
	known := make(map[string]bool) // what the library brings
	for _, d := range into.Definitions {
		known[d.Name] = true
	}
	for i := range in.Types {
		if t := &in.Types[i]; !strings.HasPrefix(t.Name, "__") && !known[t.Name] {
			def, err := t.definition(at)
			if err != nil {
				return fmt.Errorf("%s: type %.100q: %w", name, t.Name, err)
			}
			into.Definitions = append(into.Definitions, def)
		}
	}
	for _, d := range in.Directives {
		if into.Directives.ForName(d.Name) != nil {
			continue
		}
		args, err := arguments(d.Args, at)
		if err != nil {
			return fmt.Errorf("%s: directive %.100q: %w", name, d.Name, err)
		}
		def := &ast.DirectiveDefinition{Name: d.Name, Arguments: args, IsRepeatable: d.Repeats, Position: at}
		for _, l := range d.Locations {
			def.Locations = append(def.Locations, ast.DirectiveLocation(l))
		}
		into.Directives = append(into.Directives, def)
	}
	return nil
}

func (t *introspectedType) definition(at *ast.Position) (*ast.Definition, error) {
	def := &ast.Definition{Kind: ast.DefinitionKind(t.Kind), Name: t.Name, Description: t.Description, Position: at}
	for _, f := range t.Fields {
		typ, err := f.Type.typ(at, 0)
		if err != nil {
			return nil, fmt.Errorf("field %.100q: %w", f.Name, err)
		}
		args, err := arguments(f.Args, at)
		if err != nil {
			return nil, fmt.Errorf("field %.100q: %w", f.Name, err)
		}
		def.Fields = append(def.Fields, &ast.FieldDefinition{
			Name: f.Name, Description: f.Description, Type: typ, Arguments: args, Directives: deprecated(f.Deprecated, at), Position: at,
		})
	}
	in, err := arguments(t.InputFields, at)
	if err != nil {
		return nil, err
	}
	for _, a := range in {
		def.Fields = append(def.Fields, &ast.FieldDefinition{
			Name: a.Name, Description: a.Description, Type: a.Type, DefaultValue: a.DefaultValue, Position: at,
		})
	}
	for _, v := range t.EnumValues {
		def.EnumValues = append(def.EnumValues, &ast.EnumValueDefinition{
			Name: v.Name, Description: v.Description, Directives: deprecated(v.Deprecated, at), Position: at,
		})
	}
	for _, i := range t.Interfaces {
		def.Interfaces = append(def.Interfaces, i.Name)
	}
	if def.Kind == ast.Union {
		for _, p := range t.PossibleTypes {
			def.Types = append(def.Types, p.Name)
		}
	}
	if t.OneOf {
		def.Directives = ast.DirectiveList{{Name: "oneOf", Position: at, Location: ast.LocationInputObject}}
	}
	return def, nil
}

func deprecated(is bool, at *ast.Position) ast.DirectiveList {
	if !is {
		return nil
	}
	return ast.DirectiveList{{Name: "deprecated", Position: at, Location: ast.LocationFieldDefinition}}
}

func arguments(in []inputValue, at *ast.Position) (ast.ArgumentDefinitionList, error) {
	var out ast.ArgumentDefinitionList
	for _, a := range in {
		typ, err := a.Type.typ(at, 0)
		if err != nil {
			return nil, fmt.Errorf("argument %.100q: %w", a.Name, err)
		}
		def := &ast.ArgumentDefinition{Name: a.Name, Description: a.Description, Type: typ, Position: at}
		if a.DefaultValue != nil {
			def.DefaultValue = literal(*a.DefaultValue)
		}
		out = append(out, def)
	}
	return out, nil
}

// maxWraps is how many lists and non-nulls may be around a type.
const maxWraps = 16

func (r *typeRef) typ(at *ast.Position, depth int) (*ast.Type, error) {
	switch {
	case depth > maxWraps:
		return nil, errors.New("its type is wrapped too often")
	case r.Kind != "LIST" && r.Kind != "NON_NULL":
		if r.Name == "" {
			return nil, errors.New("its type has no name")
		}
		return ast.NamedType(r.Name, at), nil
	case r.OfType == nil:
		return nil, errors.New("its type is not told to the end")
	}
	inner, err := r.OfType.typ(at, depth+1)
	if err != nil {
		return nil, err
	}
	if r.Kind == "LIST" {
		return ast.ListType(inner, at), nil
	}
	inner.NonNull = true
	return inner, nil
}

// literal reads a constant, which introspection tells as text; nil if it is
// none.
func literal(text string) *ast.Value {
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: "query($v:T=" + text + "\n){f}"}, maxTokens)
	if err != nil || len(doc.Operations) != 1 || len(doc.Operations[0].VariableDefinitions) != 1 {
		return nil
	}
	return doc.Operations[0].VariableDefinitions[0].DefaultValue
}
