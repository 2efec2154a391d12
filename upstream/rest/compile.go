package rest

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// action is a compiled [Action].
type action struct {
	maker
	tool      upstream.Tool
	byArg     map[string]int
	offered   string // the names of the arguments
	list      bool
	goesOn    bool // the model may give a cursor
	choosable bool // the model may choose fields
	shape     *shape
	records   pointer
	refused   pointer // nil for none
	drift     *watch
}

// maker makes the requests of one action.
type maker struct {
	def    *Action
	params []param
	pager  *pager
	path   []segment
	query  string      // its constants, encoded
	header http.Header // its constants
	body   *node       // nil for no body
	// formConstants are the constants of a body that is no JSON.
	formConstants []formConstant
	// asked and sent are the names that a query and a form have already.
	asked, sent names
}

type formConstant struct {
	name  string
	value json.RawMessage
}

// compile gets an action of a checked definition ready to be called.
func compile(id upstream.ID, d *Definition, def *Action, values map[string]string, log *slog.Logger) (*action, error) {
	a := &action{maker: maker{def: def}, byArg: make(map[string]int), list: def.list(), records: pointerTokens(def.Records), refused: pointerTokens(def.Refused)}
	for i := range def.Params {
		a.byArg[def.Params[i].Arg] = i
		a.params = append(a.params, compileParam(def, &def.Params[i]))
	}
	for i := range d.Paging {
		if d.Paging[i].Name == def.Paging {
			a.addPaging(&d.Paging[i])
		}
	}
	if len(def.Fields) > 0 {
		a.shape = newShape(def.Fields)
	}
	if _, taken := a.byArg[argFields]; !taken && !def.Writes() && def.Answer == "" {
		a.choosable = a.list || a.shape != nil || def.verb() == "get"
	}
	_, taken := a.byArg[argCursor]
	a.goesOn = a.list && !taken && !def.Writes()
	a.drift = newWatch(a, log)
	if err := a.compilePath(values); err != nil {
		return nil, fmt.Errorf("action.%s.path: %w", def.Name, err)
	}
	var query []byte
	for _, name := range sortedKeys(def.Query) {
		query = pair(query, name, fill(def.Query[name], values))
	}
	a.query = string(query)
	if err := a.compileHeaders(d, values); err != nil {
		return nil, fmt.Errorf("action.%s.headers: %w", def.Name, err)
	}
	if err := a.compileBody(); err != nil {
		return nil, fmt.Errorf("action.%s: %w", def.Name, err)
	}
	a.reserve()
	a.offered = a.offers()
	var err error
	a.tool, err = a.newTool(id)
	return a, err
}

// offers names the arguments.
func (a *action) offers() string {
	var args []string
	for i := range a.def.Params {
		args = append(args, a.def.Params[i].Arg)
	}
	if a.pager != nil && a.pager.size >= 0 {
		args = append(args, argLimit)
	}
	if a.goesOn {
		args = append(args, argCursor)
	}
	if a.choosable {
		args = append(args, argFields)
	}
	if args == nil {
		return "none at all"
	}
	return strings.Join(args, ", ")
}

// compilePath splits the path at its constant slashes.
func (m *maker) compilePath(values map[string]string) error {
	if m.def.Path == "" {
		return nil
	}
	byWire := make(map[string]int)
	for i := range m.params {
		if m.params[i].in == inPath {
			byWire[m.params[i].wire] = i
		}
	}
	ps, err := parts(m.def.Path[1:])
	if err != nil {
		return err
	}
	s := segment{}
	for _, p := range ps {
		if i, ok := byWire[p.name]; ok && p.name != "" {
			s = append(s, piece{param: i})
			continue
		}
		if p.name != "" {
			text := values[p.name]
			if err := checkSegment("the value "+p.name, text); err != nil || text == "" {
				return fmt.Errorf("the value %s cannot stand in a path", p.name)
			}
			s = append(s, piece{text, string(escape(nil, text)), -1})
			continue
		}
		for i, escaped := range strings.Split(p.text, "/") {
			if i > 0 {
				m.path, s = append(m.path, s), segment{}
			}
			text, err := url.PathUnescape(escaped)
			if err != nil {
				return err
			}
			if escaped != "" {
				s = append(s, piece{text, escaped, -1})
			}
		}
	}
	m.path = append(m.path, s)
	return nil
}

func (m *maker) compileHeaders(d *Definition, values map[string]string) error {
	m.header = http.Header{"Accept": {"application/json"}}
	if m.def.Answer == "any" {
		m.header.Set("Accept", "*/*")
	}
	for _, headers := range []map[string]string{d.Headers, m.def.Headers} {
		for name, text := range headers {
			text = fill(text, values)
			if strings.ContainsFunc(text, isControl) {
				return fmt.Errorf("%s has a control character", name)
			}
			m.header.Set(name, text)
		}
	}
	return nil
}

func (m *maker) compileBody() error {
	body, err := newTree(m.def)
	if err != nil && (m.def.Body == "" || m.def.Body == "json") {
		return err
	}
	some := len(m.def.Constant) > 0
	for i := range m.params {
		p := &m.params[i]
		if p.in != inBody {
			continue
		}
		some = true
		if i >= len(m.def.Params) { // of the paging
			if err := body.put(bodyTokens(p.wire), i); err != nil {
				return fmt.Errorf("paging.%s: %w", m.def.Paging, err)
			}
		}
	}
	if !some {
		return nil
	}
	m.body = body
	for _, name := range sortedKeys(m.def.Constant) {
		m.formConstants = append(m.formConstants, formConstant{name, raw(m.def.Constant[name])})
	}
	return nil
}
