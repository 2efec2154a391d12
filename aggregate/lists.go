package aggregate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// lists is every list of an upstream.
var lists = [...]upstream.List{
	upstream.Tools, upstream.Prompts, upstream.Resources, upstream.Templates, upstream.Skills,
}

// perList holds one T for each list.
type perList[T any] [len(lists)]T

// of returns where the T of a list is kept.
func (p *perList[T]) of(l upstream.List) *T {
	switch l {
	case upstream.Tools:
		return &p[0]
	case upstream.Prompts:
		return &p[1]
	case upstream.Resources:
		return &p[2]
	case upstream.Templates:
		return &p[3]
	}
	return &p[4]
}

// at returns the T of a list.
func (p *perList[T]) at(l upstream.List) T { return *p.of(l) }

// keyOf returns the name of the member that the entries of l go by.
func keyOf(l upstream.List) string {
	if key := upstream.KeyOf(l); key != "" {
		return key
	}
	return "name"
}

// thing is one definition on a list of an upstream.
type thing struct {
	key string          // what it goes by, see [upstream.Item]
	uri string          // the URI or URI template by which it claims something; "" if it claims none
	raw json.RawMessage // the definition
	// tool is what policy knows of it; nil for what is no tool.
	tool *upstream.Tool
}

func toolThing(t *upstream.Tool) thing {
	return thing{key: t.Name, uri: uiResource(t.Raw), raw: t.Raw, tool: t}
}

func itemThing(l upstream.List, it upstream.Item) thing {
	t := thing{key: it.Key, raw: it.Raw}
	if l != upstream.Prompts {
		t.uri = it.Key
	}
	return t
}

// parseThing reads a definition that was kept on disk.
func parseThing(id upstream.ID, l upstream.List, raw json.RawMessage) (thing, error) {
	if l == upstream.Tools {
		t, err := upstream.ParseTool(id, raw)
		if err != nil {
			return thing{}, err
		}
		return toolThing(&t), nil
	}
	it, err := upstream.ParseItem(id, l, raw)
	return itemThing(l, it), err
}

// uiResource returns the URI of the page that shows a tool's results (extension
// io.modelcontextprotocol/ui, _meta.ui.resourceUri), "" if there is none.
func uiResource(raw json.RawMessage) string {
	meta, _ := rawjson.Get(raw, "_meta")
	ui, _ := rawjson.Get(meta, "ui")
	uri, _ := rawjson.GetString(ui, "resourceUri")
	return uri
}

// contents is what is on one list of one upstream. It never changes; whoever
// holds the same contents holds the same list.
type contents struct {
	all     []thing       // sorted by key, each key once
	offered []thing       // those of all that clients see, as they see them
	fresh   time.Duration // how long they may be kept, see upstream.Dater
}

// listed is what one list held when it was read last.
type listed struct {
	*contents
	at    time.Time
	stale bool // read from disk, or under other settings; not yet confirmed
}

// newContents sorts things, which it takes over: an upstream that shuffles its
// list must not spoil the host's prompt cache. Of two with one key the first
// counts.
func (m *member) newContents(things []thing) *contents {
	slices.SortStableFunc(things, func(x, y thing) int { return cmp.Compare(x.key, y.key) })
	things = slices.CompactFunc(things, func(x, y thing) bool { return x.key == y.key })
	c := &contents{all: things, offered: make([]thing, 0, len(things)), fresh: upstream.Announced}
	for _, t := range things {
		if t.tool != nil && m.Keep != nil && !m.Keep(t.tool.Name) {
			continue
		}
		if t.tool != nil {
			t.tool = m.present(t.tool)
			t.raw = m.shownRaw(t.tool)
		}
		c.offered = append(c.offered, t)
	}
	return c
}

// same reports whether both hold the same.
func (c *contents) same(o *contents) bool {
	return c.fresh == o.fresh && slices.EqualFunc(c.all, o.all, func(x, y thing) bool {
		return x.key == y.key && bytes.Equal(x.raw, y.raw)
	})
}
