package rest

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// watch notes where the answers of one action differ from what is declared. A
// difference is forgotten when an answer is as declared again.
type watch struct {
	tool   string
	prefix string
	fields []*shape            // the declared ones, by their numbers
	kinds  map[string][]string // JSON types by member, where they are declared
	noted  atomic.Int32

	mu    sync.Mutex
	drift []upstream.Drift
}

// maxDrift is how many differences of one action are kept.
const maxDrift = 20

func newWatch(a *action) *watch {
	w := &watch{tool: a.def.Name}
	if a.list {
		w.prefix = "records[]."
	}
	if a.shape != nil {
		w.fields = a.shape.fieldsOf()
	}
	properties, _ := a.def.Output["properties"].(map[string]any)
	for name, schema := range properties {
		s, _ := schema.(map[string]any)
		var types []string
		switch t := s["type"].(type) {
		case string:
			types = []string{t}
		case []any:
			for _, e := range t {
				if name, ok := e.(string); ok {
					types = append(types, name)
				}
			}
		}
		if types == nil {
			continue
		}
		if w.kinds == nil {
			w.kinds = make(map[string][]string)
		}
		w.kinds[name] = types
	}
	return w
}

// tally returns where to note which fields an answer has; nil if none are
// declared.
func (w *watch) tally() []bool {
	if len(w.fields) == 0 {
		return nil
	}
	return make([]bool, len(w.fields)) // which are numbered without a gap
}

// check takes what one answer with so many records had. A field below one that
// is not there says nothing of its own.
func (w *watch) check(seen []bool, records int, record json.RawMessage) {
	if record != nil {
		w.types(record)
	}
	if seen == nil || records == 0 || !slices.Contains(seen, false) && w.noted.Load() == 0 {
		return
	}
	for i, f := range w.fields {
		parent := f.path[:max(strings.LastIndexByte(f.path, '.'), 0)]
		there := slices.ContainsFunc(w.fields, func(p *shape) bool { return p.path == parent && !seen[p.seen] })
		switch {
		case seen[i]:
			w.forget(w.prefix+f.path, gone)
		case !there:
			w.note(w.prefix+f.path, gone)
		}
	}
}

const gone = "is gone"

// gone notes that there is nothing where the records were.
func (w *watch) gone(path string) { w.note(path, gone) }

// types compares the members of one record with their declared types.
func (w *watch) types(record json.RawMessage) {
	if w.kinds == nil {
		return
	}
	for m := range rawjson.Members(record) {
		want, ok := w.kinds[m.Name]
		if !ok {
			continue
		}
		got := typeOf(m.Value)
		if got == "null" || slices.Contains(want, got) || got == "integer" && slices.Contains(want, "number") ||
			got == "number" && slices.Contains(want, "integer") {
			if w.noted.Load() > 0 {
				w.forget(w.prefix+m.Name, "is a")
			}
			continue
		}
		w.note(w.prefix+m.Name, "is "+article(got)+", not "+article(want[0]))
	}
}

func article(typ string) string {
	if strings.IndexByte("aeiou", typ[0]) >= 0 {
		return "an " + typ
	}
	return "a " + typ
}

// typeOf returns the JSON Schema type of a value.
func typeOf(v json.RawMessage) string {
	switch rawjson.Kind(v) {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n', 0:
		return "null"
	}
	if strings.ContainsAny(string(v), ".eE") {
		return "number"
	}
	return "integer"
}

func (w *watch) note(field, problem string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.drift {
		if d.Field == field && d.Problem == problem {
			return
		}
	}
	if len(w.drift) < maxDrift {
		w.drift = append(w.drift, upstream.Drift{Tool: w.tool, Field: field, Problem: problem, Since: time.Now()})
		w.noted.Store(int32(len(w.drift))) //nolint:gosec // at most maxDrift
	}
}

func (w *watch) forget(field, problem string) {
	if w.noted.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drift = slices.DeleteFunc(w.drift, func(d upstream.Drift) bool {
		return d.Field == field && strings.HasPrefix(d.Problem, problem)
	})
	w.noted.Store(int32(len(w.drift))) //nolint:gosec // at most maxDrift
}

func (w *watch) told() []upstream.Drift {
	if w.noted.Load() == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.drift)
}
