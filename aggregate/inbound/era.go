package inbound

import (
	"encoding/json"
	"fmt"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// era is what one request says about itself. MCP 2026-07-28 (basic, §_meta)
// puts revision, client and capabilities into every request; before, they were
// fixed by initialize.
type era struct {
	modern  bool
	version string // as declared in _meta; "" if it is not there
	client  string // clientInfo.name; "" if it is not there
}

// readEra reads the era of a request from its params._meta. Each request is
// judged alone: a client may mix eras on one connection, as those do that probe.
func readEra(meta []byte) (era, *upstream.RPCError) {
	raw, ok := rawjson.Get(meta, metaPrefix+"protocolVersion")
	if !ok {
		return era{}, nil
	}
	if rawjson.Kind(raw) != '"' {
		return era{}, badParams("params._meta[%q] must be a string", metaPrefix+"protocolVersion")
	}
	e := era{version: rawjson.String(raw)}
	if !mcp.IsValidProtocolVersion(e.version) {
		e.modern = true
		return e, unsupportedVersion(e.version)
	}
	if !mcp.IsModernProtocol(e.version) {
		return e, nil
	}
	e.modern = true
	if caps, _ := rawjson.Get(meta, metaPrefix+"clientCapabilities"); rawjson.Kind(caps) != '{' {
		return e, badParams("params._meta[%q] is required and must be an object", metaPrefix+"clientCapabilities")
	}
	if info, ok := rawjson.Get(meta, metaPrefix+"clientInfo"); ok {
		e.client = clientName(info)
	}
	return e, nil
}

// clientName reads the name of an Implementation object, cut to what is
// sensible to keep and to log.
func clientName(info []byte) string {
	name, _ := rawjson.GetString(info, "name")
	const most = 100
	if r := []rune(name); len(r) > most {
		return string(r[:most])
	}
	return name
}

func unsupportedVersion(requested string) *upstream.RPCError {
	data, _ := json.Marshal(mcp.UnsupportedProtocolVersionData{ // strings always marshal
		Supported: mcp.ValidProtocolVersions,
		Requested: requested,
	})
	return &upstream.RPCError{
		Code:    mcp.UNSUPPORTED_PROTOCOL_VERSION,
		Message: fmt.Sprintf("protocol version %.40q is not supported", requested),
		Data:    data,
	}
}
