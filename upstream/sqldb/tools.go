package sqldb

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// The tools that are not the operator's.
const (
	queryTool  = "query"
	schemaTool = "schema"
)

// action is one tool.
type action struct {
	spec   upstream.ToolSpec
	params map[string]Param
	free   bool // the model writes the statement
	// statement is what is asked; nil where that depends on the arguments.
	statement *request
	build     func(args map[string]any) (*request, error)
}

// request returns what a call asks.
func (act *action) request(raw json.RawMessage) (*request, error) {
	args, err := arguments(act.spec.Name, act.params, raw)
	if err != nil {
		return nil, err
	}
	if act.build != nil {
		return act.build(args)
	}
	req := *act.statement
	req.args = make([]any, len(req.text.order))
	for i, name := range req.text.order {
		req.args[i] = args[name]
	}
	return &req, nil
}

// Hidden implements [upstream.Hider].
func (a *Adapter) Hidden() int { return a.hidden }

// compile makes the tools. Its error joins one for each thing that is wrong.
func (a *Adapter) compile() error {
	a.actions = map[string]*action{}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(a.opt.Statements)) {
		s := a.opt.Statements[name]
		act, wrong := a.operators(name, &s)
		for _, err := range wrong {
			faults = append(faults, fmt.Errorf("statement %s: %w", name, err))
		}
		if !s.Write || a.opt.Writes {
			a.actions[name] = act
		} else {
			a.hidden++
		}
	}
	own := []*action{}
	if !a.opt.NoSchema {
		act, err := a.looks()
		if err != nil {
			return err
		}
		own = append(own, act)
	}
	if a.opt.Query {
		own = append(own, asks(a))
	}
	for _, act := range own {
		if _, taken := a.opt.Statements[act.spec.Name]; taken {
			faults = append(faults, fmt.Errorf("statement %s: there is a tool of that name already; call it something else", act.spec.Name))
		}
		a.actions[act.spec.Name] = act
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	for _, name := range slices.Sorted(maps.Keys(a.actions)) {
		act := a.actions[name]
		act.spec.Input = inputSchema(act.params)
		t, err := upstream.NewTool(a.opt.ID, act.spec)
		if err != nil {
			return fmt.Errorf("tool %s: %w", name, err)
		}
		a.tools = append(a.tools, t)
	}
	return nil
}

// operators makes the tool of a statement that the operator wrote, or tells all
// that is wrong with it.
func (a *Adapter) operators(name string, s *Statement) (*action, []error) {
	text, err := parse(a.opt.Driver, s.SQL, true)
	if err != nil {
		return nil, []error{err}
	}
	var faults []error
	for _, p := range slices.Sorted(maps.Keys(s.Params)) {
		def := s.Params[p]
		if err := def.check(); err != nil {
			faults = append(faults, fmt.Errorf("parameter %s: %w", p, err))
		}
		if !slices.Contains(text.order, p) {
			faults = append(faults, fmt.Errorf("the parameter %s is not used; write :%s where it belongs", p, p))
		}
	}
	for _, p := range slices.Compact(slices.Sorted(slices.Values(text.order))) {
		if _, ok := s.Params[p]; !ok {
			faults = append(faults, fmt.Errorf("it uses :%s, but there is no parameter of that name; add params.%s = { type = \"string\" }", p, p))
		}
	}
	req := &request{key: name, text: text, write: s.Write, rows: a.opt.MaxRows}
	if s.Write {
		if slices.Contains([]string{"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare", "set"}, text.keyword(0)) {
			faults = append(faults, errors.New("it controls transactions or the session; each statement is a transaction of its own"))
		}
	} else if req.probe, err = text.shape(a.opt.Driver); err != nil {
		faults = append(faults, fmt.Errorf("%w; one that changes something needs write = true", err))
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return &action{params: s.Params, statement: req, spec: upstream.ToolSpec{
		Name: name, Description: s.Description,
		Hints: upstream.Traits{ReadOnly: !s.Write, Idempotent: !s.Write, Destructive: s.Write},
	}}, nil
}

// asks makes the tool with which the model writes the statement.
func asks(a *Adapter) *action {
	return &action{free: true,
		params: map[string]Param{"sql": {Required: true, Doc: "One SELECT statement (or WITH, VALUES, EXPLAIN), without parameters."}},
		spec: upstream.ToolSpec{Name: queryTool, Title: "Query", Hints: upstream.Traits{ReadOnly: true, Idempotent: true},
			Description: fmt.Sprintf("Runs one read-only SQL query (%s) and returns its rows, at most %d: filter, aggregate and sort in the query. Look at the tool %s for what there is.",
				a.opt.Driver.title(), a.opt.MaxRows, schemaTool)},
		build: func(args map[string]any) (*request, error) {
			sql, _ := args["sql"].(string)
			return a.model(sql)
		},
	}
}

// model holds a statement of the model to what may be asked.
func (a *Adapter) model(sql string) (*request, error) {
	text, err := parse(a.opt.Driver, sql, false)
	if err == nil {
		err = text.refuse(a.opt.Driver)
	}
	probe := ""
	if err == nil {
		probe, err = text.shape(a.opt.Driver)
	}
	if err != nil {
		return nil, &refusal{upstream.InvalidArguments, "this is not asked: " + err.Error()}
	}
	return &request{text: text, probe: probe, rows: a.opt.MaxRows}, nil
}

func (d Driver) title() string {
	return map[Driver]string{Postgres: "PostgreSQL", MySQL: "MySQL or MariaDB", SQLite: "SQLite"}[d]
}

// schemaRows is how much of each detail is told at once.
var schemaRows = map[string]int{"names": 1000, "summary": 300, "full": 1000}

// schemaKey begins the keys of the requests of the tool "schema", and no others: a
// tool's name has no space.
const schemaKey = "schema "

// looks makes the tool that tells what there is, in as much detail as asked for:
// whole schemas are long, and a model needs a few tables of them.
func (a *Adapter) looks() (*action, error) {
	byDetail := map[string]*request{}
	for detail, sql := range a.dialect.schema() {
		text, err := parse(a.opt.Driver, sql, true)
		if err != nil {
			return nil, fmt.Errorf("schema, %s: %w", detail, err)
		}
		byDetail[detail] = &request{key: schemaKey + detail, text: text, rows: schemaRows[detail]}
	}
	return &action{
		params: map[string]Param{
			"detail": {Enum: []string{"names", "summary", "full"}, Default: json.RawMessage(`"names"`),
				Doc: "names: the tables and views; summary: with comments, sizes and numbers of columns; full: every column with type, key and comment."},
			"filter": {Doc: "Only tables whose name fits, such as order* or sales.*; * is any run of characters. Give it with full."},
		},
		spec: upstream.ToolSpec{Name: schemaTool, Title: "Schema", Hints: upstream.Traits{ReadOnly: true, Idempotent: true},
			Description: "Tells which tables, views and columns the database has (" + a.opt.Driver.title() + ")."},
		build: func(args map[string]any) (*request, error) {
			detail, _ := args["detail"].(string)
			filter, _ := args["filter"].(string)
			if filter == "" {
				filter = "*"
			}
			req := *byDetail[detail]
			pattern := strings.NewReplacer("!", "!!", "%", "!%", "_", "!_", "*", "%", "?", "_").Replace(filter)
			for range req.text.order {
				req.args = append(req.args, pattern)
			}
			return &req, nil
		},
	}, nil
}
