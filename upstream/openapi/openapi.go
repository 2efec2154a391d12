// Package openapi compiles an OpenAPI 3.0 or 3.1 or a Swagger 2.0 document into
// the definition of a REST source.
//
// Job: find the operations that the operator has named, and none else; make of
// each an action of package rest, with every argument's place, style and schema;
// say of what cannot be made why, and go on with the others. [Compile] does that
// once; what it makes is kept ([Compiled.Encode], [Decode]) and bound to the
// document, the choice and this compiler ([Key]), so that a start reads no
// document.
//
// It owns the reading of documents and what they may cost: their size, their
// depth, how far references are written out. Documents are other people's and
// are often wrong, so nothing depends on their being valid as a whole, and
// nothing in them says where requests go: the base URL is the operator's. It
// must not know how documents are fetched, how requests are made, configuration
// or credentials.
package openapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// Selection says what is to be made of a document.
type Selection struct {
	// Operations names them: operationIds such as "issues/list", or a method and
	// a path such as "GET /repos/{owner}/{repo}/issues". In both, * is any run of
	// characters; as a method it is any. A class may follow where the method's
	// meaning is not what the operation does: "POST /search read". Others are
	// idempotent and write. An operation is made once, as the first that names it
	// says.
	Operations []string `json:"operations"`
	// Room is how many characters the name of a tool may have, beside the prefix
	// that it gets; 0 is 64.
	Room int `json:"room"`
}

// Operation is what was found of one operation.
type Operation struct {
	ID string `json:"id,omitempty"` // its operationId
	// Named is what names it and nothing else in [Selection].Operations.
	Named      string    `json:"named"`
	Method     string    `json:"method"`
	Path       string    `json:"path"`
	Tool       string    `json:"tool"`  // the name of its tool
	Class      string    `json:"class"` // read, idempotent or write
	Title      string    `json:"title,omitempty"`
	Parameters []string  `json:"parameters,omitempty"` // required ones have a * behind them
	Renamed    []Renamed `json:"renamed,omitempty"`
	Notes      []string  `json:"notes,omitempty"`   // what is other than the document says
	Problem    string    `json:"problem,omitempty"` // why there is no tool; "" if there is one
}

// Usual is the class that the method says.
func (o *Operation) Usual() string { return classOf(o.Method) }

// Renamed is an argument that is not called what the document calls it.
type Renamed struct {
	Argument string `json:"argument"`
	In       string `json:"in"` // path, query, header or body
	Name     string `json:"name"`
}

// Compile makes a definition of what the selection names. The operations come
// by path and method, whatever their order in the document. It fails if the
// document cannot be read or the selection is no such thing, and when ctx ends;
// what is wrong with a single operation stands in [Compiled].
func Compile(ctx context.Context, text []byte, s Selection) (*Compiled, error) {
	patterns, err := parsePatterns(s.Operations)
	if err != nil {
		return nil, err
	}
	d, err := read(text)
	if err != nil {
		return nil, err
	}
	out := &Compiled{Version: version, Definition: rest.Definition{Title: d.title(), Paging: []rest.Paging{linked}}, Lost: d.lost, Servers: d.servers()}
	room := s.Room
	if room <= 0 || room > maxName {
		room = maxName
	}
	used := make([]bool, len(patterns))
	for _, src := range d.paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		named := -1
		for i := range patterns {
			if patterns[i].matches(src) {
				used[i] = true
				if named < 0 {
					named = i
				}
			}
		}
		if named < 0 {
			continue
		}
		c := &compiler{doc: d, fragment: &fragment{doc: d}}
		c.compile(src, patterns[named].class, room)
		out.Operations = append(out.Operations, c.op)
		if c.op.Problem == "" {
			out.Definition.Actions = append(out.Definition.Actions, c.action)
		}
	}
	for i := range patterns {
		if !used[i] {
			out.Unmatched = append(out.Unmatched, patterns[i].text)
		}
	}
	return out, nil
}

// pattern names operations.
type pattern struct {
	text         string
	method, path string // "" where it is an operationId
	id           string
	class        string // "" for the method's own
}

var classes = [...]string{"read", "idempotent", "write"}

func parsePatterns(texts []string) ([]pattern, error) {
	if len(texts) == 0 {
		return nil, errors.New("no operation is named, and none becomes a tool unless it is")
	}
	out := make([]pattern, 0, len(texts))
	for _, text := range texts {
		p := pattern{text: text}
		words := strings.Fields(text)
		if n := len(words); n > 1 && slices.Contains(classes[:], words[n-1]) {
			p.class, words = words[n-1], words[:n-1]
		}
		switch {
		case len(words) == 1 && !strings.HasPrefix(words[0], "/"):
			p.id = words[0]
		case len(words) == 2 && (strings.HasPrefix(words[1], "/") || words[1] == "*"):
			p.method, p.path = strings.ToUpper(words[0]), words[1]
			if p.method != "*" && !slices.Contains(methods[:], strings.ToLower(p.method)) {
				return nil, fmt.Errorf("%s begins with no method that a tool can have", quoted(text))
			}
		default:
			return nil, fmt.Errorf("%s is neither an operationId nor a method and a path, such as \"GET /items/*\"", quoted(text))
		}
		out = append(out, p)
	}
	return out, nil
}

// CheckPattern reports what is wrong with one entry of [Selection].Operations.
func CheckPattern(text string) error {
	_, err := parsePatterns([]string{text})
	return err
}

func (p *pattern) matches(src operationSource) bool {
	if p.id != "" {
		return src.id != "" && match(p.id, src.id)
	}
	return (p.method == "*" || p.method == src.method) && match(p.path, src.path)
}

// match reports whether s is what a pattern with * for any run of characters
// says.
func match(pattern, s string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for {
		var part string
		if part, rest, wild = strings.Cut(rest, "*"); !wild {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
}
