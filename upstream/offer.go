package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// List names one of the lists of an upstream, by the member that holds it in
// the result of the method that reads it.
type List string

// The lists. That of tools is read by [Adapter.Tools].
const (
	Tools     List = "tools"
	Prompts   List = "prompts"
	Resources List = "resources"
	Templates List = "resourceTemplates"
	Skills    List = "skills"
)

// Item is one entry of a list other than that of tools.
type Item struct {
	Upstream ID
	Key      string          // a prompt's or skill's name, a resource's URI, a template's URI template (RFC 6570)
	Raw      json.RawMessage // the upstream's own definition, byte for byte
}

// keys are the members that an entry goes by.
var keys = map[List]string{Prompts: "name", Resources: "uri", Templates: "uriTemplate", Skills: "uri"}

// KeyOf returns the name of the member that the entries of l go by.
func KeyOf(l List) string { return keys[l] }

// ParseItem reads one entry of a list. raw must have passed [rawjson.Check]. It
// refuses what common hosts answer by dropping the whole list: no object, no
// key, and no name, which every entry has (MCP schema, BaseMetadata).
func ParseItem(id ID, l List, raw json.RawMessage) (Item, error) {
	it := Item{Upstream: id, Raw: raw}
	if rawjson.Kind(raw) != '{' {
		return it, errors.New("the definition is not an object")
	}
	key := keys[l]
	it.Key, _ = rawjson.GetString(raw, key)
	if it.Key == "" {
		return it, fmt.Errorf("%s is missing, empty or not a string", key)
	}
	if name, _ := rawjson.GetString(raw, "name"); name == "" && l != Skills {
		return it, errors.New("name is missing, empty or not a string")
	}
	return it, nil
}

// Lister is an adapter that offers more than tools.
type Lister interface {
	// Items returns everything on one list, in the upstream's order, drained
	// through all pages; nothing where the upstream has no such list. It waits
	// for a connection until ctx ends.
	Items(ctx context.Context, l List) ([]Item, error)
}

// Announced is how long a list may be kept whose upstream tells of its changes:
// until it does.
const Announced = time.Duration(math.MaxInt64)

// Dater is an adapter that knows how long its lists stay good.
type Dater interface {
	// Fresh returns how long a list, as it was read last, may be kept before it
	// is read again: what the upstream said (MCP 2026-07-28, caching, ttlMs),
	// else [Announced], or 0 where the upstream tells of no changes. It returns
	// at once.
	Fresh(l List) time.Duration
}

// Topic is one thing whose changes an upstream can be asked to tell: which
// notification tells them, and of what.
type Topic struct {
	Note string // NoteUpdated or NoteTask
	Key  string // the upstream's own URI, or its task id
}

// The notifications that belong to no call, see [Events].
const (
	NoteUpdated  = "notifications/resources/updated"    // params.uri
	NoteTask     = "notifications/tasks"                // params.taskId
	NoteElicited = "notifications/elicitation/complete" // params.elicitationId; legacy only
)

// Subscriber is an adapter that can tell changes of single things.
type Subscriber interface {
	// Subscribe has changes told by [Events.Note] until Unsubscribe, across
	// reconnects. Each topic is subscribed once: whoever serves several clients
	// counts them. It returns when the upstream has agreed, or why it does not.
	Subscribe(ctx context.Context, t Topic) error
	// Unsubscribe ends that. It returns at once.
	Unsubscribe(t Topic)
}

// Extender is an adapter whose upstream has extensions of the protocol.
type Extender interface {
	// Extensions returns the settings object of each extension that the upstream
	// declares, by its identifier (MCP 2026-07-28, versioning, §Extension
	// Negotiation). It returns at once; nil before the first connection.
	Extensions() map[string]json.RawMessage
}
