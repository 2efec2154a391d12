package aggregate

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// maxElicited is how many addresses that users of one upstream have been asked to
// open are remembered.
const maxElicited = 1000

// elicitees remembers who was asked to open an address, to tell just them that
// they are done there (MCP 2025-11-25, elicitation, §Completion Notifications).
type elicitees struct {
	mu    sync.Mutex
	by    map[string]party // by elicitationId
	order []string         // oldest first
}

// party is one conversation of one user.
type party struct {
	principal upstream.Principal
	session   string // "" where there is none to be told anything
}

func partyOf(c *upstream.Call) party { return party{c.Principal, c.Session} }

// add notes the URL elicitation with these params, if it has an id that no other
// party was given.
func (e *elicitees) add(p party, params json.RawMessage) {
	id, _ := rawjson.GetString(params, memberElicited)
	if id == "" || len(id) > maxTaskID || p.session == "" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.by[id]; known {
		return
	}
	if e.by == nil {
		e.by = make(map[string]party)
	}
	if len(e.order) == maxElicited {
		delete(e.by, e.order[0])
		e.order = e.order[1:]
	}
	e.by[id] = p
	e.order = append(e.order, id)
}

// of returns who was given an id.
func (e *elicitees) of(id string) (party, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, ok := e.by[id]
	return p, ok
}

// note takes what the upstream tells of its own accord.
func (m *member) note(method string, params json.RawMessage) {
	if method != upstream.NoteElicited {
		m.forget() // before anybody hears of it and asks
		m.hub.note(method, params)
		return
	}
	id, _ := rawjson.GetString(params, memberElicited)
	if to, ok := m.elicitees.of(id); ok {
		m.agg.subs.tellParty(to, Notice{Method: method, Key: string(m.ID) + " " + id, Params: rawjson.OneLine(params)})
	}
}

// openFirst has a modern client open the addresses that an upstream's error
// names, and make the call again. MCP 2026-07-28 has no such error.
func (t conversation) openFirst(e *upstream.Error) (*upstream.Result, error) {
	if err := t.inputAllowed(); err != nil {
		return nil, err
	}
	list, _ := rawjson.Get(e.RPC.Data, memberElicitations)
	var requests []byte
	n := 0
	for params := range rawjson.Elements(list) {
		q := upstream.Question{Method: upstream.AskElicitation, Params: params}
		if _, ok := isURL(q); !ok {
			continue
		}
		if n == maxQuestions {
			return nil, t.fault(upstream.UpstreamError, fmt.Sprintf("it has the user open more than %d addresses", maxQuestions))
		}
		if what := lacks(t.c.Back.Capabilities, q); what != "" {
			return nil, t.incapable(what, func(caps json.RawMessage) string { return lacks(caps, q) })
		}
		n++
		requests = addQuestion(requests, "url"+strconv.Itoa(n), t.c.Upstream, q)
	}
	if n == 0 {
		return nil, e
	}
	token, _ := t.m.agg.asked.seals.sealState(state{kind: repeated, expires: time.Now().Add(stateLasts)}, t.binding())
	return asked(inputRequiredText(requests, token))
}

// agreed returns why a call that waited for the user to open addresses is not
// made again: the user would be asked the same for ever.
func (t conversation) agreed(answers json.RawMessage) error {
	for m := range rawjson.Members(answers) {
		if action, _ := rawjson.GetString(m.Value, "action"); action != "accept" {
			return t.fault(upstream.Denied, "the user did not agree to open the address that it needs opened")
		}
	}
	return nil
}
