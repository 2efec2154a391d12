package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/internal/near"
)

// target is what the keys of one section decode into; only the one that the
// section belongs to is set.
type target struct {
	server   *Server
	user     *User
	upstream *Upstream
	tool     *Override
	class    *Class
	// Of a database.
	statement *Statement
	param     *Param
}

// decoder walks the tree by the table of keys and gathers faults.
type decoder struct {
	faults Faults
	base   string            // absolute directory that relative paths start from
	home   string            // what ~ stands for; "" if unknown
	given  map[string]bool   // key paths that are in the file or the environment
	from   map[string]string // key path -> the variable that set it
	// Both may be nil.
	presets Presets
	checkJQ func(program string) error
	partial bool // what would stand under the upstream that is being read is faulty
}

func (d *decoder) fault(path, problem, hint string) {
	key, _, _ := strings.Cut(path, "[") // of a list's item
	for p := key; p != ""; p = parent(p) {
		if variable := d.from[p]; variable != "" {
			problem += ", set by the environment variable " + variable
			break
		}
	}
	d.faults = append(d.faults, Fault{Path: path, Problem: problem, Hint: hint})
}

// missing notes that a key is not there, unless it may only not be known yet.
func missing(d *decoder, path, why, hint string) {
	if !d.partial {
		d.fault(path, "is missing"+why, hint)
	}
}

// faulty reports whether something is wrong with a key itself.
func faulty(d *decoder, path string) bool {
	return slices.ContainsFunc(d.faults, func(f Fault) bool { return f.Path == path })
}

func (d *decoder) unknown(path, name string, allowed []string) {
	hint := "allowed here: " + strings.Join(allowed, ", ")
	if meant := near.Name(name, allowed); meant != "" {
		hint = "did you mean " + meant + "? " + hint
	}
	d.fault(path, "unknown key", hint)
}

// table returns raw as a table; an absent one is empty. It notes a fault and
// returns false if it is something else.
func (d *decoder) table(path string, raw any) (map[string]any, bool) {
	if raw == nil {
		return nil, true
	}
	m, ok := raw.(map[string]any)
	if !ok {
		d.fault(path, "must be a table, not "+describe(raw), "write it as ["+path+"] with its keys below")
	}
	return m, ok
}

// section decodes one table: defaults first, then what is there.
func (d *decoder) section(s *section, path string, raw map[string]any, t target) {
	for i := range s.keys {
		if k := &s.keys[i]; k.def != nil {
			k.kind.decode(d, k, join(path, k.name), k.def, k.field(t))
		}
	}
	for name, sub := range s.subs() { // defaults of tables that are not there
		if raw[name] == nil && sub.each == nil {
			d.section(sub, join(path, name), nil, t)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		p := join(path, name)
		if k := s.key(name); k != nil {
			d.given[p] = true
			k.kind.decode(d, k, p, raw[name], k.field(t))
		} else if sub := s.sub(name); sub != nil {
			d.given[p] = true
			d.below(sub, p, raw[name], t)
		} else if slices.Contains(s.planned, name) {
			d.fault(p, "is not built yet", "remove it; this version has no such setting")
		} else {
			d.unknown(p, name, s.names())
		}
	}
	for i := range s.keys {
		if k := &s.keys[i]; k.required && raw[k.name] == nil && d.given[path] {
			missing(d, join(path, k.name), "", "for example "+k.line())
		}
	}
}

// below decodes a table that stands in another one, or the tables in it if it
// is one of many.
func (d *decoder) below(s *section, path string, raw any, t target) {
	tables, ok := d.table(path, raw)
	if s.each == nil {
		if ok {
			d.section(s, path, tables, t)
		}
		return
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		p := join(path, name)
		if !s.named.form.MatchString(name) {
			d.fault(p, s.named.problem, s.named.hint)
			continue
		}
		if one, ok := d.table(p, tables[name]); ok {
			d.given[p] = true
			d.section(s, p, one, s.each(t, name))
		}
	}
}

// local makes a path in the file absolute: ~/ is the user's home directory,
// anything relative starts at the file's directory.
func (d *decoder) local(at, p string) string {
	if rest, ok := strings.CutPrefix(filepath.ToSlash(p), "~/"); ok {
		if d.home == "" {
			d.fault(at, "begins with ~/, but there is no HOME in the environment", "write the whole path")
			return p
		}
		return filepath.Join(d.home, filepath.FromSlash(rest))
	}
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(d.base, p)
}

var bareKey = newForm(`^[A-Za-z0-9_-]+$`)

// join appends a name to a key path the way TOML writes it.
func join(path, name string) string {
	if !bareKey.MatchString(name) {
		name = strconv.Quote(clip(name))
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i]
	}
	return ""
}

// describe says what a TOML value is without repeating text: a value in the
// wrong place may be a secret.
func describe(raw any) string {
	switch v := raw.(type) {
	case string:
		return "a string"
	case bool:
		return fmt.Sprintf("the boolean %t", v)
	case int64:
		return fmt.Sprintf("the number %d", v)
	case float64:
		return fmt.Sprintf("the number %v", v)
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	default:
		return "a date or time"
	}
}

// quote repeats a value in a fault unless it looks like a secret.
func quote(v string) string {
	if secretValue(v) {
		return "what looks like a secret"
	}
	return strconv.Quote(clip(v))
}

func clip(s string) string {
	const limit = 48
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return s
}
