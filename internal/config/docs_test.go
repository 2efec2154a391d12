package config_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

func TestDocsAreCurrent(t *testing.T) {
	for name, want := range map[string][]byte{"config.md": config.Reference(), "config.schema.json": config.Schema()} {
		got, err := os.ReadFile(filepath.Join("../../docs", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("docs/%s is not what the table of keys says (%v); run go generate ./internal/config", name, err)
		}
	}
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// instance returns a TOML document as a JSON value, nil if it has no such form.
func instance(t *testing.T, doc string) any {
	t.Helper()
	var tree map[string]any
	if err := toml.Unmarshal([]byte(doc), &tree); err != nil {
		return nil
	}
	if tree == nil {
		tree = map[string]any{}
	}
	data, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The editors' schema accepts whatever Load accepts, and refuses what Load
// refuses except for rules that a schema cannot express.
func TestSchemaAgreesWithLoad(t *testing.T) {
	schema := compile(t)
	all := maps.Clone(behaviour)
	maps.Copy(all, limitBehaviour)
	maps.Copy(all, authBehaviour)
	maps.Copy(all, cacheBehaviour)
	maps.Copy(all, clientBehaviour)
	maps.Copy(all, shapeBehaviour)
	for key, b := range all {
		if err := schema.Validate(instance(t, b.doc)); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	files, err := filepath.Glob("../../examples/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../../config.toml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(instance(t, string(data))); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	onlyLoad := map[string]string{
		"all disabled":         "counts values",
		"listen":               "loopback addresses",
		"listen without port":  "addresses",
		"listen port":          "addresses",
		"metrics":              "addresses",
		"metrics without port": "addresses",
		"url port":             "numeric bounds in text",
		"url escape":           "URL escapes",
		"plain http":           "loopback addresses",
		"auth field":           "names in any case",
		"globs":                "brackets that must close",
		"override contradicts": "two keys that exclude each other's values",
		"waits":                "bounds of durations",
		"longer waits":         "compares two keys",
		"burst":                "compares two keys",
		"cost":                 "compares two keys",
		"no rate":              "two keys that belong together",
		"rates":                "bounds of durations",
		"no line":              "values of three keys",
		"token url":            "loopback addresses",
		"no proof":             "keys of which one must be there",
		"half a client":        "keys that belong to the value of another",
		"allowed hosts":        "hosts and networks",
		"mcp over plain http":  "loopback addresses",
		"tool scopes":          "keys of two tables",
		"class costs":          "compares two keys",
		"two classes":          "compares two keys",
		"two patterns":         "compares two keys",
		"hedge":                "two keys that belong together",
		"accounts":             "compares two upstreams",

		"two classes of an override": "compares two keys",
		"ttl of what may write":      "two keys that belong together",
		"ttl of what writes":         "two keys that exclude each other",
		"stale of nothing":           "compares two keys",
		"issuer over http":           "loopback addresses",
		"issuer with a query":        "the form of a URL",
		"nobody":                     "counts values",
		"secret of no client":        "two keys that belong together",
		"users without a client":     "keys of two tables",
		"users of callback":          "the name of an upstream",
		"listen with auth none":      "loopback addresses",
		"listen without public_url":  "loopback addresses",
		"public_url for nobody":      "keys of two tables",
		"public_url over http":       "loopback addresses",
		"field paths":                "names in a path",
		"shapes without effect":      "compares two keys",
		"requires itself":            "compares a key with its table's name",
		"requires in a circle":       "follows names",
	}
	for _, c := range slices.Concat(faultCases, limitFaults, authFaults, cacheFaults, clientFaults, shapeFaults) {
		v := instance(t, c.doc)
		if v == nil || c.want == nil {
			continue
		}
		err := schema.Validate(v)
		if why, ok := onlyLoad[c.name]; ok {
			if err != nil {
				t.Errorf("%s: the schema can express it after all (%s): %v", c.name, why, err)
			}
		} else if err == nil {
			t.Errorf("%s: Load refuses it, the schema does not", c.name)
		}
	}
}

// Every example and default in the table is one that its key takes.
func TestSchemaExamples(t *testing.T) {
	schema := compile(t)
	var walk func(s *jsonschema.Schema, path string) int
	walk = func(s *jsonschema.Schema, path string) int {
		n := 0
		for _, v := range s.Examples {
			n++
			if err := s.Validate(v); err != nil {
				t.Errorf("%s: example: %v", path, err)
			}
		}
		if s.Default != nil {
			if err := s.Validate(*s.Default); err != nil {
				t.Errorf("%s: default: %v", path, err)
			}
		}
		for name, p := range s.Properties {
			n += walk(p, path+"."+name)
		}
		for _, p := range s.PatternProperties {
			n += walk(p, path+".*")
		}
		return n
	}
	if n := walk(schema, ""); n != len(config.Keys()) {
		t.Errorf("%d examples for %d keys", n, len(config.Keys()))
	}
}
