package graphql

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/validator"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// action is one operation, ready to be called.
type action struct {
	tool      upstream.Tool
	head      []byte // the request up to the value of its variables
	variables []variable
	mutates   bool
}

type variable struct {
	name string
	must bool // it has no default and is not null
	set  bool // it is not null
}

// compile makes an operation a tool, and with types holds it to them.
func compile(id upstream.ID, op *operation, types *Schema) (*action, error) {
	if types != nil {
		if err := types.check(op); err != nil {
			return nil, err
		}
	}
	in, err := inputSchema(op, types)
	if err != nil {
		return nil, faultAt(op.def.Position, "operation %s: %v", op.def.Name, err)
	}
	out, err := outputSchema(op, types)
	if err != nil {
		return nil, faultAt(op.def.Position, "operation %s: %v", op.def.Name, err)
	}
	act := &action{mutates: op.def.Operation == ast.Mutation}
	for _, v := range op.def.VariableDefinitions {
		act.variables = append(act.variables, variable{v.Variable, v.Type.NonNull && v.DefaultValue == nil, v.Type.NonNull})
	}
	hints := upstream.Traits{ReadOnly: true, Idempotent: true}
	if act.mutates { // what it does nobody has said
		hints = upstream.Traits{Destructive: true}
	}
	act.tool, err = upstream.NewTool(id, upstream.ToolSpec{
		Name: toolName(op.def.Name), Description: op.describe(), Input: in, Output: out, Hints: hints,
	})
	if err != nil {
		return nil, faultAt(op.def.Position, "operation %s: %v", op.def.Name, err)
	}
	act.head = fmt.Appendf(nil, `{"query":%s,"operationName":%s,"variables":`, rawjson.Quote(minified(op.doc)), rawjson.Quote(op.def.Name))
	return act, nil
}

// known are the rules of GraphQL that documents are held to without a schema.
var known = []string{"NoUnusedVariables", "NoUndefinedVariables", "UniqueVariableNames"}

// check holds an operation to the schema, by the rules of GraphQL (October 2021,
// section 5) but some.
func (s *Schema) check(op *operation, but ...string) error {
	var faults []error
	for _, e := range validator.ValidateWithRules(s.types, op.doc, nil) {
		if slices.Contains(but, e.Rule) {
			continue
		}
		faults = append(faults, told(op.def.Position.Src.Name, e))
	}
	return errors.Join(faults...)
}

// minified is a document without comments, descriptions and needless space.
func minified(doc *ast.QueryDocument) string {
	var b bytes.Buffer
	formatter.NewFormatter(&b, formatter.WithIndent(""), formatter.WithCompacted(), formatter.WithoutDescription()).FormatQueryDocument(doc)
	return strings.TrimSpace(b.String())
}

// body is the request with these arguments, or why they are none.
func (act *action) body(arguments json.RawMessage) ([]byte, error) {
	if rawjson.IsNull(arguments) {
		arguments = json.RawMessage("{}")
	}
	if rawjson.Kind(arguments) != '{' {
		return nil, wrong("arguments is not an object")
	}
	given := make(map[string]bool, len(act.variables))
	for m := range rawjson.Members(arguments) {
		i := slices.IndexFunc(act.variables, func(v variable) bool { return v.name == m.Name })
		switch {
		case i < 0 && len(act.variables) == 0: // services pass over what they do not know
			return nil, wrong(fmt.Sprintf("%.60q is no argument; there are none", m.Name))
		case i < 0:
			return nil, wrong(fmt.Sprintf("%.60q is no argument; there are: %s", m.Name, act.arguments()))
		case act.variables[i].set && rawjson.IsNull(m.Value):
			return nil, wrong(m.Name + " must not be null")
		}
		given[m.Name] = true
	}
	for _, v := range act.variables {
		if v.must && !given[v.name] {
			return nil, wrong(v.name + " is missing")
		}
	}
	body := make([]byte, 0, len(act.head)+len(arguments)+1)
	return append(append(append(body, act.head...), arguments...), '}'), nil
}

func (act *action) arguments() string {
	names := make([]string, len(act.variables))
	for i, v := range act.variables {
		names[i] = v.name
	}
	return strings.Join(names, ", ")
}

func wrong(public string) error {
	return &upstream.Error{Kind: upstream.InvalidArguments, Public: public, Err: errArguments}
}

// errArguments stands in the log for what may quote the arguments.
var errArguments = errors.New("the arguments are not what the operation takes")
