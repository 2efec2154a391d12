package mcpserver

import (
	"bytes"
	"encoding/json"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The extensions of the protocol that this package has to know.
const (
	extSkills = "io.modelcontextprotocol/skills"
	extTasks  = "io.modelcontextprotocol/tasks"
)

// offers is what a server declares to have (MCP schema, ServerCapabilities).
type offers struct {
	tools, prompts, resources, completions, logging bool
	subscribe                                       bool // changes of single resources
	// Changes of a list are announced; that of resources covers templates too.
	toolsChanged, promptsChanged, resourcesChanged bool
	extensions                                     map[string]json.RawMessage
}

// learnOffers reads the answer to a handshake, of which nothing is kept.
func learnOffers(result json.RawMessage) offers {
	var o offers
	caps, _ := rawjson.Get(result, "capabilities")
	for m := range rawjson.Members(caps) {
		if rawjson.IsNull(m.Value) {
			continue
		}
		switch m.Name {
		case "tools":
			o.tools, o.toolsChanged = true, isTrue(m.Value, "listChanged")
		case "prompts":
			o.prompts, o.promptsChanged = true, isTrue(m.Value, "listChanged")
		case "resources":
			o.resources, o.resourcesChanged = true, isTrue(m.Value, "listChanged")
			o.subscribe = isTrue(m.Value, "subscribe")
		case "completions":
			o.completions = true
		case "logging":
			o.logging = true
		case "extensions":
			for e := range rawjson.Members(m.Value) {
				if rawjson.Kind(e.Value) != '{' { // clients that were shown it would refuse us
					continue
				}
				if o.extensions == nil {
					o.extensions = map[string]json.RawMessage{}
				}
				o.extensions[e.Name] = bytes.Clone(e.Value)
			}
		}
	}
	return o
}

func isTrue(obj json.RawMessage, name string) bool {
	v, _ := rawjson.Get(obj, name)
	return string(v) == "true"
}

// has reports whether there is such a list. That of tools is asked for in any
// case: servers that offer nothing else forget to declare it.
func (o *offers) has(l upstream.List) bool {
	switch l {
	case upstream.Tools:
		return true
	case upstream.Prompts:
		return o.prompts
	case upstream.Resources, upstream.Templates:
		return o.resources
	case upstream.Skills:
		return o.extension(extSkills)
	}
	return false
}

func (o *offers) extension(id string) bool {
	_, ok := o.extensions[id]
	return ok
}

// announced returns the lists whose changes the server announces.
func (o *offers) announced() []upstream.List {
	var lists []upstream.List
	if o.toolsChanged {
		lists = append(lists, upstream.Tools)
	}
	if o.promptsChanged {
		lists = append(lists, upstream.Prompts)
	}
	if o.resourcesChanged {
		lists = append(lists, upstream.Resources, upstream.Templates)
	}
	return lists
}

// Extensions implements [upstream.Extender]: of the present connection, or of
// the last one. The map must not be changed.
func (a *Adapter) Extensions() map[string]json.RawMessage {
	if e := a.extensions.Load(); e != nil {
		return *e
	}
	return nil
}
