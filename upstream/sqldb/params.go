package sqldb

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Param is one argument of a statement's tool.
type Param struct {
	// Type is "string", "integer", "number", "boolean", "date", "timestamp",
	// "decimal", "uuid" or "array"; "" is "string". The server takes each for what
	// the statement makes of it. An array is of strings, numbers and booleans:
	// PostgreSQL gets an array, the others the text of a JSON array, for
	// JSON_TABLE or json_each.
	Type     string
	Required bool
	// Default is what an absent argument counts as, as JSON; nil is NULL.
	Default json.RawMessage
	Enum    []string // of strings; nil is any
	Doc     string
}

// ParamTypes are the values of [Param.Type].
func ParamTypes() []string { return slices.Sorted(maps.Keys(paramTypes)) }

type paramType struct {
	schema string // members of its JSON Schema
	must   string // what a value must be, for errors
	read   func(json.RawMessage) (any, bool)
}

var paramTypes = map[string]paramType{
	"string":    {`"type":"string"`, "a string", readString},
	"integer":   {`"type":"integer"`, "an integer", readInteger},
	"number":    {`"type":"number"`, "a number", readNumber},
	"boolean":   {`"type":"boolean"`, "true or false", readBoolean},
	"date":      {`"type":"string","format":"date"`, "a date such as 2026-06-30", readDate},
	"timestamp": {`"type":"string","format":"date-time"`, "a time such as 2026-06-30T18:00:00Z", readTimestamp},
	"decimal":   {`"type":["string","number"],"pattern":"^-?[0-9]+([.][0-9]+)?$"`, "a decimal number such as 12.50", readDecimal},
	"uuid":      {`"type":"string","format":"uuid"`, "a UUID", readUUID},
	"array":     {`"type":"array","items":{"type":["string","number","boolean"]}`, "a list of strings, numbers or booleans", readArray},
}

func (p *Param) kind() paramType {
	if p.Type == "" {
		return paramTypes["string"]
	}
	return paramTypes[p.Type]
}

// check finds what is wrong with the definition of a parameter.
func (p *Param) check() error {
	kind := p.kind()
	switch {
	case kind.read == nil:
		return fmt.Errorf("type %q is none of %s", p.Type, strings.Join(ParamTypes(), ", "))
	case p.Required && p.Default != nil:
		return errors.New("it is required and has a default")
	case p.Enum != nil && p.Type != "" && p.Type != "string":
		return errors.New("only strings have an enum")
	}
	if p.Default != nil {
		if _, err := p.value(p.Default); err != nil {
			return fmt.Errorf("the default must be %w", err)
		}
	}
	return nil
}

// value reads an argument; the error says what it must be.
func (p *Param) value(raw json.RawMessage) (any, error) {
	kind := p.kind()
	v, ok := kind.read(raw)
	if !ok {
		return nil, errors.New(kind.must)
	}
	if s, isText := v.(string); isText && p.Enum != nil && !slices.Contains(p.Enum, s) {
		return nil, errors.New("one of " + strings.Join(p.Enum, ", "))
	}
	return v, nil
}

// inputSchema returns the JSON Schema of the arguments of a tool.
func inputSchema(params map[string]Param) json.RawMessage {
	var props, required []string
	for _, name := range slices.Sorted(maps.Keys(params)) {
		p := params[name]
		members := p.kind().schema
		add := func(name string, v any) {
			raw, _ := json.Marshal(v) // strings, and JSON that has been checked
			members += fmt.Sprintf(`,"%s":%s`, name, raw)
		}
		if p.Doc != "" {
			add("description", p.Doc)
		}
		if p.Enum != nil {
			add("enum", p.Enum)
		}
		if p.Default != nil {
			add("default", p.Default)
		}
		props = append(props, fmt.Sprintf("%q:{%s}", name, members))
		if p.Required {
			required = append(required, strconv.Quote(name))
		}
	}
	return fmt.Appendf(nil, `{"type":"object","properties":{%s},"required":[%s],"additionalProperties":false}`,
		strings.Join(props, ","), strings.Join(required, ","))
}

// arguments reads those of a call and names every fault at once. What is absent
// and has no default is nil.
func arguments(tool string, params map[string]Param, raw json.RawMessage) (map[string]any, error) {
	if len(raw) == 0 {
		raw = json.RawMessage("{}")
	}
	wrong := func(text string) error {
		return &upstream.Error{Kind: upstream.InvalidArguments, Public: text}
	}
	if err := rawjson.Check(raw, rawjson.Limits{}); err != nil || rawjson.Kind(raw) != '{' {
		return nil, wrong("the arguments of " + tool + " must be a JSON object")
	}
	out := make(map[string]any, len(params))
	given := make(map[string]bool, len(params))
	var faults []string
	for m := range rawjson.Members(raw) {
		p, ok := params[m.Name]
		if !ok {
			faults = append(faults, fmt.Sprintf("there is no argument %.60q; %s takes %s", m.Name, tool, names(params)))
			continue
		}
		given[m.Name] = true
		if rawjson.IsNull(m.Value) && !p.Required {
			given[m.Name] = false
			continue
		}
		v, err := p.value(m.Value)
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s must be %v, not %.60s", m.Name, err, m.Value))
		}
		out[m.Name] = v
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		p := params[name]
		switch {
		case given[name]:
		case p.Required:
			faults = append(faults, fmt.Sprintf("%s is missing; it must be %s", name, p.kind().must))
		case p.Default != nil:
			out[name], _ = p.value(p.Default) // checked before
		}
	}
	if faults != nil {
		return nil, wrong(strings.Join(faults, "; "))
	}
	return out, nil
}

func names(params map[string]Param) string {
	if len(params) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(params)), ", ")
}

func readString(raw json.RawMessage) (any, bool) {
	return rawjson.String(raw), rawjson.Kind(raw) == '"'
}

// plain returns the text of a number, also of one that came as a string.
func plain(raw json.RawMessage) (string, bool) {
	switch kind := rawjson.Kind(raw); {
	case kind == '"':
		s := strings.TrimSpace(rawjson.String(raw))
		return s, decimalForm().MatchString(s)
	case kind == '-' || kind >= '0' && kind <= '9':
		return strings.TrimSpace(string(raw)), true
	}
	return "", false
}

var decimalForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`) })

func readInteger(raw json.RawMessage) (any, bool) {
	s, ok := plain(raw)
	if n, err := strconv.ParseInt(s, 10, 64); ok && err == nil {
		return n, true
	}
	// 1e3, 5.0: as long as a float64 holds it exactly
	f, err := strconv.ParseFloat(s, 64)
	if !ok || err != nil || f != math.Trunc(f) || math.Abs(f) > exact || strings.Contains(s, "e-") {
		return nil, false
	}
	return int64(f), true
}

func readNumber(raw json.RawMessage) (any, bool) {
	s, ok := plain(raw)
	f, err := strconv.ParseFloat(s, 64)
	return f, ok && err == nil
}

func readBoolean(raw json.RawMessage) (any, bool) {
	switch strings.Trim(string(raw), " \t\r\n\"") {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return nil, false
}

func readDate(raw json.RawMessage) (any, bool) {
	s := rawjson.String(raw)
	_, err := time.Parse(time.DateOnly, s)
	return s, rawjson.Kind(raw) == '"' && err == nil
}

func readTimestamp(raw json.RawMessage) (any, bool) {
	if rawjson.Kind(raw) != '"' {
		return nil, false
	}
	s := rawjson.String(raw)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return nil, false
}

// decimal is the text of a decimal number.
type decimal string

func readDecimal(raw json.RawMessage) (any, bool) {
	s, ok := plain(raw)
	return decimal(s), ok && decimalForm().MatchString(s)
}

var uuidForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?i)[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$`) })

func readUUID(raw json.RawMessage) (any, bool) {
	s := strings.ToLower(rawjson.String(raw))
	return s, rawjson.Kind(raw) == '"' && uuidForm().MatchString(s)
}

// array is the elements of a list, as JSON.
type array []json.RawMessage

func readArray(raw json.RawMessage) (any, bool) {
	if rawjson.Kind(raw) != '[' {
		return nil, false
	}
	out := array{}
	for e := range rawjson.Elements(raw) {
		if k := rawjson.Kind(e); k == '{' || k == '[' || k == 'n' {
			return nil, false
		}
		out = append(out, e)
	}
	return out, true
}

// literal returns the array as PostgreSQL writes one
// (https://www.postgresql.org/docs/current/arrays.html, Array Input and Output
// Syntax).
func (a array) literal() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range a {
		if i > 0 {
			b.WriteByte(',')
		}
		s := string(e)
		if rawjson.Kind(e) == '"' {
			s = rawjson.String(e)
		}
		b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`)
	}
	b.WriteByte('}')
	return b.String()
}

// json returns the array as the text of a JSON array.
func (a array) json() string {
	raw, _ := json.Marshal([]json.RawMessage(a)) // elements of checked JSON
	return string(raw)
}
