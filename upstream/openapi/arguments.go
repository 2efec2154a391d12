package openapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// maxArguments is how many arguments a tool may have, and maxSchemas how many
// bytes their schemas may have together; each gets its share.
const (
	maxArguments = 256
	maxSchemas   = 48 << 10
	leastSchema  = 512
)

// argument is one that is not named yet.
type argument struct {
	param  rest.Param
	wish   string // what it would be called
	schema json.RawMessage
}

// arguments turns the parameters and the body of an operation into arguments,
// each with where it came from. Those of the path keep their names; of two that
// would have the same, the later one is called by its place too: id, body_id.
func (c *compiler) arguments(op *openapi3.Operation) error {
	var args []argument
	for _, ref := range op.Parameters {
		if ref.Value == nil {
			continue
		}
		some, err := c.parameter(ref.Value)
		if err != nil {
			return err
		}
		args = append(args, some...)
	}
	if err := c.placeholders(args); err != nil {
		return err
	}
	if op.RequestBody != nil && op.RequestBody.Value != nil {
		some, err := c.body(op.RequestBody.Value)
		if err != nil {
			return err
		}
		args = append(args, some...)
	}
	if len(args) > maxArguments {
		return fmt.Errorf("it has %d parameters and fields, at most %d can be told", len(args), maxArguments)
	}
	slices.SortStableFunc(args, func(a, b argument) int { return cmp.Compare(rank(a.param.In), rank(b.param.In)) })
	c.finish(args)
	return nil
}

// rank is the order in which arguments get the name that they wish.
func rank(in string) int { return slices.Index([]string{"path", "query", "header", "body"}, in) }

// finish names the arguments and inlines their schemas.
func (c *compiler) finish(args []argument) {
	taken := make(map[string]bool)
	for i := range args {
		a := &args[i]
		name := cut(plain(a.wish), maxName)
		if name == "" {
			name = a.param.In + "_" + hash(a.wish)
		}
		for n := 1; taken[name]; n++ {
			name = cut(a.param.In+"_"+plain(a.wish), maxName-3)
			if n > 1 {
				name += fmt.Sprintf("_%d", n)
			}
		}
		taken[name] = true
		if name != a.wish {
			c.op.Renamed = append(c.op.Renamed, Renamed{name, a.param.In, a.wish})
		}
		a.param.Arg = name
		if a.param.Name == name {
			a.param.Name = ""
		}
		room := min(max(maxSchemas/len(args), leastSchema), maxArgumentSchema)
		if a.param.In == "body" { // inlined as a whole already
			room = maxBodySchema
		}
		a.param.Schema = decoded(c.inline(a.schema, room))
		c.action.Params = append(c.action.Params, a.param)
	}
}

// decoded returns a schema as [rest.Definition] has it, numbers as they stand.
func decoded(schema json.RawMessage) map[string]any {
	var out map[string]any
	dec := json.NewDecoder(strings.NewReader(string(schema)))
	dec.UseNumber()
	if err := dec.Decode(&out); err != nil { // it is what inline has written
		panic("openapi: " + err.Error())
	}
	return out
}

// parameter turns a parameter into no argument, one, or one for each property.
func (c *compiler) parameter(p *openapi3.Parameter) ([]argument, error) {
	if c.credential(p) {
		c.note("%s parameter %s is left out: credentials come from auth", p.In, quoted(p.Name))
		return nil, nil
	}
	a := argument{wish: p.Name, schema: c.schemaOf(p), param: rest.Param{
		In: p.In, Name: p.Name, Required: p.Required, Doc: brief(p.Description, maxDescription),
	}}
	var err error
	switch p.In {
	case "path":
		a.param.Required = true
		if p.Style != "" && p.Style != "simple" {
			return nil, fmt.Errorf("its path parameter %s has the style %s, which is not built", quoted(p.Name), quoted(p.Style))
		}
	case "query":
		return c.query(p, a)
	case "header":
		switch {
		case strings.EqualFold(p.Name, "Idempotency-Key"):
			c.action.Idempotency = "Idempotency-Key"
			return nil, nil
		case ours(p.Name):
			return nil, nil
		}
	default:
		err = fmt.Errorf("its %s parameter %s cannot be sent", p.In, quoted(p.Name))
	}
	if err == nil {
		return []argument{a}, nil
	}
	if p.Required {
		return nil, err
	}
	c.note("%s; it is left out", strings.TrimPrefix(err.Error(), "its "))
	return nil, nil
}

// schemaOf returns what a parameter's value must be.
func (c *compiler) schemaOf(p *openapi3.Parameter) json.RawMessage {
	schema := c.fragment.marked(p.Extensions)
	if schema == nil {
		schema = c.fragment.schema(p.Schema)
	}
	for _, name := range sortedNames(p.Content) {
		if schema = c.fragment.schema(p.Content[name].Schema); schema != nil {
			break
		}
	}
	if schema == nil {
		schema = json.RawMessage(`{"type":"string"}`)
	}
	return schema
}

// query gives a query parameter its style (OpenAPI 3.1, §4.8.12.3).
func (c *compiler) query(p *openapi3.Parameter, a argument) ([]argument, error) {
	if len(p.Content) > 0 {
		a.param.Style = "json"
		return []argument{a}, nil
	}
	method, err := p.SerializationMethod()
	if err != nil {
		return nil, fmt.Errorf("its parameter %s: %w", quoted(p.Name), err)
	}
	shape := c.shape(a.schema)
	switch method.Style {
	case "deepObject":
		a.param.Style = "deep"
		if shape == "array" {
			a.param.Style = "brackets"
		}
	case "form", "spaceDelimited", "pipeDelimited":
		switch {
		case shape == "object" && method.Explode:
			return c.spread(a), nil
		case method.Explode: // the default
		case method.Style == "form":
			a.param.Style = "comma"
		default:
			a.param.Style = strings.TrimSuffix(method.Style, "Delimited")
		}
	default:
		return nil, fmt.Errorf("its query parameter %s has the style %s, which is not built", quoted(p.Name), quoted(method.Style))
	}
	return []argument{a}, nil
}

// spread makes a query parameter of each property, which is what an exploded
// form means.
func (c *compiler) spread(a argument) []argument {
	obj := c.flatten(a.schema)
	if len(obj.properties) == 0 {
		a.param.Style = "json"
		c.note("query parameter %s may hold anything, and is sent as JSON", quoted(a.wish))
		return []argument{a}
	}
	var out []argument
	for _, p := range obj.properties {
		out = append(out, argument{wish: p.Name, schema: p.Value, param: rest.Param{
			In: a.param.In, Name: p.Name, Required: a.param.Required && obj.required[p.Name],
		}})
	}
	return out
}

// shape returns "object" or "array" where a schema allows nothing else but
// null, else "".
func (c *compiler) shape(schema json.RawMessage) string {
	target, _, err := c.doc.resolve(schema)
	if err != nil {
		return ""
	}
	kw := members(target)
	types := slices.DeleteFunc(typesOf(kw["type"]), func(t string) bool { return t == "null" })
	switch {
	case len(types) == 1 && (types[0] == "object" || types[0] == "array"):
		return types[0]
	case len(types) == 0 && kw["properties"] != nil:
		return "object"
	case len(types) == 0 && kw["items"] != nil:
		return "array"
	}
	return ""
}

// placeholders holds the path to its parameters: each place needs one, each
// parameter a place.
func (c *compiler) placeholders(args []argument) error {
	var missing []string
	rest := c.action.Path
	places := make(map[string]bool)
	for {
		_, after, ok := strings.Cut(rest, "{")
		if !ok {
			break
		}
		name, tail, ok := strings.Cut(after, "}")
		if !ok || name == "" || strings.ContainsAny(name, "{/?#") {
			return fmt.Errorf("its path %s has a brace without its partner", quoted(c.action.Path))
		}
		places[name], rest = true, tail
		if !slices.ContainsFunc(args, func(a argument) bool { return a.param.In == "path" && a.param.Name == name }) {
			missing = append(missing, "{"+name+"}")
		}
	}
	if missing != nil {
		return fmt.Errorf("its path has %s, but there is no path parameter of this name", strings.Join(missing, " and "))
	}
	if strings.ContainsAny(c.action.Path, "?#") {
		return errors.New("its path has a query or a fragment in it")
	}
	for _, a := range args {
		if a.param.In == "path" && !places[a.param.Name] {
			return fmt.Errorf("its path has no place for the path parameter %s", quoted(a.param.Name))
		}
	}
	return nil
}

// credential reports whether a parameter carries one: it is named by a security
// scheme, it is a cookie, or its name says so. A model must neither see nor
// give those.
func (c *compiler) credential(p *openapi3.Parameter) bool {
	lower := strings.ToLower(p.Name)
	word := strings.NewReplacer("-", "", "_", "").Replace(lower)
	switch {
	case p.In == "cookie" || c.doc.secrets[p.In+" "+lower]:
		return true
	case p.In == "query":
		return slices.Contains(queryCredentials[:], word) || (word == "token" && strings.Contains(strings.ToLower(p.Description), "authenticat"))
	case p.In != "header":
		return false
	}
	for _, s := range headerCredentials {
		if strings.Contains(word, s) {
			return true
		}
	}
	return strings.HasSuffix(word, "token") || strings.HasSuffix(word, "auth")
}

// Names of credentials, without hyphens and underscores. In a query a token may
// as well be one of a page.
var (
	queryCredentials  = [...]string{"accesstoken", "apikey", "apitoken", "authtoken", "authorization", "clientsecret", "sessiontoken"}
	headerCredentials = [...]string{"authorization", "apikey", "secret", "password", "cookie", "session", "credential", "accesskey", "subscriptionkey", "signature"}
)

// ours reports whether a header is set by whoever sends the request: Accept
// and Content-Type are no parameters (OpenAPI 3.1, §4.8.12.1), the others
// belong to the connection.
func ours(header string) bool {
	switch strings.ToLower(header) {
	case "accept", "content-type", "accept-encoding", "content-encoding", "content-length", "host", "connection",
		"keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect", "forwarded", "user-agent":
		return true
	}
	lower := strings.ToLower(header)
	return strings.HasPrefix(lower, "proxy-") || strings.HasPrefix(lower, "x-forwarded-")
}

func sortedNames[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// media returns a media type without its parameters, in lower case.
func media(s string) string {
	if m, _, err := mime.ParseMediaType(s); err == nil {
		return m
	}
	m, _, _ := strings.Cut(strings.ToLower(s), ";")
	return strings.TrimSpace(m)
}

// isJSON knows JSON by its media type (RFC 6839, §3.1); what may be anything is
// taken for JSON.
func isJSON(m string) bool {
	return m == "application/json" || strings.HasSuffix(m, "+json") || m == "text/json" || m == "*/*" || m == "application/*"
}

// flat is an object schema as a list of properties.
type flat struct {
	properties []rawjson.Member
	required   map[string]bool
	open       bool // more may come than the properties
}

// flatten inlines a schema and returns its properties, those of every schema
// in allOf with them. It has none if the schema is anything else than an object.
func (c *compiler) flatten(schema json.RawMessage) flat {
	f := flat{required: make(map[string]bool)}
	f.add(c.inline(schema, maxBodySchema))
	return f
}

// inline is [document.inline] for what is sent, and notes what it costs.
func (c *compiler) inline(schema json.RawMessage, room int) json.RawMessage {
	text, short, lost := c.doc.inline(schema, false, room)
	c.shorter = c.shorter || short
	if lost != nil && !slices.Contains(c.fragment.lost, lost.Error()) {
		c.fragment.lost = append(c.fragment.lost, lost.Error())
	}
	return text
}

func (f *flat) add(schema json.RawMessage) {
	kw := members(schema)
	if types := typesOf(kw["type"]); len(types) > 0 && !slices.Contains(types, "object") {
		return
	}
	f.open = f.open || string(kw["additionalProperties"]) == "true" || rawjson.Kind(kw["additionalProperties"]) == '{'
	for m := range rawjson.Members(kw["properties"]) {
		if !slices.ContainsFunc(f.properties, func(p rawjson.Member) bool { return p.Name == m.Name }) {
			f.properties = append(f.properties, m)
		}
	}
	for e := range rawjson.Elements(kw["required"]) {
		f.required[rawjson.String(e)] = true
	}
	for e := range rawjson.Elements(kw["allOf"]) {
		f.add(e)
	}
}

// numbered reports whether a property is called like an element of an array.
func (f *flat) numbered() bool {
	return slices.ContainsFunc(f.properties, func(p rawjson.Member) bool {
		_, err := strconv.Atoi(p.Name)
		return err == nil
	})
}
