package config

import (
	"encoding/json"
	"strings"
)

// object is a JSON Schema or a part of one.
type object = map[string]any

// Schema returns docs/config.schema.json: JSON Schema draft 2020-12 of the
// file. Whatever it refuses, [Load] refuses; rules that it cannot express, such
// as bounds of durations, only Load knows.
func Schema() []byte {
	upstream := sectionAt("upstream.*").schema()
	auth := upstream["properties"].(object)["auth"].(object) //nolint:errcheck // made by sectionAt("upstream.*").schema
	needs, refusals := authRules()
	auth["allOf"] = refusals
	delete(auth, "required")
	upstream["allOf"] = append(sourceRules(), object{ // what a definition knows need not be written
		"if":   object{"not": object{"anyOf": []any{object{"required": []any{"connector"}}, object{"required": []any{"definition"}}}}},
		"then": object{"properties": object{"auth": object{"required": []any{"type"}, "allOf": needs}}},
	})

	server := sectionAt("server").schema()
	clients := server["properties"].(object)["auth"].(object) //nolint:errcheck // made by sectionAt("server").schema
	clients["allOf"] = clientRules()

	root := object{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"$id":                  "https://raw.githubusercontent.com/bulkhead-mcp/bulkhead/main/docs/config.schema.json",
		"title":                "Bulkhead configuration",
		"type":                 "object",
		"additionalProperties": false,
		"required":             []any{"upstream"},
		"properties": object{
			"server": server,
			"upstream": object{
				"type":                 "object",
				"description":          "The data sources, by name.",
				"minProperties":        1,
				"patternProperties":    object{upstreamName.String(): upstream},
				"additionalProperties": false,
			},
		},
		"$defs": object{"secret": secretSchema()},
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		panic(err) // nothing but maps, lists and strings of ours
	}
	return []byte(b.String())
}

// schema describes a section with the sections below it.
func (s *section) schema() object {
	properties := object{}
	required := []any{}
	for i := range s.keys {
		k := &s.keys[i]
		p := k.kind.schema(k)
		p["description"] = k.doc
		p["examples"] = []any{k.example}
		if k.def != nil {
			p["default"] = k.def
		}
		if k.required {
			required = append(required, k.name)
		}
		properties[k.name] = p
	}
	for name, sub := range s.subs() {
		properties[name] = sub.schema()
		if sub.each != nil {
			properties[name] = object{"type": "object", "patternProperties": object{sub.named.form.String(): sub.schema()}, "additionalProperties": false}
		}
	}
	out := object{"type": "object", "description": s.doc, "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// authRules says for each type which keys it needs, and which it refuses.
func authRules() (needs, refusals []any) {
	for _, kind := range sectionAt("upstream.*.auth").key("type").enum {
		need, refuse := []any{}, object{}
		for i := range authKeys {
			name := authKeys[i].name
			if name != "type" {
				refuse[name] = false
			}
		}
		for _, name := range authTypes[kind].needs {
			need = append(need, name)
			delete(refuse, name)
		}
		for _, name := range authTypes[kind].may {
			delete(refuse, name)
		}
		when := object{"properties": object{"type": object{"const": kind}}, "required": []any{"type"}}
		needs = append(needs, object{"if": when, "then": object{"required": need}})
		refusals = append(refusals, object{"if": when, "then": object{"properties": refuse}})
	}
	return needs, refusals
}

func textSchema(k *key) object {
	out := object{"type": "string"}
	if k.enum != nil {
		words := make([]any, len(k.enum))
		for i, w := range k.enum {
			words[i] = w
		}
		out["enum"] = words
	}
	if k.pattern != nil {
		out["pattern"] = k.pattern.String()
	}
	return out
}

func patternSchema(form *form) func(*key) object {
	return func(*key) object { return object{"type": "string", "pattern": form.String()} }
}

func numberSchema(k *key) object {
	return object{"type": "integer", "minimum": k.least, "maximum": k.most}
}

func listSchema(k *key) object {
	out := object{"type": "array", "items": textSchema(k)}
	if k.name == "command" {
		out["minItems"] = 1
	}
	return out
}

func secretSchema() object {
	one := func(name string, value object) object {
		return object{"type": "object", "properties": object{name: value}, "required": []any{name}, "additionalProperties": false}
	}
	return object{
		"description": "Where a secret is kept.",
		"oneOf": []any{
			one("env", object{"type": "string", "pattern": envName.String(), "description": "Name of an environment variable."}),
			one("file", object{"type": "string", "minLength": 1, "description": "File that only its owner can read."}),
			one("command", object{"type": "array", "items": object{"type": "string"}, "minItems": 1, "description": "Program that prints it, without a shell."}),
			one("keyring", object{"type": "string", "pattern": keyringForm.String(), "description": "service/account in the operating system's keyring."}),
		},
	}
}

func envSchema(*key) object {
	return object{
		"type":                 "object",
		"propertyNames":        object{"pattern": envName.String()},
		"additionalProperties": object{"oneOf": []any{object{"type": "string"}, object{"$ref": "#/$defs/secret"}}},
	}
}
