package graphql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
)

// Source is one text, and the name by which faults in it are told.
type Source struct {
	Name, Text string
}

// The most that is read of documents.
const (
	maxDocument = 1 << 20 // bytes of one text
	maxTokens   = 100_000 // of one text
)

// operation is one named operation with the fragments that it needs.
type operation struct {
	def   *ast.OperationDefinition
	doc   *ast.QueryDocument // it and its fragments, and nothing else
	above string             // the comment right above it
	whole bool               // all fragments that it needs are in doc
}

// library is everything that a set of documents defines.
type library struct {
	operations []*operation
	fragments  map[string]*part
	faults     []error
	broken     bool // a text could not be read
}

// part is what an operation or a fragment refers to by itself.
type part struct {
	fragment *ast.FragmentDefinition // nil for an operation
	spreads  []*ast.FragmentSpread
	used     []*ast.Value // variables
}

// readDocuments reads the named operations of all texts, whose fragments are
// shared among them (GraphQL, October 2021, section 2.8). It tells all that is
// wrong with them at once, each fault with its file and line.
func readDocuments(sources []Source) ([]*operation, error) {
	l := &library{fragments: make(map[string]*part)}
	for _, s := range sources {
		l.read(s)
	}
	l.names()
	if !l.cyclic() {
		for _, op := range l.operations {
			l.complete(op)
		}
	}
	if len(l.faults) == 0 && len(l.operations) == 0 {
		return nil, errors.New("there is no operation in the documents")
	}
	return l.operations, errors.Join(l.faults...)
}

func (l *library) fault(at *ast.Position, format string, args ...any) {
	l.faults = append(l.faults, faultAt(at, format, args...))
}

func (l *library) unreadable(err error) {
	l.broken = true
	l.faults = append(l.faults, err)
}

func faultAt(at *ast.Position, format string, args ...any) error {
	where := ""
	if at != nil && at.Src != nil {
		where = fmt.Sprintf("%s:%d: ", at.Src.Name, at.Line)
	}
	return fmt.Errorf("%s%s", where, fmt.Sprintf(format, args...))
}

// told is an error of the parser with the file and the line that it is about.
func told(source string, err error) error {
	e, ok := errors.AsType[*gqlerror.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", source, err)
	}
	if file, _ := e.Extensions["file"].(string); file != "" {
		source = file
	}
	if len(e.Locations) > 0 {
		source = fmt.Sprintf("%s:%d", source, e.Locations[0].Line)
	}
	return fmt.Errorf("%s: %.300s", source, e.Message)
}

// read reads one text.
func (l *library) read(s Source) {
	switch {
	case len(s.Text) > maxDocument:
		l.unreadable(fmt.Errorf("%s: has %d bytes, at most %d are read", s.Name, len(s.Text), maxDocument))
		return
	case !utf8.ValidString(s.Text):
		l.unreadable(fmt.Errorf("%s: is not UTF-8", s.Name))
		return
	}
	src := &ast.Source{Name: s.Name, Input: strings.TrimPrefix(s.Text, "\ufeff")}
	doc, err := parser.ParseQueryWithTokenLimit(src, maxTokens)
	if err != nil {
		l.unreadable(told(s.Name, err))
		return
	}
	for _, f := range doc.Fragments {
		if first := l.fragments[f.Name]; first != nil {
			l.fault(f.Position, "fragment %s is defined a second time; first in %s", f.Name, place(first.fragment.Position))
			continue
		}
		p := &part{fragment: f}
		p.directives(f.Directives)
		p.selections(f.SelectionSet)
		l.fragments[f.Name] = p
	}
	lines := strings.Split(src.Input, "\n")
	for _, def := range doc.Operations {
		switch {
		case def.Name == "":
			l.fault(def.Position, "an operation without a name; give it one, which becomes the name of the tool")
		case def.Operation == ast.Subscription:
			l.fault(def.Position, "subscription %s: subscriptions cannot be called; take it out", def.Name)
		default:
			l.operations = append(l.operations, &operation{def: def, above: commentAbove(lines, def.Position.Line)})
		}
	}
}

func place(p *ast.Position) string { return fmt.Sprintf("%s:%d", p.Src.Name, p.Line) }

// commentAbove returns the text of the comment that stands right above a line,
// which is counted from 1.
func commentAbove(lines []string, line int) string {
	var above []string
	for i := min(line-1, len(lines)) - 1; i >= 0; i-- {
		text, is := strings.CutPrefix(strings.TrimSpace(lines[i]), "#")
		if !is {
			break
		}
		above = append(above, strings.TrimSpace(strings.TrimLeft(text, "#")))
	}
	slices.Reverse(above)
	return strings.TrimSpace(strings.Join(above, "\n"))
}

// names holds operations to names that are theirs alone, as tools too.
func (l *library) names() {
	first := make(map[string]*operation)
	for _, op := range l.operations {
		tool := toolName(op.def.Name)
		switch other := first[tool]; {
		case other == nil:
			first[tool] = op
		case other.def.Name == op.def.Name:
			l.fault(op.def.Position, "operation %s is defined a second time; first in %s", op.def.Name, place(other.def.Position))
		default:
			l.fault(op.def.Position, "operation %s would be the tool %s, as %s in %s; rename one", op.def.Name, tool, other.def.Name, place(other.def.Position))
		}
	}
}

// cyclic finds fragments that contain themselves.
func (l *library) cyclic() (found bool) {
	const open, done = 1, 2
	state := make(map[string]int)
	var visit func(p *part)
	visit = func(p *part) {
		state[p.fragment.Name] = open
		for _, s := range p.spreads {
			next := l.fragments[s.Name]
			switch {
			case next == nil: // told where it is used
			case state[s.Name] == open:
				found = true
				l.fault(s.Position, "fragment %s contains itself", s.Name)
			case state[s.Name] != done:
				visit(next)
			}
		}
		state[p.fragment.Name] = done
	}
	for _, p := range l.inOrder() {
		if state[p.fragment.Name] == 0 {
			visit(p)
		}
	}
	return found
}

// inOrder returns the fragments sorted by name.
func (l *library) inOrder() []*part {
	all := make([]*part, 0, len(l.fragments))
	for _, p := range l.fragments {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *part) int { return strings.Compare(a.fragment.Name, b.fragment.Name) })
	return all
}

// complete puts together what an operation needs, and holds it to declare the
// variables that it uses, and to use those that it declares (GraphQL, sections
// 5.8.3 and 5.8.4), which every service demands.
func (l *library) complete(op *operation) {
	own := &part{}
	own.directives(op.def.Directives)
	own.selections(op.def.SelectionSet)
	op.whole, op.doc = true, &ast.QueryDocument{Operations: ast.OperationList{op.def}, Position: op.def.Position}
	used, seen := make(map[string]bool), make(map[string]bool)
	for todo := []*part{own}; len(todo) > 0; {
		p := todo[0]
		todo = todo[1:]
		for _, v := range p.used {
			if op.def.VariableDefinitions.ForName(v.Raw) == nil && !used[v.Raw] {
				l.fault(v.Position, "operation %s uses $%s, which it does not declare", op.def.Name, v.Raw)
			}
			used[v.Raw] = true
		}
		for _, s := range p.spreads {
			next := l.fragments[s.Name]
			switch {
			case next == nil && l.broken: // of a text that could not be read nobody knows what it defines
				op.whole = false
			case next == nil:
				op.whole = false
				l.fault(s.Position, "operation %s needs the fragment %s, which no document defines", op.def.Name, s.Name)
			case !seen[s.Name]:
				op.doc.Fragments = append(op.doc.Fragments, next.fragment)
				todo = append(todo, next)
			}
			seen[s.Name] = true
		}
	}
	declared := make(map[string]bool)
	for _, v := range op.def.VariableDefinitions {
		if declared[v.Variable] {
			l.fault(v.Position, "operation %s declares $%s twice", op.def.Name, v.Variable)
		} else if !used[v.Variable] && op.whole {
			l.fault(v.Position, "operation %s declares $%s and does not use it", op.def.Name, v.Variable)
		}
		declared[v.Variable] = true
	}
}

func (p *part) selections(set ast.SelectionSet) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			p.arguments(s.Arguments)
			p.directives(s.Directives)
			p.selections(s.SelectionSet)
		case *ast.InlineFragment:
			p.directives(s.Directives)
			p.selections(s.SelectionSet)
		case *ast.FragmentSpread:
			p.directives(s.Directives)
			p.spreads = append(p.spreads, s)
		}
	}
}

func (p *part) directives(all ast.DirectiveList) {
	for _, d := range all {
		p.arguments(d.Arguments)
	}
}

func (p *part) arguments(all ast.ArgumentList) {
	for _, a := range all {
		p.value(a.Value)
	}
}

func (p *part) value(v *ast.Value) {
	if v.Kind == ast.Variable {
		p.used = append(p.used, v)
	}
	for _, c := range v.Children {
		p.value(c.Value)
	}
}

// toolName returns the name of an operation in snake_case: GetIssueByID is
// get_issue_by_id.
func toolName(operation string) string {
	var b strings.Builder
	runes := []rune(operation)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && runes[i-1] != '_' {
			afterLower := !unicode.IsUpper(runes[i-1])
			beforeLower := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if afterLower || beforeLower {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
