package rest

import (
	"encoding/json"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Definition says how a REST source is asked: plain data, read from TOML by
// [Parse] or made in memory, and the same again after a trip through JSON. The
// zero value of a member means that it is not given.
type Definition struct {
	Title   string   `toml:"title" json:"title,omitempty"`
	Docs    []string `toml:"docs" json:"docs,omitempty"` // the public pages that it was written from
	Read    string   `toml:"read" json:"read,omitempty"` // when they were read, "2026-11"
	BaseURL string   `toml:"base_url" json:"base_url"`   // {name} stands for a value
	// Headers are constants of every request; {name} stands for a value.
	Headers map[string]string `toml:"headers" json:"headers,omitempty"`
	Values  []Value           `toml:"values" json:"values,omitempty"`
	// Preset is a fragment of [upstream.NAME] of the configuration, laid under
	// what the operator writes.
	Preset map[string]any `toml:"preset" json:"preset,omitempty"`
	// Auth are fragments of [upstream.NAME.auth], in the order of the file; the
	// first is the default type.
	Auth    []Auth   `toml:"auth" json:"auth,omitempty"`
	Errors  Errors   `toml:"errors" json:"errors,omitzero"`
	Quota   Quota    `toml:"quota" json:"quota,omitzero"`
	Paging  []Paging `toml:"paging" json:"paging,omitempty"`
	Actions []Action `toml:"action" json:"actions"`
}

// Value is what the operator gives, or the token response.
type Value struct {
	Name    string `key:"" json:"name"`
	Doc     string `toml:"doc" json:"doc,omitempty"`
	Pattern string `toml:"pattern" json:"pattern,omitempty"` // the whole value must match
	Example string `toml:"example" json:"example,omitempty"`
	Default string `toml:"default" json:"default,omitempty"` // then it may be left out
	// Token is the member of the token response that it is taken from instead;
	// Suffixes, of which the host must then end in one, are required for it.
	Token    string   `toml:"token" json:"token,omitempty"`
	Suffixes []string `toml:"suffixes" json:"suffixes,omitempty"`
}

// Auth is a fragment of the configuration of a sign-in of one type.
type Auth struct {
	Type string         `key:"" json:"type"`
	Keys map[string]any `rest:"" json:"keys,omitempty"`
}

// Errors says how a failure is told, beyond the status. The pointers are RFC
// 6901's.
type Errors struct {
	Failed  *Failed  `toml:"failed" json:"failed,omitempty"`
	Message []string `toml:"message" json:"message,omitempty"` // the first that is a non-empty string counts
	Code    []string `toml:"code" json:"code,omitempty"`
	// Codes gives a kind by "CODE", "STATUS" or "STATUS CODE".
	Codes map[string]string `toml:"codes" json:"codes,omitempty"`
	// RetryHeader is a header field of failures that says true or false: whether
	// another attempt may do better.
	RetryHeader string `toml:"retry_header" json:"retry_header,omitempty"`
}

// Failed says what makes a 2xx answer a failure.
type Failed struct {
	Path    string `toml:"path" json:"path"`
	Equals  any    `toml:"equals" json:"equals,omitempty"`
	Present bool   `toml:"present" json:"present,omitempty"` // a value that is not null is enough
}

// Quota says where the body of an answer tells what is left of a quota, counted as
// the limits of the upstream are. The pointers are RFC 6901's.
type Quota struct {
	Left    string `toml:"left" json:"left,omitempty"`
	Restore string `toml:"restore" json:"restore,omitempty"` // how much more there is each second
}

// Paging is one way in which pages follow each other.
type Paging struct {
	Name    string `key:"" json:"name"`
	Kind    string `toml:"kind" json:"kind"` // cursor link next_url last_id offset page partition
	Param   string `toml:"param" json:"param,omitempty"`
	In      string `toml:"in" json:"in,omitempty"` // query (default) or body
	Next    string `toml:"next" json:"next,omitempty"`
	ID      string `toml:"id" json:"id,omitempty"` // last_id: where in a record; default /id
	More    string `toml:"more" json:"more,omitempty"`
	Size    string `toml:"size" json:"size,omitempty"`
	Default int64  `toml:"default" json:"default,omitempty"`
	Most    int64  `toml:"most" json:"most,omitempty"`
	Total   string `toml:"total" json:"total,omitempty"`
	Start   *int64 `toml:"start" json:"start,omitempty"` // of offset (default 0) and page (default 1)
}

// Action is one tool.
type Action struct {
	Name        string            `key:"" json:"name"`
	Entity      string            `toml:"entity" json:"entity,omitempty"`
	Verb        string            `toml:"verb" json:"verb,omitempty"` // default: the name up to its first underscore
	Title       string            `toml:"title" json:"title,omitempty"`
	Description string            `toml:"description" json:"description,omitempty"`
	Method      string            `toml:"method" json:"method"`
	Path        string            `toml:"path" json:"path"`
	Class       string            `toml:"class" json:"class,omitempty"` // read idempotent write
	Records     string            `toml:"records" json:"records,omitempty"`
	Fields      []string          `toml:"fields" json:"fields,omitempty"`   // dotted; one that may be missing ends in ?
	Refused     string            `toml:"refused" json:"refused,omitempty"` // to a list that is empty if all went well
	Paging      string            `toml:"paging" json:"paging,omitempty"`
	Cost        int64             `toml:"cost" json:"cost,omitempty"`
	Idempotency string            `toml:"idempotency" json:"idempotency,omitempty"` // a header; "?name" is a query parameter
	Body        string            `toml:"body" json:"body,omitempty"`               // json form multipart raw
	ContentType string            `toml:"content_type" json:"content_type,omitempty"`
	Answer      string            `toml:"answer" json:"answer,omitempty"` // json (default), any
	Scopes      []string          `toml:"scopes" json:"scopes,omitempty"`
	Headers     map[string]string `toml:"headers" json:"headers,omitempty"`
	Query       map[string]string `toml:"query" json:"query,omitempty"`
	Constant    map[string]any    `toml:"constant" json:"constant,omitempty"`
	// Output is the JSON Schema of a record, where more is known of it than its
	// Fields.
	Output map[string]any `toml:"output" json:"output,omitempty"`
	Params []Param        `toml:"params" json:"params,omitempty"`
}

// Param is one argument of a tool and where it goes.
type Param struct {
	Arg      string         `key:"" json:"arg"`
	In       string         `toml:"in" json:"in,omitempty"`     // path query body header
	Name     string         `toml:"name" json:"name,omitempty"` // on the wire; default Arg; of a body also a JSON pointer, "/" the whole
	Type     string         `toml:"type" json:"type,omitempty"` // default string
	Items    string         `toml:"items" json:"items,omitempty"`
	Schema   map[string]any `toml:"schema" json:"schema,omitempty"`
	Enum     []any          `toml:"enum" json:"enum,omitempty"`
	Format   string         `toml:"format" json:"format,omitempty"`
	Required bool           `toml:"required" json:"required,omitempty"`
	Default  any            `toml:"default" json:"default,omitempty"`
	Doc      string         `toml:"doc" json:"doc,omitempty"`
	Style    string         `toml:"style" json:"style,omitempty"` // form comma space pipe deep brackets json
}

// The classes of actions.
const (
	classRead       = "read"
	classIdempotent = "idempotent"
	classWrite      = "write"
)

// class returns what an action may do, by its own word or its method's meaning
// (RFC 9110, section 9.2).
func (a *Action) class() string {
	class := a.Class
	if class == "" {
		switch a.Method {
		case "GET", "HEAD":
			class = classRead
		case "PUT", "DELETE":
			class = classIdempotent
		default:
			class = classWrite
		}
	}
	if class == classWrite && a.Idempotency != "" {
		class = classIdempotent
	}
	return class
}

// Writes reports whether the action is more than a read.
func (a *Action) Writes() bool { return a.class() != classRead }

func (a *Action) verb() string {
	if a.Verb != "" {
		return a.Verb
	}
	for i, c := range a.Name {
		if c == '_' {
			return a.Name[:i]
		}
	}
	return a.Name
}

// list reports whether the action answers with records rather than with one.
func (a *Action) list() bool {
	switch a.verb() {
	case "list", "search":
		return true
	case "query":
		return a.Paging != "" || a.Records != ""
	}
	return a.Paging != ""
}

// in returns where a parameter goes.
func (a *Action) in(p *Param) string {
	switch {
	case p.In != "":
		return p.In
	case placeholders(a.Path)[p.wire()]:
		return inPath
	case a.Method == "GET" || a.Method == "HEAD" || a.Method == "DELETE":
		return inQuery
	}
	return inBody
}

// Where a parameter goes.
const (
	inPath   = "path"
	inQuery  = "query"
	inBody   = "body"
	inHeader = "header"
)

func (p *Param) wire() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Arg
}

// kind returns the JSON type that the argument must have; "" if any will do.
func (p *Param) kind() string {
	if p.Schema != nil {
		t, _ := p.Schema["type"].(string)
		return t
	}
	if p.Type == "" {
		return "string"
	}
	return p.Type
}

// raw returns v as JSON text. v is what TOML or JSON can hold.
func raw(v any) json.RawMessage {
	text, err := rawjson.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return text
}
