package rest

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// part is a piece of a template: constant text, or the name of what stands there.
type part struct{ text, name string }

// parts takes a template apart. {name} is a name, "{{" and everything else are
// not known.
func parts(template string) ([]part, error) {
	var out []part
	for template != "" {
		i := strings.IndexAny(template, "{}")
		if i < 0 {
			return append(out, part{text: template}), nil
		}
		j := strings.IndexByte(template, '}')
		if template[i] == '}' || j < 0 || strings.ContainsAny(template[i+1:j], "{/?#") || j == i+1 {
			return nil, fmt.Errorf("%.60q: a brace without its partner", template[i:])
		}
		if i > 0 {
			out = append(out, part{text: template[:i]})
		}
		out = append(out, part{name: template[i+1 : j]})
		template = template[j+1:]
	}
	return out, nil
}

// placeholders returns the names in a template.
func placeholders(template string) map[string]bool {
	names := make(map[string]bool)
	found, _ := parts(template)
	for _, p := range found {
		if p.name != "" {
			names[p.name] = true
		}
	}
	return names
}

// fill puts values where their names stand. Braces that name no value stay: in
// constants they may be another language's.
func fill(template string, values map[string]string) string {
	if !strings.Contains(template, "{") {
		return template
	}
	var out strings.Builder
	for {
		i := strings.IndexByte(template, '{')
		if i < 0 {
			break
		}
		j := strings.IndexByte(template[i:], '}')
		if j < 0 {
			break
		}
		v, ok := values[template[i+1:i+j]]
		if !ok {
			out.WriteString(template[:i+1])
			template = template[i+1:]
			continue
		}
		out.WriteString(template[:i])
		out.WriteString(v)
		template = template[i+j+1:]
	}
	return out.String() + template
}

// fillAll is [fill] for every string in a value as TOML and JSON have them.
func fillAll(v any, values map[string]string) any {
	switch v := v.(type) {
	case string:
		return fill(v, values)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = fillAll(e, values)
		}
		return out
	case map[string]any:
		return fillTable(v, values)
	}
	return v
}

func fillTable(t map[string]any, values map[string]string) map[string]any {
	if t == nil {
		return nil
	}
	out := make(map[string]any, len(t))
	for k, v := range t {
		out[k] = fillAll(v, values)
	}
	return out
}

func mapKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Fill returns the fragments of configuration with the values in their places:
// for [upstream.NAME], and for its auth in the order of the definition. values
// is what the operator gives; the error says which are missing or wrong.
func (d *Definition) Fill(values map[string]string) (preset map[string]any, auth []Auth, err error) {
	all, err := d.values(values)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range d.Auth {
		auth = append(auth, Auth{a.Type, fillTable(a.Keys, all)})
	}
	return fillTable(d.Preset, all), auth, nil
}

// values returns what the operator gives, completed by the defaults. The error
// names everything that is missing or wrong.
func (d *Definition) values(given map[string]string) (map[string]string, error) {
	all := make(map[string]string, len(d.Values))
	var f faults
	for i := range d.Values {
		v := &d.Values[i]
		text, ok := given[v.Name]
		switch {
		case v.Token != "" && ok:
			f.add("values."+v.Name, "is taken from the token response and cannot be given")
			continue
		case v.Token != "":
			continue
		case !ok && v.Default == "":
			f.add("values."+v.Name, "is missing%s", v.hint())
			continue
		case !ok:
			text = v.Default
		}
		if !v.matches(text) {
			f.add("values."+v.Name, "%.60q does not look like one%s", text, v.hint())
			continue
		}
		all[v.Name] = text
	}
	for _, name := range sortedKeys(given) {
		if !slices.ContainsFunc(d.Values, func(v Value) bool { return v.Name == name }) {
			f.add("values."+name, "there is no such value%s", d.offered())
		}
	}
	return all, f.err("")
}

func (v *Value) hint() string {
	var out string
	if v.Doc != "" {
		out = ": " + v.Doc
	}
	if v.Example != "" {
		out += fmt.Sprintf(" (for example %q)", v.Example)
	}
	return out
}

func (d *Definition) offered() string {
	var names []string
	for _, v := range d.Values {
		if v.Token == "" {
			names = append(names, v.Name)
		}
	}
	if names == nil {
		return "; there are none"
	}
	return "; there are " + strings.Join(names, ", ")
}
