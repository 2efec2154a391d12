package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/internal/near"
)

const variablePrefix = "BULKHEAD_"

// overrides turns the BULKHEAD_ variables into a tree of the file's form.
// Those that are no settings but the commands' own are left alone.
func (d *decoder) overrides(file map[string]any, env map[string]string) map[string]any {
	over := map[string]any{}
	var allowed []string // computed when first needed
	for _, variable := range slices.Sorted(maps.Keys(env)) {
		rest, ok := strings.CutPrefix(variable, variablePrefix)
		switch {
		case !ok, variable == "BULKHEAD_CONFIG", variable == "BULKHEAD_SANDBOX_SECRET":
			continue
		}
		path, k, problem := resolve(rest, file)
		if problem == "" && !put(over, path, convert(k, path, env[variable])) {
			problem = "contradicts another variable for the same key"
		}
		if problem == "" {
			at := ""
			for _, name := range path {
				at = join(at, name)
			}
			d.from[at] = variable
			continue
		}
		if allowed == nil {
			allowed = variables(file)
		}
		hint := "BULKHEAD_SERVER__KEY or BULKHEAD_UPSTREAM__NAME__KEY, levels separated by two underscores; unset it if it is not meant for Bulkhead"
		if meant := near.Name(variable, allowed); meant != "" && meant != variable {
			hint = "did you mean " + meant + "? " + hint
		}
		d.fault(variable, problem, hint)
	}
	return over
}

// resolve finds the key that a variable means, given its name without the
// prefix. The problem is "" if there is one.
func resolve(name string, file map[string]any) (path []string, k *key, problem string) {
	const unknown = "this environment variable names no setting"
	at, rest := "server", ""
	if deeper, ok := strings.CutPrefix(name, "SERVER__"); ok {
		path, rest = []string{"server"}, deeper
	} else if deeper, ok = strings.CutPrefix(name, "UPSTREAM__"); ok {
		var upstream string
		if upstream, rest, problem = whichUpstream(deeper, file); problem != "" {
			return nil, nil, problem
		}
		path, at = []string{"upstream", upstream}, "upstream.*"
	} else {
		return nil, nil, unknown
	}
	s, path, rest := descend(sectionAt(at), path, rest)
	if s == nil {
		return nil, nil, unknown
	}
	first, inner, deeper := strings.Cut(rest, "__")
	k = lookup(s, first)
	if k == nil || deeper != (inner != "") {
		return nil, nil, unknown
	}
	path = append(path, k.name)
	switch {
	case !deeper && k.kind != envTable && k.kind != texts:
		return path, k, ""
	case deeper && k.kind == envTable:
		variable, source, isRef := cutLast(inner, "__")
		if isRef && slices.Contains(refNames, strings.ToLower(source)) {
			return append(path, variable, strings.ToLower(source)), k, ""
		}
		return append(path, inner), k, ""
	case deeper && k.kind == texts:
		return append(path, strings.ToLower(inner)), k, ""
	case deeper && k.kind == secret && slices.Contains(refNames, strings.ToLower(inner)):
		return append(path, strings.ToLower(inner)), k, ""
	}
	return nil, nil, unknown
}

// whichUpstream finds the configured upstream that name begins with. Variables
// cannot carry a hyphen, so it is written as an underscore.
func whichUpstream(name string, file map[string]any) (upstream, rest, problem string) {
	table, _ := file["upstream"].(map[string]any)
	for _, candidate := range slices.Sorted(maps.Keys(table)) {
		after, ok := strings.CutPrefix(name, variablePart(candidate)+"__")
		if !ok || len(candidate) < len(upstream) {
			continue
		}
		if upstream != "" && len(candidate) == len(upstream) {
			return "", "", "this environment variable means both upstream " + upstream + " and " + candidate
		}
		upstream, rest = candidate, after
	}
	if upstream == "" {
		return "", "", "this environment variable names no upstream that is in the file"
	}
	return upstream, rest, ""
}

func variablePart(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// descend follows the tables that rest begins with, from s on. It returns the
// last one, nil if there is none such, the path to it, and what is left.
func descend(s *section, path []string, rest string) (*section, []string, string) {
	for name, sub := range s.subs() {
		deeper, ok := strings.CutPrefix(rest, strings.ToUpper(name)+"__")
		switch {
		case !ok:
			continue
		case sub.each == nil:
			return descend(sub, append(path, name), deeper)
		}
		given, last, found := cutLast(deeper, "__") // the name stands as it is
		if before, name, ok := cutLast(given, "__"); ok && slices.Contains(refNames, strings.ToLower(last)) {
			if k := lookup(sub, name); k != nil && k.kind == secret { // of which last is a part
				given, last = before, name+"__"+last
			}
		}
		if !found {
			return nil, nil, ""
		}
		return sub, append(path, name, given), last
	}
	return s, path, rest
}

func lookup(s *section, name string) *key {
	if name != strings.ToUpper(name) {
		return nil
	}
	return s.key(strings.ToLower(name))
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i > 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// convert gives a variable's text the type that its key has in a file; what
// does not convert stays text, for decoding to complain about.
func convert(k *key, path []string, v string) any {
	last := path[len(path)-1]
	switch {
	case (k.kind == flag || k.kind == choice) && (v == "true" || v == "false"):
		return v == "true"
	case k.kind == number:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n
		}
	case k.kind == list, last == "command" && (k.kind == secret || k.kind == envTable):
		items := []any{}
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
		return items
	}
	return v
}

// put sets a value in a nested map. It returns false if there is one already.
func put(tree map[string]any, path []string, v any) bool {
	for _, name := range path[:len(path)-1] {
		next, ok := tree[name].(map[string]any)
		if !ok {
			if tree[name] != nil {
				return false
			}
			next = map[string]any{}
			tree[name] = next
		}
		tree = next
	}
	last := path[len(path)-1]
	if tree[last] != nil {
		return false
	}
	tree[last] = v
	return true
}

// variables lists every variable that has a meaning with this file.
func variables(file map[string]any) []string {
	table, _ := file["upstream"].(map[string]any)
	var out []string
	for i := range sections {
		s := &sections[i]
		for j := range s.keys {
			name := variablePrefix + strings.ToUpper(strings.ReplaceAll(s.path+"."+s.keys[j].name, ".", "__"))
			if !strings.Contains(name, "*") {
				out = append(out, name)
				continue
			}
			for upstream := range maps.Keys(table) {
				name := strings.Replace(name, "*", variablePart(upstream), 1)
				out = append(out, strings.Replace(name, "*", s.named.word, 1))
			}
		}
	}
	slices.Sort(out)
	return out
}
