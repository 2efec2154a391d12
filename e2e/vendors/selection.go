package vendors

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// selection is what a GraphQL document asks of an object: the fields, and what
// of those that are objects themselves.
type selection struct {
	name, args string
	fields     []selection
}

var (
	operation = regexp.MustCompile(`^\s*(query|mutation)\s+(\w+)\s*(?:\(([^)]*)\))?\s*`)
	variable  = regexp.MustCompile(`\$(\w+)`)
	declared  = regexp.MustCompile(`\$(\w+)\s*:\s*(\[?\w+!?\]?)(!?)`)
)

// parse reads a document of one operation without fragments: enough for what is
// written by hand and never changes.
func parse(document string, variables object) (kind string, root []selection, err error) {
	head := operation.FindStringSubmatch(document)
	if head == nil {
		return "", nil, errors.New("the document has no named operation")
	}
	rest := document[len(head[0]):]
	names := map[string]bool{}
	for _, d := range declared.FindAllStringSubmatch(head[3], -1) {
		names[d[1]] = true
		if _, given := variables[d[1]]; d[3] == "!" && !given {
			return "", nil, fmt.Errorf("variable $%s of type %s! was not provided", d[1], d[2])
		}
		if !strings.Contains(rest, "$"+d[1]) {
			return "", nil, fmt.Errorf("variable $%s is never used", d[1])
		}
	}
	for _, v := range variable.FindAllStringSubmatch(rest, -1) {
		if !names[v[1]] {
			return "", nil, fmt.Errorf("variable $%s is not defined", v[1])
		}
	}
	for name := range variables {
		if !names[name] {
			return "", nil, fmt.Errorf("variable $%s is not defined by the operation", name)
		}
	}
	p := &reader{text: rest}
	if root, err = p.set(); err == nil && strings.TrimSpace(p.text) != "" {
		err = errors.New("something follows the operation")
	}
	return head[1], root, err
}

// reader reads a selection set from the front of its text.
type reader struct{ text string }

var word = regexp.MustCompile(`^\w+`)

func (p *reader) space() { p.text = strings.TrimLeft(p.text, " \t\r\n,") }

func (p *reader) set() ([]selection, error) {
	p.space()
	if !strings.HasPrefix(p.text, "{") {
		return nil, fmt.Errorf("expected { at %.20q", p.text)
	}
	p.text = p.text[1:]
	var all []selection
	for {
		p.space()
		if strings.HasPrefix(p.text, "}") {
			p.text = p.text[1:]
			if len(all) == 0 {
				return nil, errors.New("an empty selection")
			}
			return all, nil
		}
		s := selection{name: word.FindString(p.text)}
		if s.name == "" {
			return nil, fmt.Errorf("expected a field at %.20q", p.text)
		}
		p.text = p.text[len(s.name):]
		p.space()
		if strings.HasPrefix(p.text, "(") {
			depth := 0
			for i, r := range p.text {
				switch r {
				case '(', '{', '[':
					depth++
				case ')', '}', ']':
					depth--
				}
				if depth == 0 {
					s.args, p.text = p.text[1:i], p.text[i+1:]
					break
				}
			}
			if s.args == "" {
				return nil, errors.New("an argument list without an end")
			}
			p.space()
		}
		if strings.HasPrefix(p.text, "{") {
			var err error
			if s.fields, err = p.set(); err != nil {
				return nil, err
			}
		}
		all = append(all, s)
	}
}

// pick returns of data what was asked for; an error where there is no such
// field, or where one that is an object is asked for without saying what of it.
func pick(data any, asked []selection, where string) (any, error) {
	switch v := data.(type) {
	case []object:
		all := make([]any, len(v))
		for i, e := range v {
			one, err := pick(e, asked, where)
			if err != nil {
				return nil, err
			}
			all[i] = one
		}
		return all, nil
	case object:
		if len(asked) == 0 {
			return nil, fmt.Errorf("field %q must have a selection of subfields", where)
		}
		some := object{}
		for _, s := range asked {
			member, ok := v[s.name]
			if !ok {
				return nil, fmt.Errorf("cannot query field %q on %q", s.name, where)
			}
			one, err := pick(member, s.fields, s.name)
			if err != nil {
				return nil, err
			}
			some[s.name] = one
		}
		return some, nil
	}
	if len(asked) > 0 && data != nil {
		return nil, fmt.Errorf("field %q must not have a selection", where)
	}
	return data, nil
}
