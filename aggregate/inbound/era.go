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
	said    *said  // of a modern request that is right; nil otherwise
}

// said is what a modern request says of its client.
type said struct {
	client       clientInfo      // empty if it is not there
	capabilities json.RawMessage // an object
	level        string          // of the log messages it wants; "" is none
}

// readEra reads the era of a request from its params._meta. Each request is
// judged alone: a client may mix eras on one connection, as those do that probe.
func readEra(meta *metaFields) (era, *upstream.RPCError) {
	if meta.version == nil {
		return era{}, nil
	}
	if rawjson.Kind(meta.version) != '"' {
		return era{}, badParams("params._meta[%q] must be a string", metaPrefix+"protocolVersion")
	}
	e := era{version: rawjson.String(meta.version)}
	if !mcp.IsValidProtocolVersion(e.version) {
		e.modern = true
		return e, unsupportedVersion(e.version)
	}
	if !mcp.IsModernProtocol(e.version) {
		return e, nil
	}
	e.modern = true
	if rawjson.Kind(meta.capabilities) != '{' {
		return e, badParams("params._meta[%q] is required and must be an object", metaPrefix+"clientCapabilities")
	}
	says := &said{capabilities: meta.capabilities}
	if meta.info != nil {
		says.client = readClient(meta.info)
	}
	if meta.level != nil {
		if says.level = rawjson.String(meta.level); upstream.Severity(says.level) == 0 {
			return e, badLevel("params._meta[\"" + metaPrefix + "logLevel\"]")
		}
	}
	e.said = says
	return e, nil
}

// clientInfo is what a client says that it is (MCP, Implementation).
type clientInfo struct{ name, version string }

// readClient reads an Implementation object, its texts cut to what is sensible to
// keep and to log.
func readClient(info []byte) clientInfo {
	read := func(member string) string {
		text, _ := rawjson.GetString(info, member)
		const most = 100
		if r := []rune(text); len(r) > most {
			return string(r[:most])
		}
		return text
	}
	return clientInfo{read("name"), read("version")}
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
