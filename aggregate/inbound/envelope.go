package inbound

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// message is one JSON-RPC message of a client: a request (id and method), a
// notification (method) or a response (neither; we ask clients nothing yet).
type message struct {
	id     json.RawMessage // as it came; nil if there is none
	method string
	params json.RawMessage // an object; nil if there is none
	meta   json.RawMessage // params._meta, an object; nil if there is none
	era    era             // of a request
	fault  *upstream.RPCError
}

// wantsAnswer reports whether m is a request, or so wrong that it has to be
// said. Notifications and responses are never answered.
func (m *message) wantsAnswer() bool { return m.fault != nil || m.id != nil }

// The members that we or mcp-go read. Go's decoder takes "METHOD" for
// "method", so one reader could be shown another message than the next: a name
// that differs from these only in case is refused.
var (
	envelopeNames = []string{"jsonrpc", "id", "method", "params", "result", "error"}
	paramNames    = []string{
		"_meta", "name", "arguments", "cursor", "uri", "level", "requestId", "reason", "notifications",
		"protocolVersion", "capabilities", "clientInfo",
	}
	metaNames = []string{
		"progressToken",
		metaPrefix + "protocolVersion", metaPrefix + "clientInfo",
		metaPrefix + "clientCapabilities", metaPrefix + "logLevel", metaPrefix + "subscriptionId",
	}
)

const metaPrefix = "io.modelcontextprotocol/"

func invalid(format string, args ...any) *upstream.RPCError {
	return &upstream.RPCError{Code: upstream.CodeInvalidRequest, Message: fmt.Sprintf(format, args...)}
}

func badParams(format string, args ...any) *upstream.RPCError {
	return &upstream.RPCError{Code: upstream.CodeInvalidParams, Message: fmt.Sprintf(format, args...)}
}

// scan reads one text: a message, or an array of them. A fault concerns the
// whole text; what is wrong with a single message is in its own fault, so that
// the answer can carry its id.
func scan(text []byte, lim rawjson.Limits) (msgs []message, batch bool, fault *upstream.RPCError) {
	if err := rawjson.Check(text, lim); err != nil {
		if rawjson.Kind(text) == '{' && rawjson.Check(text, rawjson.Limits{Depth: sane, AllowDups: true}) == nil {
			return []message{{id: onlyID(text), fault: invalid("the message is refused: %v", err)}}, false, nil
		}
		return nil, false, &upstream.RPCError{Code: upstream.CodeParse, Message: "parse error: " + err.Error()}
	}
	switch rawjson.Kind(text) {
	case '{':
		return []message{envelope(text)}, false, nil
	case '[':
		for e := range rawjson.Elements(text) {
			if len(msgs) == maxBatch {
				return nil, true, invalid("the batch has more than %d messages", maxBatch)
			}
			if rawjson.Kind(e) != '{' {
				msgs = append(msgs, message{fault: invalid("a message must be an object")})
				continue
			}
			msgs = append(msgs, envelope(e))
		}
		if len(msgs) == 0 {
			return nil, true, invalid("the batch is empty")
		}
		return msgs, true, nil
	}
	return nil, false, invalid("a message must be an object")
}

// sane is the nesting up to which it is worth to find out whom to tell that a
// message is nested too deeply.
const sane = 10_000

// onlyID returns the id of a message that is JSON but beyond our limits; nil if
// it has none, or several.
func onlyID(text []byte) (id json.RawMessage) {
	for f := range rawjson.Members(text) {
		if f.Name != "id" {
			continue
		}
		if id != nil || !validID(f.Value) {
			return nil
		}
		id = f.Value
	}
	return id
}

// envelope reads an object that has passed [rawjson.Check].
func envelope(text []byte) (m message) {
	var version string
	var hasMethod bool
	fail := func(e *upstream.RPCError) {
		if m.fault == nil {
			m.fault = e
		}
	}
	for f := range rawjson.Members(text) {
		switch f.Name {
		case "jsonrpc":
			version = rawjson.String(f.Value)
		case "id":
			if !validID(f.Value) {
				fail(invalid("id must be a string or a number"))
				continue
			}
			m.id = f.Value
		case "method":
			hasMethod = true
			if m.method = rawjson.String(f.Value); m.method == "" {
				fail(invalid("method must be a string that is not empty"))
			}
		case "params":
			m.params = f.Value
		case "result", "error":
		default:
			fail(wrongCase("", f.Name, envelopeNames))
		}
	}
	if version != "2.0" {
		fail(invalid(`jsonrpc must be "2.0"`))
	}
	if !hasMethod {
		m.readAnswer(text, fail)
		return m
	}
	m.readParams(fail)
	if m.id != nil {
		var fault *upstream.RPCError
		m.era, fault = readEra(m.meta)
		fail(fault)
	}
	return m
}

// readAnswer marks the message as a response, or as nothing at all.
func (m *message) readAnswer(text []byte, fail func(*upstream.RPCError)) {
	for _, name := range []string{"result", "error"} {
		if _, ok := rawjson.Get(text, name); ok {
			// Nothing is ever answered to a response, wrong or not.
			*m = message{}
			return
		}
	}
	fail(invalid("method is missing"))
}

func (m *message) readParams(fail func(*upstream.RPCError)) {
	if rawjson.IsNull(m.params) {
		m.params = nil
		return
	}
	if rawjson.Kind(m.params) != '{' {
		fail(badParams("params must be an object"))
		m.params = nil
		return
	}
	for f := range rawjson.Members(m.params) {
		if f.Name == "_meta" {
			m.meta = f.Value
			continue
		}
		fail(wrongCase("params.", f.Name, paramNames))
	}
	if m.meta == nil {
		return
	}
	if rawjson.Kind(m.meta) != '{' {
		fail(badParams("params._meta must be an object"))
		m.meta = nil
		return
	}
	for f := range rawjson.Members(m.meta) {
		fail(wrongCase("params._meta.", f.Name, metaNames))
	}
}

// wrongCase returns the error for a name that is a known one in another case,
// nil for any other.
func wrongCase(where, name string, known []string) *upstream.RPCError {
	for _, k := range known {
		if name != k && strings.EqualFold(name, k) {
			return invalid("%s%s is misspelt: write %q", where, name, k)
		}
	}
	return nil
}

// validID holds JSON-RPC 2.0 and MCP: an id is a string or a number, not null.
func validID(v []byte) bool {
	switch k := rawjson.Kind(v); {
	case k == '"', k == '-', k >= '0' && k <= '9':
		return true
	}
	return false
}

// idIn finds the id in the beginning of a message that is too long to be read
// whole; nil if it is not there.
func idIn(head []byte) json.RawMessage {
	for f := range rawjson.Members(head) {
		// A value that reaches the end of the text may have been cut.
		if f.Name == "id" && f.End < len(head) && validID(f.Value) && rawjson.Check(f.Value, rawjson.Limits{}) == nil {
			return f.Value
		}
	}
	return nil
}
