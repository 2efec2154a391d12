package inbound

import (
	"mime"
	"net/http"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// checkBody reports the status and reason for a POST whose headers say that its
// body is nothing for us; 0 if it may be read.
func checkBody(r *http.Request) (int, string) {
	if said := r.Header.Get("Content-Type"); said != "application/json" {
		kind, params, err := mime.ParseMediaType(said)
		if err != nil || kind != "application/json" {
			return http.StatusUnsupportedMediaType, "the Content-Type must be application/json"
		}
		if cs := params["charset"]; cs != "" && !strings.EqualFold(cs, "utf-8") {
			return http.StatusUnsupportedMediaType, "the charset must be utf-8"
		}
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return http.StatusUnsupportedMediaType, "the body must not have a Content-Encoding"
	}
	return 0, ""
}

// accepts reports whether the client takes an answer of the given type. No
// Accept header means that it takes any (RFC 9110, section 12.5.1).
func accepts(r *http.Request, kind string) bool {
	values := r.Header.Values("Accept")
	if len(values) == 0 {
		return true
	}
	major, _, _ := strings.Cut(kind, "/")
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if strings.TrimSpace(part) == kind { // as nearly every client says it
			return true
		}
		t, params, err := mime.ParseMediaType(part)
		if err != nil || strings.Trim(params["q"], "0.") == "" && params["q"] != "" {
			continue
		}
		if t == kind || t == "*/*" || t == major+"/*" {
			return true
		}
	}
	return false
}

// checkVersion holds that header and body name the same protocol version, where
// one of them is modern. This comes before whether we know the version: whoever
// acts on the header would take it for another.
func checkVersion(h http.Header, m *message) *upstream.RPCError {
	version := h.Get(mcp.HeaderProtocolVersion)
	switch {
	case version == "" || version == m.era.version:
		return nil
	case m.era.modern, m.era.version != "" && mcp.IsModernProtocol(version):
		return mismatch(mcp.HeaderProtocolVersion, m.era.version)
	case m.fault == nil && mcp.IsModernProtocol(version) && mcp.IsValidProtocolVersion(version):
		return badParams("params._meta[%q] is required", metaPrefix+"protocolVersion")
	}
	return nil
}

// checkHeaders holds that the headers which repeat the body agree with it (MCP
// 2026-07-28, transports, §Server Validation). Others act on the headers; what
// is executed is the body.
func checkHeaders(h http.Header, m *message) *upstream.RPCError {
	if v := h.Values(mcp.HeaderProtocolVersion); len(v) != 1 || v[0] != m.era.version {
		return mismatch(mcp.HeaderProtocolVersion, m.era.version)
	}
	if v := h.Values(mcp.HeaderMethod); len(v) != 1 || v[0] != m.method {
		return mismatch(mcp.HeaderMethod, m.method)
	}
	rt := routeOf(m.method)
	v := h.Values(mcp.HeaderName)
	if rt.named == "" || rt.unsaid && len(v) == 0 {
		return nil
	}
	want, _ := rawjson.GetString(m.params, rt.named)
	if len(v) != 1 {
		return mismatch(mcp.HeaderName, want)
	}
	if got, ok := mcp.DecodeHeaderValue(v[0]); !ok || got != want {
		return mismatch(mcp.HeaderName, want)
	}
	return nil
}

func mismatch(header, want string) *upstream.RPCError {
	return &upstream.RPCError{
		Code:    mcp.HEADER_MISMATCH,
		Message: "header mismatch: " + header + " must be sent once and agree with the body, which says " + quoteShort(want),
	}
}

func quoteShort(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "..."
	}
	return string(rawjson.Quote(s))
}

// paramFields returns the fields in which a modern client repeats arguments,
// and no other: nothing else of the client's request goes further in.
func paramFields(all http.Header) http.Header {
	out := make(http.Header)
	for name, values := range all {
		if strings.HasPrefix(name, mcp.HeaderParamPrefix) { // both are canonical
			out[name] = values
		}
	}
	return out
}
