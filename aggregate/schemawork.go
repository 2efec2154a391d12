package aggregate

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A schema is a program that a source wrote and that runs here: by its references
// it can look at one value more often than there is time for, and the library's
// own time to compile it grows faster than its length. Hence these bounds, beyond
// which arguments are not checked and their upstream decides.
const (
	maxSchema      = 256 << 10 // bytes
	maxSchemaDepth = 200       // how deep objects and lists are nested
	maxSchemaParts = 10_000    // objects and lists
	maxWork        = 1 << 18   // how often a part of a schema is held to a part of the arguments
	maxDigits      = 400       // of a number written out: the library calculates with all of them
)

var errSchemaSize = errors.New("the schema is too long, too deep or has too many parts to be checked against")

// measured is what is to be known of a schema or of arguments beforehand.
type measured struct {
	depth, parts, values int  // how deep; objects and lists; these and all others
	refs                 bool // has a member that refers to another part of a schema
	wide                 bool // has a number of more than maxDigits digits
}

func measure(v any) measured {
	m := measured{values: 1}
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			m.add(measure(member))
			m.refs = m.refs || name == "$ref" || name == "$dynamicRef" || name == "$recursiveRef"
		}
	case []any:
		for _, item := range v {
			m.add(measure(item))
		}
	case json.Number:
		m.wide = wide(string(v))
		return m
	default:
		return m
	}
	m.depth++
	m.parts++
	return m
}

func (m *measured) add(n measured) {
	m.depth, m.parts, m.values = max(m.depth, n.depth), m.parts+n.parts, m.values+n.values
	m.refs, m.wide = m.refs || n.refs, m.wide || n.wide
}

func wide(number string) bool {
	_, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	exponent = strings.TrimLeft(exponent, "+-0")
	n, err := strconv.Atoi("0" + exponent)
	return err != nil || len(number)+n > maxDigits
}

// work counts how often parts of a schema are held to parts of a value, which is
// at least what the library does.
type work struct {
	left  int // steps of the count itself
	known map[pairing]int
}

// begun is what is known of a pairing that is being counted.
const begun = -1

type pairing struct {
	schema *jsonschema.Schema
	value  *place
}

// place is an object or a list, or stands for any other value.
type place struct {
	members map[string]*place
	items   []*place
}

func placesOf(v any, scalar *place) *place {
	switch v := v.(type) {
	case map[string]any:
		p := &place{members: make(map[string]*place, len(v))}
		for name, member := range v {
			p.members[name] = placesOf(member, scalar)
		}
		return p
	case []any:
		p := &place{items: make([]*place, len(v))}
		for i, item := range v {
			p.items[i] = placesOf(item, scalar)
		}
		return p
	}
	return scalar
}

// tooMuch reports whether to hold a value to a schema takes more than maxWork
// steps, or whether that cannot be told.
func tooMuch(s *jsonschema.Schema, v any) bool {
	w := work{left: maxWork, known: make(map[pairing]int)}
	scalar := &place{}
	return w.count(s, placesOf(v, scalar), scalar) > maxWork || w.left <= 0
}

// count returns the steps of one pairing; it is right up to maxWork.
func (w *work) count(s *jsonschema.Schema, p, scalar *place) int {
	if w.left--; s == nil || w.left <= 0 {
		return 0
	}
	key := pairing{s, p}
	n, known := w.known[key]
	switch {
	case n == begun: // a circle: nothing of what is counted within it is the whole
		w.left = 0
		return 0
	case known:
		return n
	}
	if s.DynamicRef != nil || s.RecursiveRef != nil { // which lead wherever the way here says
		w.left = 0
		return 0
	}
	w.known[key] = begun
	n = 1
	each := func(p *place, schemas ...*jsonschema.Schema) {
		for _, s := range schemas {
			n = min(n+w.count(s, p, scalar), maxWork+1)
		}
	}
	each(p, s.Ref, s.Not, s.If, s.Then, s.Else)
	each(p, s.AllOf...)
	each(p, s.AnyOf...)
	each(p, s.OneOf...)
	for _, t := range s.DependentSchemas {
		each(p, t)
	}
	for _, t := range s.Dependencies {
		each(p, perhaps(t)...)
	}
	for name, member := range p.members {
		each(scalar, s.PropertyNames)
		each(member, s.Properties[name], s.UnevaluatedProperties)
		each(member, perhaps(s.AdditionalProperties)...)
		for pattern, t := range s.PatternProperties {
			if pattern.MatchString(name) {
				each(member, t)
			}
		}
	}
	for i, item := range p.items {
		each(item, s.Contains, s.Items2020, s.UnevaluatedItems)
		each(item, perhaps(s.AdditionalItems)...)
		if list, ok := s.Items.([]*jsonschema.Schema); !ok {
			each(item, perhaps(s.Items)...)
		} else if i < len(list) {
			each(item, list[i])
		}
		if i < len(s.PrefixItems) {
			each(item, s.PrefixItems[i])
		}
	}
	w.known[key] = n
	return n
}

// perhaps returns the schema of a keyword that may have something else.
func perhaps(keyword any) []*jsonschema.Schema {
	if s, ok := keyword.(*jsonschema.Schema); ok {
		return []*jsonschema.Schema{s}
	}
	return nil
}
