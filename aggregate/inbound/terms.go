package inbound

import (
	"bytes"
	"encoding/json"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// terms is what a legacy client and we settled by initialize. Nothing in it
// is ever changed.
type terms struct {
	version      string // of the protocol; "" before initialize
	client       clientInfo
	capabilities json.RawMessage
	asks         bool // the client can be asked something
}

func newTerms(version string, client clientInfo, capabilities json.RawMessage) terms {
	t := terms{version: version, client: client, capabilities: capabilities}
	for name := range rawjson.Members(capabilities) {
		switch name.Name {
		case "elicitation", "sampling", "roots":
			t.asks = true
		}
	}
	return t
}

// termsOf returns what the params of an initialize request and its result settle.
func termsOf(params, result json.RawMessage) terms {
	version, _ := rawjson.GetString(result, "protocolVersion")
	info, _ := rawjson.Get(params, "clientInfo")
	capabilities, _ := rawjson.Get(params, "capabilities")
	return newTerms(version, readClient(info), boundCapabilities(capabilities, keptBytes))
}

const (
	keptBytes   = 16 << 10 // of a client's capabilities are kept whole
	sealedBytes = 1 << 10  // of them fit into a session id
)

// boundCapabilities returns a copy of a client's capabilities in at most so many
// bytes. If there are more it keeps what others than we may act on, as far as
// it fits; nil if nothing is left.
func boundCapabilities(raw json.RawMessage, most int) json.RawMessage {
	if rawjson.Kind(raw) != '{' {
		return nil
	}
	if len(raw) <= most {
		return bytes.Clone(raw)
	}
	kept := []byte("{}")
	for _, name := range []string{"elicitation", "sampling", "roots", "extensions"} {
		value, ok := rawjson.Get(raw, name)
		if !ok || len(kept)+len(value) > most-len(`"":,`)-len(name) {
			continue
		}
		if more, err := rawjson.Add(kept, name, value); err == nil {
			kept = more
		}
	}
	if len(kept) == len("{}") {
		return nil
	}
	return kept
}

// allows returns why a question must not be put to the client; nil if it may
// be.
func (t terms) allows(q upstream.Question) *upstream.RPCError {
	if need := q.Lacks(t.capabilities); need != "" {
		return &upstream.RPCError{Code: upstream.CodeMethodNotFound, Message: "the client did not declare " + quoteShort(need)}
	}
	return nil
}
