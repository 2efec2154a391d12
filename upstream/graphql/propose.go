package graphql

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Wanted says for what documents are proposed.
type Wanted struct {
	// Fields are the root fields; none is all that are not deprecated.
	Fields []string
	// Mutations proposes them too.
	Mutations bool
	// Depth is how many objects within each other are read, at least 1.
	Depth int
}

// Proposal is one operation that could be a tool.
type Proposal struct {
	Tool     string // the name that it would have
	Field    string // the root field that it asks for
	Mutation bool
	Text     string // the document, with the field's description above it
}

// proposedFields is how many fields one proposal has at most: what is proposed is
// read, and paid for, by a person and by models.
const proposedFields = 200

// Propose returns an operation for each root field: its arguments are the
// variables; of objects it reads the fields that need no argument, and of
// connections (https://relay.dev/graphql/connections.htm) the nodes and where
// they end. The error names the fields that there are not.
func Propose(s *Schema, w Wanted) ([]Proposal, error) {
	var out []Proposal
	left := slices.Clone(w.Fields)
	names := make(map[string]bool)
	for _, root := range []*ast.Definition{s.types.Query, s.types.Mutation} {
		mutation := root != nil && root == s.types.Mutation
		if root == nil || mutation && !w.Mutations {
			continue
		}
		for _, f := range root.Fields {
			wanted := slices.Contains(w.Fields, f.Name)
			left = slices.DeleteFunc(left, func(name string) bool { return name == f.Name })
			if strings.HasPrefix(f.Name, "__") || !wanted && (len(w.Fields) > 0 || f.Directives.ForName("deprecated") != nil) {
				continue
			}
			tool := toolName(operationName(f.Name))
			text, ok := s.proposal(f, mutation, w.Depth)
			if !ok || names[tool] {
				continue
			}
			names[tool] = true
			out = append(out, Proposal{Tool: tool, Field: f.Name, Mutation: mutation, Text: text})
		}
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("the schema has no such field to ask for: %s", strings.Join(left, ", "))
	}
	return out, nil
}

// proposal returns the document for a root field; false if there is nothing of it
// that could be read.
func (s *Schema) proposal(f *ast.FieldDefinition, mutation bool, depth int) (string, bool) {
	for _, members := range []bool{true, false} { // those of a union may have fields that exclude each other
		p := &proposer{types: s.types, depth: max(depth, 1), room: proposedFields, members: members}
		text, ok := p.operation(f, mutation)
		if !ok {
			return "", false
		}
		operations, err := readDocuments([]Source{{Name: f.Name, Text: text}})
		if err == nil && s.check(operations[0]) == nil {
			return text, true
		}
	}
	return "", false
}

func operationName(field string) string { return strings.ToUpper(field[:1]) + field[1:] }

// proposer writes one operation.
type proposer struct {
	types   *ast.Schema
	depth   int
	room    int
	members bool            // of unions are read
	skip    map[string]bool // fields of the members of the union that is being written
	open    []string        // types that are being written
	b       strings.Builder
}

// operation returns the document for a root field; false if there is nothing of
// it that could be read.
func (p *proposer) operation(f *ast.FieldDefinition, mutation bool) (string, bool) {
	selections, ok := p.selections(f.Type, 1)
	if !ok {
		return "", false
	}
	told := first(f.Description)
	if told == "" {
		told = operationName(f.Name) + "."
	}
	fmt.Fprintf(&p.b, "# %s\n", told)
	kind := "query"
	if mutation {
		kind = "mutation"
	}
	p.b.WriteString(kind + " " + operationName(f.Name))
	var declared, passed []string
	for _, a := range f.Arguments {
		d := "$" + a.Name + ": " + a.Type.String()
		switch {
		case a.DefaultValue != nil:
			d += " = " + a.DefaultValue.String()
		case a.Name == "first" && a.Type.NamedType == "Int":
			d += " = 20" // many services ask for it, though their types do not say so
		}
		declared, passed = append(declared, d), append(passed, a.Name+": $"+a.Name)
	}
	if len(declared) > 0 {
		p.b.WriteString("(" + strings.Join(declared, ", ") + ")")
	}
	p.b.WriteString(" {\n  " + f.Name)
	if len(passed) > 0 {
		p.b.WriteString("(" + strings.Join(passed, ", ") + ")")
	}
	p.b.WriteString(strings.ReplaceAll(selections, "\n", "\n  ") + "\n}\n")
	return p.b.String(), true
}

// selections returns what is read of a type; "" for a leaf, false if there is
// nothing that can be read of it.
func (p *proposer) selections(t *ast.Type, depth int) (string, bool) {
	def := p.types.Types[t.Name()]
	if def == nil {
		return "", false
	}
	if def.Kind == ast.Scalar || def.Kind == ast.Enum {
		return "", true
	}
	if depth > p.depth || slices.Contains(p.open, def.Name) {
		return "", false
	}
	p.open = append(p.open, def.Name)
	defer func() { p.open = p.open[:len(p.open)-1] }()
	var lines []string
	switch def.Kind {
	case ast.Union:
		lines = p.union(def, depth)
	case ast.Interface:
		lines = append([]string{"__typename"}, p.fields(def, depth)...)
	default:
		lines = p.fields(def, depth)
	}
	if len(lines) == 0 {
		return "", false
	}
	return block(lines), true
}

// proposedMembers is how many types of a union are read.
const proposedMembers = 10

func (p *proposer) union(def *ast.Definition, depth int) []string {
	lines := []string{"__typename"}
	if !p.members {
		return lines
	}
	defer func(before map[string]bool) { p.skip = before }(p.skip)
	p.skip = p.ambiguous(def)
	for _, name := range def.Types[:min(len(def.Types), proposedMembers)] {
		if selections, ok := p.selections(ast.NamedType(name, nil), depth); ok {
			lines = append(lines, "... on "+name+selections)
		}
	}
	return lines
}

// ambiguous returns the fields that members of a union have of different types:
// they exclude each other (GraphQL, October 2021, section 5.3.2).
func (p *proposer) ambiguous(union *ast.Definition) map[string]bool {
	types, skip := make(map[string]string), make(map[string]bool)
	for _, name := range union.Types {
		member := p.types.Types[name]
		if member == nil {
			continue
		}
		for _, f := range member.Fields {
			typ := f.Type.String()
			if before, known := types[f.Name]; known && before != typ {
				skip[f.Name] = true
			}
			types[f.Name] = typ
		}
	}
	return skip
}

func (p *proposer) fields(def *ast.Definition, depth int) []string {
	var lines []string
	skip := p.skip
	p.skip = nil // not of what lies deeper
	defer func() { p.skip = skip }()
	paged := connection(def)
	for _, f := range def.Fields {
		if skip[f.Name] || strings.HasPrefix(f.Name, "__") || needsArgument(f) || f.Directives.ForName("deprecated") != nil || p.room == 0 {
			continue
		}
		inner := depth + 1
		switch {
		case paged && f.Name == "nodes":
			inner = depth // the connection is no level of its own
		case paged && f.Name == "edges":
			if def.Fields.ForName("nodes") != nil {
				continue // the same once more
			}
			inner = depth - 1
		case paged && f.Name == "pageInfo":
			lines = append(lines, f.Name+block([]string{"endCursor", "hasNextPage"}))
			continue
		case f.Arguments.ForName("first") != nil:
			continue // how much of a list within is read is the operator's to say
		}
		selections, ok := p.selections(f.Type, inner)
		if !ok {
			continue
		}
		p.room--
		lines = append(lines, f.Name+selections)
	}
	return lines
}

// connection reports whether a type is a connection.
func connection(def *ast.Definition) bool {
	return def.Fields.ForName("pageInfo") != nil && (def.Fields.ForName("nodes") != nil || def.Fields.ForName("edges") != nil)
}

func needsArgument(f *ast.FieldDefinition) bool {
	return slices.ContainsFunc(f.Arguments, func(a *ast.ArgumentDefinition) bool { return a.Type.NonNull && a.DefaultValue == nil })
}

func block(lines []string) string {
	text := strings.ReplaceAll(strings.Join(lines, "\n"), "\n", "\n  ")
	return " {\n  " + text + "\n}"
}

// introspect asks for what [ReadSchema] needs (GraphQL, October 2021, section 4),
// with types wrapped as often as any service does.
const introspect = `query Introspect { __schema { queryType { name } mutationType { name }
types { kind name description
fields(includeDeprecated: true) { name description isDeprecated args { ...Input } type { ...Type } }
inputFields { ...Input } interfaces { name } enumValues(includeDeprecated: true) { name description isDeprecated } possibleTypes { name } }
directives { name locations args { ...Input } } } }
fragment Input on __InputValue { name description defaultValue type { ...Type } }
fragment Type on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } }`

// Introspect asks a service for its schema and returns the answer, for
// [ReadSchema].
func Introspect(ctx context.Context, hc *http.Client, url string) (Source, error) {
	body := fmt.Appendf(nil, `{"query":%s,"operationName":"Introspect"}`, rawjson.Quote(strings.Join(strings.Fields(introspect), " ")))
	a, err := post(ctx, hc, url, body, maxSchema)
	if err != nil {
		return Source{}, err
	}
	if rawjson.Kind(a.data) != '{' {
		e, _ := a.failure(readFaults(a.errors))
		return Source{}, fmt.Errorf("it does not tell its schema: %w", e)
	}
	return Source{Name: "the answer to introspection", Text: string(a.data)}, nil
}
