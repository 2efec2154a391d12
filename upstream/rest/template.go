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

// Filled is a definition with the values in their places, as far as the
// configuration needs it.
type Filled struct {
	// BaseURL is where the source is; "" if that is in the token response.
	BaseURL string
	Preset  map[string]any // a fragment of [upstream.NAME]
	Auth    []Auth         // fragments of its auth, in the order of the definition
	// Members are those of the token response that are needed, Suffixes what the
	// host that they name must end in.
	Members, Suffixes []string
}

// Fill puts the values that the operator gives into their places. The error is
// [Faults].
func (d *Definition) Fill(values map[string]string) (*Filled, error) {
	all, err := d.values(values)
	if err != nil {
		return nil, err
	}
	f := &Filled{BaseURL: fill(d.BaseURL, all), Preset: fillTable(d.Preset, all)}
	for _, a := range d.Auth {
		f.Auth = append(f.Auth, Auth{a.Type, fillTable(a.Keys, all)})
	}
	names := placeholders(d.BaseURL)
	for _, v := range d.Values {
		if v.Token != "" && names[v.Name] {
			f.BaseURL = ""
			f.Members, f.Suffixes = append(f.Members, v.Token), append(f.Suffixes, v.Suffixes...)
		}
	}
	return f, nil
}

// values returns what the operator gives, completed by the defaults. The error
// names everything that is missing or wrong.
func (d *Definition) values(given map[string]string) (map[string]string, error) {
	all := make(map[string]string, len(d.Values))
	var f Faults
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
	return all, f.err()
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
