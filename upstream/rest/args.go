package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// param is a compiled parameter.
type param struct {
	arg, in, wire string
	kind, items   string // JSON types; "" is any
	style, format string
	nullable      bool // null is a value of it, not the lack of one
	required      bool
	most          int64 // of an integer that is at least 1; 0 for any
	enum          []json.RawMessage
	preset        json.RawMessage // what is sent where the model gives none; nil for nothing
}

func compileParam(a *Action, p *Param) param {
	c := param{
		arg: p.Arg, in: a.in(p), wire: p.wire(), kind: p.kind(), items: p.Items, style: p.Style, format: p.Format,
		required: p.Required || a.in(p) == inPath && p.Default == nil,
	}
	if a.Body == "" || a.Body == "json" { // nothing else has a way to write it
		c.nullable = c.in == inBody && allowsNull(p.Schema)
	}
	if f, ok := p.Schema["format"].(string); ok {
		c.format = f
	} else if items, ok := p.Schema["items"].(map[string]any); ok {
		c.format, _ = items["format"].(string)
	}
	for _, e := range p.Enum {
		c.enum = append(c.enum, raw(e))
	}
	if p.Default != nil {
		c.preset = raw(p.Default)
	}
	return c
}

// allowsNull reports whether a schema says that a value may be null.
func allowsNull(schema map[string]any) bool {
	if nullable, _ := schema["nullable"].(bool); nullable || schema["type"] == "null" {
		return true
	}
	if types, _ := schema["type"].([]any); slices.Contains(types, any("null")) {
		return true
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		branches, _ := schema[key].([]any)
		if slices.ContainsFunc(branches, func(b any) bool {
			branch, _ := b.(map[string]any)
			return allowsNull(branch)
		}) {
			return true
		}
	}
	return false
}

// input is the arguments of one call.
type input struct {
	values []json.RawMessage // by the index of the parameter; nil is not given
	cursor string
	fields *shape // the model's own projection; nil for none
}

// invalid is the failure of a call that is wrong. It was not sent.
func invalid(format string, args ...any) *upstream.Error {
	return &upstream.Error{Kind: upstream.InvalidArguments, Public: fmt.Sprintf(format, args...)}
}

// read takes the arguments of a call apart and holds each to its type. The error
// tells all that is wrong: a model corrects it in one go.
func (a *action) read(args json.RawMessage) (*input, error) {
	in := &input{values: make([]json.RawMessage, len(a.params))}
	if args != nil && rawjson.Kind(args) != '{' && !rawjson.IsNull(args) {
		return nil, invalid("the arguments must be an object")
	}
	var wrong []string
	note := func(err error) {
		if e, ok := errors.AsType[*upstream.Error](err); ok {
			wrong = append(wrong, e.Public)
		}
	}
	for m := range rawjson.Members(args) {
		if err := a.readOne(in, m.Name, m.Value); err != nil {
			note(err)
			if i, ok := a.byArg[m.Name]; ok {
				in.values[i] = m.Value // it is there at least
			}
		}
	}
	for i := range a.params {
		p := &a.params[i]
		if in.values[i] != nil {
			continue
		}
		if in.values[i] = p.preset; p.preset == nil && p.required {
			note(invalid("%s is required: %s", p.arg, p.want()))
		}
	}
	if len(wrong) > 0 {
		return nil, invalid("%s", strings.Join(wrong, "; "))
	}
	return in, nil
}

func (a *action) readOne(in *input, name string, v json.RawMessage) error {
	i, ok := a.byArg[name]
	switch {
	case ok:
		p := &a.params[i]
		if rawjson.IsNull(v) && !p.nullable {
			return nil // as if it were not given
		}
		value, err := p.accept(v)
		if err != nil {
			return err
		}
		in.values[i] = value
		return nil
	case name == argCursor && a.goesOn:
		if in.cursor = rawjson.String(v); in.cursor == "" && !rawjson.IsNull(v) && rawjson.Kind(v) != '"' {
			return invalid("cursor must be the next_cursor of an earlier answer")
		}
		return nil
	case name == argFields && a.choosable:
		return in.readFields(v)
	}
	return invalid("there is no argument %.60q; there are: %s", name, a.offered)
}

func (in *input) readFields(v json.RawMessage) error {
	if rawjson.IsNull(v) {
		return nil
	}
	v = embedded(v, '[')
	var fields []string
	if rawjson.Kind(v) == '"' {
		fields = strings.FieldsFunc(rawjson.String(v), func(r rune) bool { return r == ',' || r == ' ' })
	} else if json.Unmarshal(v, &fields) != nil {
		return invalid(`fields must be an array of dotted paths, such as ["id", "owner.name"]`)
	}
	switch {
	case slices.Contains(fields, "*"):
		in.fields = &shape{whole: true}
	case len(fields) > 0:
		in.fields = newShape(fields)
	}
	return nil
}

// want says what an argument must be.
func (p *param) want() string {
	if len(p.enum) > 0 {
		options := make([]string, len(p.enum))
		for i, e := range p.enum {
			options[i] = string(e)
		}
		return "it must be one of " + strings.Join(options, ", ")
	}
	switch p.kind {
	case "":
		return "it must be given"
	case "array":
		if p.items != "" {
			return "it must be an array of the type " + p.items
		}
		return "it must be an array"
	case "integer":
		if p.most > 0 {
			return fmt.Sprintf("it must be a whole number from 1 to %d", p.most)
		}
		return "it must be a whole number"
	case "object":
		return "it must be an object"
	}
	return "it must be a " + p.kind
}

// accept returns an argument as it is sent, or why it cannot be: models give
// numbers as strings and the reverse, and what can mean only one thing is taken
// for that.
func (p *param) accept(v json.RawMessage) (json.RawMessage, error) {
	if rawjson.IsNull(v) && p.nullable {
		return v, nil
	}
	value, ok := convert(v, p.kind)
	if ok && p.items != "" && p.kind == "array" {
		value, ok = convertItems(value, p.items)
	}
	if ok && len(p.enum) > 0 {
		ok = p.listed(value)
	}
	if ok && p.most > 0 {
		n, err := strconv.ParseInt(string(value), 10, 64)
		ok = err == nil && n >= 1 && n <= p.most
	}
	if !ok {
		return nil, invalid("%s: %s, not %s", p.arg, p.want(), brief(v))
	}
	return value, nil
}

func (p *param) listed(v json.RawMessage) bool {
	each := []json.RawMessage{v}
	if p.kind == "array" {
		each = nil
		for e := range rawjson.Elements(v) {
			each = append(each, e)
		}
	}
	for _, e := range each {
		ok := false
		for _, option := range p.enum {
			ok = ok || string(e) == string(option) || plain(e) == plain(option)
		}
		if !ok {
			return false
		}
	}
	return true
}

func brief(v json.RawMessage) string {
	s := []rune(string(v))
	if len(s) > 60 {
		s = append(s[:60], '…')
	}
	return string(s)
}

// isWhole reports whether s is a whole number as JSON has it.
func isWhole[T string | json.RawMessage](s T) bool {
	from := 0
	if len(s) > 0 && s[0] == '-' {
		from = 1
	}
	for i := from; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) == from+1 || len(s) > from && s[from] != '0'
}

// isNumber reports whether text is a number as JSON has it.
func isNumber(text string) bool {
	v := []byte(text)
	k := rawjson.Kind(v)
	return (k == '-' || k >= '0' && k <= '9') && rawjson.Check(v, rawjson.Limits{}) == nil
}

// convert returns v as a value of a JSON type; false if it is none.
func convert(v json.RawMessage, kind string) (json.RawMessage, bool) {
	got := rawjson.Kind(v)
	if kind == "string" && got == '"' || kind == "integer" && isWhole(v) {
		return v, true
	}
	text := strings.TrimSpace(plain(v))
	switch kind {
	case "string":
		if got == '{' || got == '[' || got == 'n' {
			return nil, false
		}
		return rawjson.Quote(text), true
	case "integer":
		return integer(text, got)
	case "number":
		return json.RawMessage(text), got != '{' && got != '[' && isNumber(text)
	case "boolean":
		return json.RawMessage(text), text == "true" || text == "false"
	case "array":
		v = embedded(v, '[')
		return v, rawjson.Kind(v) == '['
	case "object":
		v = embedded(v, '{')
		return v, rawjson.Kind(v) == '{'
	}
	return v, true
}

// maxExponent bounds what a number like 1e9 is written out to.
const maxExponent = 40

// integer returns the whole number that text is. 5.0 and 1e3 are whole numbers
// too.
func integer(text string, kind byte) (json.RawMessage, bool) {
	if isWhole(text) {
		return json.RawMessage(text), true
	}
	if kind == '{' || kind == '[' || !isNumber(text) || len(text) > maxExponent {
		return nil, false
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 && len(strings.TrimLeft(text[i+1:], "+-0")) > 1 {
		return nil, false
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok || !r.IsInt() {
		return nil, false
	}
	return json.RawMessage(r.Num().String()), true
}

// embedded returns the array or object that a string is the JSON text of; any
// other value as it is.
func embedded(v json.RawMessage, kind byte) json.RawMessage {
	if rawjson.Kind(v) != '"' {
		return v
	}
	inner := []byte(rawjson.String(v))
	if rawjson.Kind(inner) != kind || rawjson.Check(inner, rawjson.Limits{}) != nil {
		return v
	}
	return inner
}

func convertItems(v json.RawMessage, kind string) (json.RawMessage, bool) {
	out := append(make([]byte, 0, len(v)+8), '[')
	for e := range rawjson.Elements(v) {
		item, ok := convert(e, kind)
		if !ok {
			return nil, false
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, item...)
	}
	return append(out, ']'), true
}
