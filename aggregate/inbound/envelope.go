package inbound

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// message is one JSON-RPC message of a client: a request (id and method), a
// notification (method) or a response (answer).
type message struct {
	id     json.RawMessage // of a request, as it came; nil if there is none
	method string
	params json.RawMessage // an object; nil if there is none
	token  json.RawMessage // for progress; nil if the client wants to hear of none
	era    era             // of a request
	fault  *upstream.RPCError
	answer *answer // of a response; nil otherwise
}

// answer is what a client says to a question of ours.
type answer struct {
	id     json.RawMessage // nil if it has none that can be right
	result json.RawMessage // nil if there is an error
	err    json.RawMessage
}

// metaFields is what is read of params._meta, as it came; nil where it is not
// there.
type metaFields struct{ token, version, info, capabilities, level json.RawMessage }

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
		"protocolVersion", "capabilities", "clientInfo", "taskId", "ref", "inputResponses", "requestState",
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
	meta := m.readParams(fail)
	if m.id != nil {
		var fault *upstream.RPCError
		m.era, fault = readEra(&meta)
		fail(fault)
	}
	return m
}

// readAnswer marks the message as a response, or as nothing at all. Nothing is
// ever answered to a response, wrong or not.
func (m *message) readAnswer(text []byte, fail func(*upstream.RPCError)) {
	a := answer{id: m.id}
	a.result, _ = rawjson.Get(text, "result")
	a.err, _ = rawjson.Get(text, "error")
	if a.result == nil && a.err == nil {
		fail(invalid("method is missing"))
		return
	}
	*m = message{answer: &a}
}

// readParams returns what is read of params._meta.
func (m *message) readParams(fail func(*upstream.RPCError)) (meta metaFields) {
	if rawjson.IsNull(m.params) {
		m.params = nil
		return meta
	}
	if rawjson.Kind(m.params) != '{' {
		fail(badParams("params must be an object"))
		m.params = nil
		return meta
	}
	var raw json.RawMessage
	for f := range rawjson.Members(m.params) {
		if f.Name == "_meta" {
			raw = f.Value
			continue
		}
		fail(wrongCase("params.", f.Name, paramNames))
	}
	if raw == nil {
		return meta
	}
	if rawjson.Kind(raw) != '{' {
		fail(badParams("params._meta must be an object"))
		return meta
	}
	for f := range rawjson.Members(raw) {
		switch f.Name {
		case "progressToken":
			meta.token = f.Value
		case metaPrefix + "protocolVersion":
			meta.version = f.Value
		case metaPrefix + "clientInfo":
			meta.info = f.Value
		case metaPrefix + "clientCapabilities":
			meta.capabilities = f.Value
		case metaPrefix + "logLevel":
			meta.level = f.Value
		default:
			fail(wrongCase("params._meta.", f.Name, metaNames))
		}
	}
	if meta.token != nil && validID(meta.token) { // MCP, progress: a string or an integer
		m.token = meta.token
	}
	return meta
}

// wrongCase returns the error for a name that is a known one in another case,
// nil for any other.
func wrongCase(where, name string, known []string) *upstream.RPCError {
	if slices.Contains(known, name) {
		return nil
	}
	for _, k := range known {
		if strings.EqualFold(name, k) {
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
