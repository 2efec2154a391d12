package rest

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Parse reads a definition in TOML and checks it. name is what its faults are
// told under, such as the path of the file. An unknown key is a fault. The error
// names every fault with its key; unless it is about the syntax it is [Faults].
func Parse(text []byte, name string) (*Definition, error) {
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("%s: %w", name, syntaxError(err))
	}
	var f Faults
	d := &Definition{}
	dec := decoder{order: keyOrder(text), faults: &f}
	dec.table("", reflect.ValueOf(d).Elem(), tree)
	unread := f
	var more Faults
	d.check(&more)
	for _, fault := range more {
		if !unread.about(fault.Key) { // else it may only follow from what could not be read
			f = append(f, fault)
		}
	}
	if len(f) > 0 {
		return nil, &fileError{name, f}
	}
	return d, nil
}

func syntaxError(err error) error {
	if d, ok := err.(*toml.DecodeError); ok { //nolint:errorlint // it is returned as such
		row, col := d.Position()
		return fmt.Errorf("line %d, column %d: %w", row, col, err)
	}
	return err
}

// Fault is one thing that is wrong with a definition or with the values for it.
type Fault struct {
	Key     string // as it would stand in TOML, such as action.list_x.path
	Problem string
}

// Faults is everything that is wrong.
type Faults []Fault

func (f Faults) Error() string { return f.text("") }

// text tells the faults, each on a line that begins with prefix.
func (f Faults) text(prefix string) string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = prefix + one.Key + ": " + one.Problem
	}
	return strings.Join(lines, "\n")
}

func (f *Faults) add(key, format string, args ...any) {
	*f = append(*f, Fault{key, fmt.Sprintf(format, args...)})
}

// about reports whether one of them is about a key, or about what it is in.
func (f Faults) about(key string) bool {
	return slices.ContainsFunc(f, func(one Fault) bool { return key == one.Key || strings.HasPrefix(key, one.Key+".") })
}

// err returns f as an error, nil if there are none.
func (f Faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// fileError is the faults of one file.
type fileError struct {
	name string
	Faults
}

func (e *fileError) Error() string { return e.text(e.name + ": ") }
func (e *fileError) Unwrap() error { return e.Faults }

// keyOrder returns at which place each key stands first. A TOML table has no
// order, but tools are listed as their author wrote them.
func keyOrder(text []byte) map[string]int {
	order := make(map[string]int)
	note := func(path []string) {
		for n := range path {
			key := strings.Join(path[:n+1], ".")
			if _, ok := order[key]; !ok {
				order[key] = len(order)
			}
		}
	}
	var p unstable.Parser
	p.Reset(text)
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		path := keyOf(e)
		if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
			table = path
		} else {
			path = slices.Concat(table, path)
			inline(path, e, note)
		}
		note(path)
	}
	return order
}

func inline(path []string, e *unstable.Node, note func([]string)) {
	if e.Kind != unstable.KeyValue || e.Value().Kind != unstable.InlineTable {
		return
	}
	for it := e.Value().Children(); it.Next(); {
		below := slices.Concat(path, keyOf(it.Node()))
		note(below)
		inline(below, it.Node(), note)
	}
}

func keyOf(n *unstable.Node) []string {
	var path []string
	if n.Kind == unstable.Comment {
		return nil
	}
	for it := n.Key(); it.Next(); {
		path = append(path, string(it.Node().Data))
	}
	return path
}

// decoder lays TOML into structs. It knows the few kinds of members that a
// definition has, goes on after a fault, and names each by its key.
type decoder struct {
	order  map[string]int
	faults *Faults
}

func below(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// table lays a table into a struct.
func (d *decoder) table(path string, into reflect.Value, from map[string]any) {
	typ := into.Type()
	known := make(map[string]int)
	for i := range typ.NumField() {
		if _, rest := typ.Field(i).Tag.Lookup("rest"); rest {
			into.Field(i).Set(reflect.ValueOf(from))
			return
		}
		if tag := typ.Field(i).Tag.Get("toml"); tag != "" {
			known[tag] = i
		}
	}
	for _, key := range d.sorted(path, from) {
		i, ok := known[key]
		if !ok {
			d.faults.add(below(path, key), "unknown key; there are %s", strings.Join(sortedKeys(known), ", "))
			continue
		}
		d.value(below(path, key), into.Field(i), from[key])
	}
}

// value lays one value into a member.
func (d *decoder) value(path string, into reflect.Value, from any) {
	switch into.Kind() { //nolint:exhaustive // the rest is compared as it is
	case reflect.Struct:
		if t, ok := d.asTable(path, from); ok {
			d.table(path, into, t)
		}
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.value(path, into.Elem(), from)
	case reflect.Slice:
		d.slice(path, into, from)
	case reflect.Map:
		d.mapping(path, into, from)
	case reflect.Interface:
		into.Set(reflect.ValueOf(from))
	case reflect.Float64:
		if n, ok := from.(int64); ok {
			from = float64(n)
		}
		fallthrough
	default:
		if v := reflect.ValueOf(from); v.Type() == into.Type() {
			into.Set(v)
			return
		}
		d.faults.add(path, "must be %s, not %s", kindName(into.Interface()), kindName(from))
	}
}

func (d *decoder) asTable(path string, from any) (map[string]any, bool) {
	t, ok := from.(map[string]any)
	if !ok {
		d.faults.add(path, "must be a table, not %s", kindName(from))
	}
	return t, ok
}

// slice lays a list, or a table of named things.
func (d *decoder) slice(path string, into reflect.Value, from any) {
	elem := into.Type().Elem()
	if elem.Kind() == reflect.Struct {
		t, _ := d.asTable(path, from)
		for _, key := range d.sorted(path, t) {
			v := reflect.New(elem).Elem()
			v.Field(0).SetString(key)
			if entry, ok := d.asTable(below(path, key), t[key]); ok {
				d.table(below(path, key), v, entry)
			}
			into.Set(reflect.Append(into, v))
		}
		return
	}
	list, ok := from.([]any)
	if !ok {
		d.faults.add(path, "must be a list, not %s", kindName(from))
		return
	}
	for i, e := range list {
		v := reflect.New(elem).Elem()
		d.value(fmt.Sprintf("%s[%d]", path, i), v, e)
		into.Set(reflect.Append(into, v))
	}
}

// mapping lays a table whose keys are the author's.
func (d *decoder) mapping(path string, into reflect.Value, from any) {
	t, ok := d.asTable(path, from)
	if !ok {
		return
	}
	if into.Type().Elem().Kind() != reflect.String {
		into.Set(reflect.ValueOf(t))
		return
	}
	texts := make(map[string]string, len(t))
	for _, key := range d.sorted(path, t) {
		switch v := t[key].(type) {
		case string:
			texts[key] = v
		case int64, bool, float64:
			texts[key] = fmt.Sprint(v)
		default:
			d.faults.add(below(path, key), "must be a string, not %s", kindName(v))
		}
	}
	into.Set(reflect.ValueOf(texts))
}

// sorted returns the keys of a table as they stand in the file.
func (d *decoder) sorted(path string, t map[string]any) []string {
	return slices.SortedFunc(mapKeys(t), func(a, b string) int {
		x, xok := d.order[below(path, a)]
		y, yok := d.order[below(path, b)]
		if xok && yok {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(a, b)
	})
}

func kindName(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	case int64:
		return "a whole number"
	case float64:
		return "a number"
	case map[string]any:
		return "a table"
	case []any:
		return "a list"
	}
	return "a date or time"
}
