package openapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oasdiff/yaml"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// What a document may be. Beyond that it is refused at once, before anything
// is made of it.
const (
	MaxDocument   = 32 << 20 // bytes of JSON; the largest public ones have 13 MB
	maxYAML       = 4 << 20  // bytes of YAML, which needs 25 to 120 times its size to be read
	maxDepth      = 200      // levels of objects and arrays
	maxOperations = 5000
	maxLost       = 20 // paths that lead nowhere are told
	maxHops       = 32 // a reference to a reference to a reference
)

// document is an OpenAPI or Swagger document as JSON text. Nothing of it is
// decoded but what is asked for: the text of one operation, of one schema.
type document struct {
	text     []byte
	swagger  bool                                  // Swagger 2.0
	consumes json.RawMessage                       // Swagger 2.0: the media types of bodies
	produces json.RawMessage                       // Swagger 2.0: the media types of answers
	secrets  map[string]bool                       // "in name" of what its security schemes say are credentials
	paths    []operationSource                     // by path and method
	lost     []string                              // paths that lead nowhere, and why
	objects  map[string]map[string]json.RawMessage // by pointer
	outputs  map[string]map[string]any             // answers' schemas, by reference
}

// operationSource is where an operation stands.
type operationSource struct {
	method, path string
	id           string // operationId; "" if it has none
	name         string // its tool's name, not yet cut
	named        string // see [Operation]
	item, text   json.RawMessage
}

// read takes a document apart as far as its operations.
func read(raw []byte) (*document, error) {
	text, err := asJSON(raw)
	if err != nil {
		return nil, err
	}
	d := &document{text: text, objects: make(map[string]map[string]json.RawMessage), outputs: make(map[string]map[string]any)}
	root := d.members("")
	version := rawjson.String(root["openapi"])
	switch {
	case strings.HasPrefix(version, "3.0") || strings.HasPrefix(version, "3.1"):
	case rawjson.String(root["swagger"]) == "2.0":
		d.swagger = true
		d.consumes, d.produces = root["consumes"], root["produces"]
	case version != "":
		return nil, fmt.Errorf("the document is OpenAPI %.20q: 3.0, 3.1 and Swagger 2.0 can be read", version)
	default:
		return nil, errors.New(`this is no OpenAPI document: it says neither "openapi": "3.…" nor "swagger": "2.0"`)
	}
	d.secrets = d.credentials()
	if err := d.list(); err != nil {
		return nil, err
	}
	d.name()
	return d, nil
}

// asJSON checks the text, and makes JSON of it if it is YAML.
func asJSON(raw []byte) ([]byte, error) {
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if len(raw) > MaxDocument {
		return nil, fmt.Errorf("the document has more than %d MiB", MaxDocument>>20)
	}
	switch rawjson.Kind(raw) {
	case 0:
		return nil, errors.New("the document is empty")
	case '<':
		return nil, errors.New("this is HTML or XML, no OpenAPI document: give the address of the JSON or YAML itself")
	case '{':
	default:
		if len(raw) > maxYAML {
			return nil, fmt.Errorf("the document is YAML of more than %d MiB: convert it to JSON", maxYAML>>20)
		}
		var err error
		if raw, err = yaml.YAMLToJSON(raw); err != nil {
			return nil, fmt.Errorf("the document is neither JSON nor YAML: %.200w", err)
		}
		if len(raw) > MaxDocument {
			return nil, fmt.Errorf("the document, with its YAML aliases written out, has more than %d MiB", MaxDocument>>20)
		}
	}
	if err := rawjson.Check(raw, rawjson.Limits{Depth: maxDepth, AllowDups: true}); err != nil {
		return nil, fmt.Errorf("the document is broken: %w", err)
	}
	return raw, nil
}

// members returns the members of the object at a JSON pointer, by name; of two
// of one name the first.
func (d *document) members(pointer string) map[string]json.RawMessage {
	if m, ok := d.objects[pointer]; ok {
		return m
	}
	m := make(map[string]json.RawMessage)
	if v, ok := d.at(pointer); ok {
		for member := range rawjson.Members(v) {
			if _, twice := m[member.Name]; !twice {
				m[member.Name] = member.Value
			}
		}
	}
	d.objects[pointer] = m
	return m
}

// at returns the value at a JSON pointer (RFC 6901). Objects on the way to a
// component are indexed, so that finding thousands costs one walk.
func (d *document) at(pointer string) (json.RawMessage, bool) {
	if pointer == "" {
		return d.text, true
	}
	cut := strings.LastIndexByte(pointer, '/')
	if cut < 0 || strings.Count(pointer, "/") > maxDepth {
		return nil, false
	}
	token := strings.NewReplacer("~1", "/", "~0", "~").Replace(pointer[cut+1:])
	if strings.Count(pointer, "/") <= 3 {
		v, ok := d.members(pointer[:cut])[token]
		return v, ok
	}
	parent, ok := d.at(pointer[:cut])
	if !ok {
		return nil, false
	}
	if rawjson.Kind(parent) != '[' {
		return rawjson.Get(parent, token)
	}
	i := 0
	for e := range rawjson.Elements(parent) {
		if fmt.Sprint(i) == token {
			return e, true
		}
		i++
	}
	return nil, false
}

// methods are those of a Path Item Object (OpenAPI 3.1, §4.8.9) that a tool can
// be made of.
var methods = [...]string{"get", "put", "post", "delete", "options", "head", "patch"}

// list finds all operations.
func (d *document) list() error {
	paths := d.members("/paths")
	for path, item := range paths {
		if !strings.HasPrefix(path, "/") {
			continue
		}
		item, _, err := d.resolve(item)
		if err != nil {
			d.lost = append(d.lost, fmt.Sprintf("the path %s %v", quoted(path), err))
			continue
		}
		for m := range rawjson.Members(item) {
			if !slices.Contains(methods[:], m.Name) || rawjson.Kind(m.Value) != '{' {
				continue
			}
			id, _ := rawjson.GetString(m.Value, "operationId")
			d.paths = append(d.paths, operationSource{
				method: strings.ToUpper(m.Name), path: path, id: id, item: item, text: m.Value,
			})
		}
	}
	slices.Sort(d.lost)
	d.lost = d.lost[:min(len(d.lost), maxLost)]
	if len(d.paths) > maxOperations {
		return fmt.Errorf("the document has %d operations, at most %d can be read", len(d.paths), maxOperations)
	}
	slices.SortFunc(d.paths, func(a, b operationSource) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method))
	})
	d.paths = slices.CompactFunc(d.paths, func(a, b operationSource) bool { return a.path == b.path && a.method == b.method })
	return nil
}

// resolve follows the references at a value to what they mean, and returns
// that with the last of them, "" if there was none.
func (d *document) resolve(v json.RawMessage) (json.RawMessage, string, error) {
	last := ""
	for range maxHops {
		ref, ok := rawjson.GetString(v, "$ref")
		if !ok {
			return v, last, nil
		}
		pointer, local := strings.CutPrefix(ref, "#")
		if !local {
			return nil, ref, fmt.Errorf("refers to another document, %s, which is not followed: bundle them into one", quoted(ref))
		}
		if v, ok = d.at(unescape(pointer)); !ok {
			return nil, ref, fmt.Errorf("refers to %s, which is not there", quoted(ref))
		}
		last = ref
	}
	return nil, last, fmt.Errorf("refers to %s, which leads round and round", quoted(last))
}

// credentials returns the parameters that the security schemes use (OpenAPI
// 3.1, §4.8.27), each as "in name".
func (d *document) credentials() map[string]bool {
	at := "/components/securitySchemes"
	if d.swagger {
		at = "/securityDefinitions"
	}
	out := make(map[string]bool)
	for _, scheme := range d.members(at) {
		if scheme, _, err := d.resolve(scheme); err == nil {
			in, _ := rawjson.GetString(scheme, "in")
			if name, ok := rawjson.GetString(scheme, "name"); ok {
				out[in+" "+strings.ToLower(name)] = true
			}
		}
	}
	return out
}
