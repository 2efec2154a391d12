package rest

import (
	"fmt"
	"mime"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

var (
	methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
	types   = []string{"string", "integer", "number", "boolean", "array", "object"}
	bodies  = []string{"", "json", "form", "multipart", "raw"}
	styles  = []string{"", "form", "comma", "space", "pipe", "deep", "brackets", "json"}
)

func (a *Action) check(f *Faults, key string, values map[string]bool, paging map[string]*Paging) {
	if !isName(a.Name, "_-") || len(a.Name) > maxName || strings.IndexByte("_-0123456789", a.Name[0]) >= 0 {
		f.add(key, "a name has at most 64 letters, digits, underscores and hyphens, and begins with a letter")
	}
	oneOf(f, key+".method", a.Method, methods)
	if a.Class != "" {
		oneOf(f, key+".class", a.Class, []string{classRead, classIdempotent, classWrite})
	}
	oneOf(f, key+".body", a.Body, bodies)
	oneOf(f, key+".answer", a.Answer, []string{"", "json", "any"})
	checkPointer(f, key+".records", a.Records)
	checkPointer(f, key+".refused", a.Refused)
	checkHeaders(f, key+".headers", a.Headers)
	if name := strings.TrimPrefix(a.Idempotency, "?"); name != "" && name == a.Idempotency {
		if err := checkHeaderName(name); err != nil {
			f.add(key+".idempotency", "%v", err)
		}
	}
	if a.ContentType != "" {
		if _, _, err := mime.ParseMediaType(a.ContentType); err != nil {
			f.add(key+".content_type", "%v", err)
		}
	}
	for i, field := range a.Fields {
		if slices.Contains(strings.Split(field, "."), "") {
			f.add(fmt.Sprintf("%s.fields[%d]", key, i), "%.60q is no dotted path", field)
		}
	}
	if a.Cost < 0 {
		f.add(key+".cost", "must not be negative")
	}
	a.checkPath(f, key, values)
	taken := a.checkPaging(f, key, paging)
	for i := range a.Params {
		p := &a.Params[i]
		p.check(f, key+".params."+p.Arg, a)
		if taken[p.Arg] {
			f.add(key+".params."+p.Arg, "an argument of this name is there already")
		}
		taken[p.Arg] = true
	}
	a.checkBody(f, key)
}

// checkPaging returns the names of the arguments that paging adds.
func (a *Action) checkPaging(f *Faults, key string, paging map[string]*Paging) map[string]bool {
	taken := make(map[string]bool)
	if a.Paging == "" {
		return taken
	}
	taken[argCursor] = true
	p := paging[a.Paging]
	if p == nil {
		f.add(key+".paging", "there is no [paging.%s]", a.Paging)
		return taken
	}
	if p.Size != "" {
		taken[argLimit] = true
	}
	if p.In == inBody && (a.Method == "GET" || a.Method == "HEAD") {
		f.add(key+".paging", "goes into the body, which %s has not", a.Method)
	}
	return taken
}

func (a *Action) checkPath(f *Faults, key string, values map[string]bool) {
	ps, err := parts(a.Path)
	if err == nil && !strings.HasPrefix(a.Path, "/") && a.Path != "" {
		err = fmt.Errorf("must begin with /")
	}
	var sample strings.Builder
	for _, p := range ps {
		switch {
		case p.name == "":
			sample.WriteString(p.text)
			continue
		case values[p.name], slices.ContainsFunc(a.Params, func(q Param) bool { return q.wire() == p.name && a.in(&q) == inPath }):
		default:
			f.add(key+".path", "{%s} is neither a parameter nor a value", p.name)
		}
		sample.WriteByte('x')
	}
	if err == nil {
		err = checkConstantPath(sample.String())
	}
	if err != nil {
		f.add(key+".path", "%v", err)
	}
}

func (p *Param) check(f *Faults, key string, a *Action) {
	if !isName(p.Arg, "_.-") || len(p.Arg) > maxName {
		f.add(key, "an argument's name has at most 64 letters, digits, underscores, dots and hyphens")
	}
	in := a.in(p)
	switch in {
	case inPath:
		if !placeholders(a.Path)[p.wire()] {
			f.add(key+".in", "the path has no {%s}", p.wire())
		}
	case inHeader:
		if err := checkHeaderName(p.wire()); err != nil {
			f.add(key+".name", "%v", err)
		}
	case inBody:
		if a.Method == "GET" || a.Method == "HEAD" {
			f.add(key+".in", "%s has no body", a.Method)
		}
	case inQuery:
	default:
		oneOf(f, key+".in", in, []string{inPath, inQuery, inBody, inHeader})
	}
	if p.Type != "" {
		oneOf(f, key+".type", p.Type, types)
	}
	if p.Items != "" {
		oneOf(f, key+".items", p.Items, types)
		if p.kind() != "array" {
			f.add(key+".items", "is for arrays")
		}
	}
	if p.Schema != nil && (p.Type != "" || p.Items != "" || p.Enum != nil || p.Format != "") {
		f.add(key+".schema", "stands instead of type, items, enum and format")
	}
	oneOf(f, key+".style", p.Style, styles)
	if p.Default != nil {
		c := compileParam(a, p)
		if _, err := c.accept(raw(p.Default)); err != nil {
			f.add(key+".default", "%s", upstream.AsError("", "", err).Public)
		}
	}
}

func (a *Action) checkBody(f *Faults, key string) {
	var whole, part []string
	for i := range a.Params {
		p := &a.Params[i]
		switch {
		case a.in(p) != inBody:
		case p.Name == wholeBody:
			whole = append(whole, p.Arg)
		default:
			part = append(part, p.Arg)
		}
	}
	switch {
	case len(whole) > 1, len(whole) == 1 && len(part)+len(a.Constant) > 0:
		f.add(key+".params."+whole[0], "is the whole body, but there is more for it")
	case a.Body == "raw" && len(whole) != 1:
		f.add(key+".body", `a raw body needs the parameter that it is, name = "/"`)
	case a.ContentType != "" && a.Body != "raw" && a.Body != "json" && a.Body != "":
		f.add(key+".content_type", "is for json and raw bodies")
	}
	if a.Body == "" || a.Body == "json" {
		if _, err := newTree(a); err != nil {
			f.add(key, "%v", err)
		}
	}
	if len(a.Constant) > 0 && (a.Method == "GET" || a.Method == "HEAD") {
		f.add(key+".constant", "%s has no body", a.Method)
	}
}
