package aggregate

import (
	"encoding/json"
	"fmt"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The error codes of MCP that mean something to us. The first two belong to
// earlier revisions than 2026-07-28, the others to it (basic, §Error Codes).
const (
	codeNotFound          = -32002 // of a resource (MCP 2025-11-25, resources, §Error Handling)
	codeElicitURL         = -32042 // the user has to open addresses first
	codeHeaderMismatch    = -32020
	codeMissingCapability = -32021
	codeBadVersion        = -32022
)

// fate is what becomes of an upstream's error object.
type fate uint8

const (
	kept     fate = iota // code, message and data as they are
	lowered              // CodeInternal; the original stands in data, under MetaError
	renamed              // CodeInvalidParams; message and data as they are
	hidden               // a failure of ours: the client must not act on it
	lacking              // a failure that names the missing capability
	elicited             // the URL elicitations, with the source's name before each
)

// fates says what becomes of an upstream's error codes on the way to a client,
// by era. Later rows count where no earlier one does.
var fates = []struct {
	from, to       int
	legacy, modern fate
	reason         string
}{
	{codeHeaderMismatch, codeHeaderMismatch, hidden, hidden, "our own headers: a client would look for the fault in its own"},
	{codeBadVersion, codeBadVersion, hidden, hidden, "a client would change the revision it speaks with us"},
	{codeMissingCapability, codeMissingCapability, lacking, kept, "new in 2026-07-28"},
	{codeElicitURL, codeElicitURL, elicited, lowered, "gone in 2026-07-28"},
	{codeNotFound, codeNotFound, kept, renamed, "2026-07-28 says -32602"},
	{upstream.CodeMethodNotFound, upstream.CodeMethodNotFound, lowered, lowered, "we do know the method"},
	{upstream.CodeParse, upstream.CodeParse, lowered, lowered, "the client's message was fine"},
	{upstream.CodeInvalidRequest, upstream.CodeInvalidRequest, lowered, lowered, "the client's message was fine"},
	{-32019, -32000, kept, lowered, "2026-07-28 leaves them to earlier revisions"},
	{-32099, -32020, kept, lowered, "2026-07-28 keeps them for itself"},
}

func fateOf(code int, modern bool) fate {
	for _, f := range fates {
		if f.from <= code && code <= f.to {
			if modern {
				return f.modern
			}
			return f.legacy
		}
	}
	return kept
}

// refusal is answered with just this error object, whatever the method: the
// fault is the client's, or the protocol has an error for it.
type refusal struct{ rpc *upstream.RPCError }

func (r *refusal) Error() string { return r.rpc.Error() }

func refuse(message string) error {
	return &refusal{&upstream.RPCError{Code: upstream.CodeInvalidParams, Message: message}}
}

// refused returns the error object that err is answered with whatever the
// method; nil if it is a failure like any other.
func refused(err error) *upstream.RPCError {
	e, ok := err.(*refusal) //nolint:errorlint // converse returns it bare; AsError wraps it
	if !ok {
		return nil
	}
	return e.rpc
}

// protocolError is the failure of a request other than a tool call, as a client
// of the given era gets it. An upstream's own error keeps its message and data.
func protocolError(err *upstream.Error, modern bool) *upstream.RPCError {
	if rpc := refused(err.Err); rpc != nil {
		return rpc
	}
	if err.RPC == nil {
		return ownError(err, modern)
	}
	switch fateOf(err.RPC.Code, modern) {
	case lowered:
		return &upstream.RPCError{Code: upstream.CodeInternal, Message: err.RPC.Message, Data: withFacts(err.RPC.Data, err)}
	case renamed:
		return &upstream.RPCError{Code: upstream.CodeInvalidParams, Message: err.RPC.Message, Data: err.RPC.Data}
	case hidden:
		e := *err
		e.RPC, e.Public, e.Sent = nil, "it does not agree with us on the protocol", false // it was refused
		return ownError(&e, modern)
	case lacking:
		return ownError(missingCapability(err), modern)
	case elicited:
		return elicitations(err.Upstream, err.RPC)
	}
	return err.RPC
}

// ownError is a failure that is not in an upstream's own words.
func ownError(e *upstream.Error, modern bool) *upstream.RPCError {
	code := upstream.CodeInternal
	switch {
	case e.Kind == upstream.NotFound && e.Op == string(upstream.ReadResource) && !modern:
		code = codeNotFound
	case e.Kind == upstream.NotFound, e.Kind == upstream.InvalidArguments:
		code = upstream.CodeInvalidParams
	}
	return &upstream.RPCError{Code: code, Message: failureText(e), Data: withFacts(nil, e)}
}

// withFacts returns error data that also holds the facts of a failure.
func withFacts(data json.RawMessage, e *upstream.Error) json.RawMessage {
	facts, err := json.Marshal(failureFacts(e))
	if err != nil { // an upstream's error data that is no JSON after all
		return data
	}
	if rawjson.Kind(data) != '{' || len(data) > maxData {
		data = json.RawMessage("{}")
	}
	return set(data, MetaError, facts)
}

// elicitations is the URL elicitation error (MCP 2025-11-25, elicitation,
// §URL Elicitation Required Error) with the source's name before each message.
func elicitations(id upstream.ID, rpc *upstream.RPCError) *upstream.RPCError {
	out := &upstream.RPCError{Code: rpc.Code, Message: fmt.Sprintf("[%s] %s", Printable(string(id), 64), rpc.Message)}
	out.Data = replace(rpc.Data, memberElicitations, func(list json.RawMessage) json.RawMessage {
		return mapElements(list, func(e json.RawMessage) json.RawMessage { return prefixed(id, e) })
	})
	return out
}

const memberElicitations = "elicitations"
