package mcpserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The methods this package sends or answers.
const (
	methodDiscover    = "server/discover"
	methodInitialize  = "initialize"
	methodInitialized = "notifications/initialized"
	methodListen      = "subscriptions/listen"
	methodTools       = "tools/list"
	methodCall        = "tools/call"
	methodPing        = "ping"
	methodCancelled   = "notifications/cancelled"
	methodSubscribe   = "resources/subscribe"
	methodUnsubscribe = "resources/unsubscribe"
	methodProgress    = "notifications/progress"
	methodMessage     = "notifications/message"
	methodSetLevel    = "logging/setLevel"
)

// Error codes of MCP 2026-07-28 (basic, §Error codes), and one of earlier
// revisions (resources, §Error Handling).
const (
	codeNoResource         = -32002
	codeHeaderMismatch     = -32020
	codeUnsupportedVersion = -32022
)

// request is one request before it gets an id. Its params already carry what
// the era demands.
type request struct {
	method string
	params []byte
	name   string         // what it is about, for the headers of the modern era; "" for none
	tool   *upstream.Tool // tools/call only: for the same
	// started is told the id before anything is sent; nil if nobody asks.
	started func(id int64)
	from    visit // the call that it carries out
}

// answer is one response: a result or an error object.
type answer struct {
	result  json.RawMessage
	members []rawjson.Member // of result, from the pass that checked it; nil if unknown
	rpc     *upstream.RPCError
	session string          // HTTP: the Mcp-Session-Id that came with it
	quota   *upstream.Quota // HTTP: what the header fields say is left; nil if they do not
}

// envelope is what a message says about itself, as slices of its text.
type envelope struct {
	id        json.RawMessage
	method    string
	hasMethod bool
}

const maxEchoedID = 1 << 10

// answerable reports whether e is a request with an id that may be sent back: a
// number or a string (JSON-RPC 2.0, section 4) of a sane length, because what
// is echoed stays in memory until the server reads it.
func (e envelope) answerable() bool {
	switch rawjson.Kind(e.id) {
	case '{', '[', 't', 'f', 'n':
		return false
	}
	return e.hasMethod && len(e.id) <= maxEchoedID && rawjson.Check(e.id, rawjson.Limits{}) == nil
}

// scan reads the envelope of a message that has not been checked yet: on
// invalid JSON it may find nonsense, which the check of whoever gets the
// message will report.
func scan(msg []byte) envelope {
	var e envelope
	for m := range rawjson.Members(msg) {
		switch m.Name {
		case "id":
			if e.id == nil {
				e.id = m.Value
			}
			if answers(msg[m.End:]) {
				return e // sparing the reader a walk through a long result
			}
		case "method":
			e.method, e.hasMethod = rawjson.String(m.Value), true
		}
	}
	return e
}

// answers reports whether the next member after rest makes its message a
// response.
func answers(rest []byte) bool {
	rest, _ = bytes.CutPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(","))
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return bytes.HasPrefix(rest, []byte(`"result"`)) || bytes.HasPrefix(rest, []byte(`"error"`))
}

// parseID reads an id of ours. Some servers echo numbers as strings.
func parseID(raw []byte) (int64, bool) {
	if len(raw) >= 2 && raw[0] == '"' && raw[len(raw)-1] == '"' {
		raw = raw[1 : len(raw)-1]
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return n, err == nil
}

// parseAnswer checks a response and takes it apart. This is the only place
// where relayed text is validated, and it runs on the caller's goroutine.
func parseAnswer(msg []byte) (answer, error) {
	outer, inner, err := rawjson.Index(msg, rawjson.Limits{}, "result")
	if err != nil {
		return answer{}, failure(upstream.UpstreamError, true, "answered with invalid JSON", err)
	}
	if outer == nil { // far more members than a message has
		outer = slices.Collect(rawjson.Members(msg))
	}
	a := answer{members: inner}
	for _, m := range outer {
		switch m.Name {
		case "result":
			a.result = m.Value
		case "error":
			if !rawjson.IsNull(m.Value) {
				a.rpc = parseRPCError(m.Value)
			}
		}
	}
	if a.rpc == nil && a.result == nil {
		return a, failure(upstream.UpstreamError, true, "answered with neither a result nor an error", nil)
	}
	return a, nil
}

func parseRPCError(raw json.RawMessage) *upstream.RPCError {
	e := &upstream.RPCError{Code: upstream.CodeInternal}
	for m := range rawjson.Members(raw) {
		switch m.Name {
		case "code":
			if f, err := strconv.ParseFloat(string(m.Value), 64); err == nil {
				e.Code = int(f)
			}
		case "message":
			e.Message = rawjson.String(m.Value)
		case "data":
			e.Data = m.Value
		}
	}
	if e.Message == "" {
		e.Message = "an error without a message"
	}
	return e
}

// encode frames a request (JSON-RPC 2.0, section 4).
func encode(id int64, method string, params []byte) []byte {
	b := make([]byte, 0, len(params)+len(method)+72) // with room for the line end
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = strconv.AppendInt(b, id, 10)
	return appendMethod(b, method, params)
}

func encodeNotification(method string, params []byte) []byte {
	return appendMethod([]byte(`{"jsonrpc":"2.0"`), method, params)
}

func appendMethod(b []byte, method string, params []byte) []byte {
	b = append(b, `,"method":"`...)
	b = append(b, method...)
	b = append(b, '"')
	if params != nil {
		b = append(b, `,"params":`...)
		b = append(b, params...)
	}
	return append(b, '}')
}

// reply answers a request of the server: a ping with an empty result, and
// anything else by saying that we never offered it.
func reply(e envelope) []byte {
	if e.method == methodPing {
		return encodeResult(e.id, []byte(`{}`))
	}
	return encodeError(e.id, refusal(upstream.CodeMethodNotFound, "not supported by this client"))
}

func encodeResult(id, result []byte) []byte {
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
}

func encodeError(id []byte, e *upstream.RPCError) []byte {
	b := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%s`, id, e.Code, rawjson.Quote(e.Message))
	if len(e.Data) > 0 {
		b = append(append(b, `,"data":`...), e.Data...)
	}
	return append(b, "}}"...)
}

func cancelledParams(id int64) []byte {
	return fmt.Appendf(nil, `{"requestId":%d,"reason":"the caller gave up"}`, id)
}

func clientInfo(version string) json.RawMessage {
	return slices.Concat([]byte(`{"name":"bulkhead","version":`), rawjson.Quote(version), []byte(`}`))
}

// modernMeta returns the members that every modern request carries in _meta
// (MCP 2026-07-28, basic, §_meta), without the braces. It ends with the
// capabilities, which are those of nobody.
func modernMeta(version string, info json.RawMessage) []byte {
	return fmt.Appendf(nil, `"%s":%s,"%s":%s,"%s":%s`, mcp.MetaKeyProtocolVersion, rawjson.Quote(version),
		mcp.MetaKeyClientInfo, info, mcp.MetaKeyClientCapabilities, noCapabilities)
}

const noCapabilities = "{}"

// hopScoped reports whether a member of _meta is between the client and us and
// must not travel on.
func hopScoped(name string) bool {
	switch name {
	case "progressToken", mcp.MetaKeyProtocolVersion, mcp.MetaKeyClientInfo,
		mcp.MetaKeyClientCapabilities, mcp.MetaKeyLogLevel:
		return true
	}
	return false
}

// callParams returns the params of a call for the upstream: the member that its
// target goes by is replaced, _meta loses what is hop-scoped and gains meta
// (members without braces, may be empty); every other byte stays.
func callParams(call *upstream.Call, meta []byte) []byte {
	params := []byte(call.Params)
	if rawjson.Kind(params) != '{' {
		params = []byte(`{}`)
		if call.Arguments != nil {
			params = slices.Concat([]byte(`{"arguments":`), call.Arguments, []byte(`}`))
		}
	}
	member, _ := target(call.Op)
	name := rawjson.Quote(call.Name)
	out := make([]byte, 0, len(params)+len(name)+len(meta)+32)
	from, hasName, hasMeta, empty := 0, member == "", false, true
	for m := range rawjson.Members(params) {
		empty = false
		switch {
		case m.Name == member && member != "":
			hasName = true
			out = append(append(out, params[from:m.End-len(m.Value)]...), name...)
			from = m.End
		case m.Name == "_meta":
			hasMeta = true
			out = appendMeta(append(out, params[from:m.End-len(m.Value)]...), m.Value, meta)
			from = m.End
		}
	}
	end := max(bytes.LastIndexByte(params, '}'), from) // less only if unchecked text came in
	out = append(out, params[from:end]...)
	add := func(member string) {
		if !empty {
			out = append(out, ',')
		}
		empty = false
		out = append(append(append(out, '"'), member...), `":`...)
	}
	if !hasName {
		add(member)
		out = append(out, name...)
	}
	if !hasMeta && len(meta) > 0 {
		add("_meta")
		out = appendMeta(out, nil, meta)
	}
	return append(out, '}')
}

// appendMeta appends old, a value of _meta, without what is hop-scoped and with
// the members meta. If nothing is taken out, the rest stays byte for byte.
func appendMeta(out, old, meta []byte) []byte {
	if rawjson.Kind(old) != '{' {
		old = []byte(`{}`)
	}
	at, kept, dropped := len(out), 0, false
	out = append(out, '{')
	for m := range rawjson.Members(old) {
		if hopScoped(m.Name) {
			dropped = true
			continue
		}
		if kept++; kept > 1 {
			out = append(out, ',')
		}
		out = append(out, old[m.Start:m.End]...)
	}
	if !dropped {
		out = append(out[:at], old[:bytes.LastIndexByte(old, '}')]...)
	}
	if kept > 0 && len(meta) > 0 {
		out = append(out, ',')
	}
	return append(append(out, meta...), '}')
}

// ownParams returns the params of a request of ours: members (without braces)
// and, in the modern era, the _meta it demands.
func ownParams(members string, meta []byte) []byte {
	if len(meta) == 0 {
		return []byte("{" + members + "}")
	}
	sep := ""
	if members != "" {
		sep = ","
	}
	return []byte("{" + members + sep + `"_meta":{` + string(meta) + "}}")
}

// bounded cuts s to max bytes at a rune's edge.
func bounded(s string, max int) string {
	if len(s) <= max {
		return s
	}
	return strings.ToValidUTF8(s[:max], "") + "…"
}
