package inbound

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// metadataPath is where a resource's metadata are, before the path of the
// resource itself (RFC 9728, section 3.1).
const metadataPath = "/.well-known/oauth-protected-resource"

// audience returns the addresses that a credential may be for which is shown at
// an endpoint of an upstream, "" for everything: what is good for everything is
// good for each part, and not the other way round.
func (a *Auth) audience(upstreamName string) []string {
	if a.URL == "" {
		return nil
	}
	all := []string{a.URL, a.URL + "/", a.URL + "/mcp", a.URL + "/sse"}
	if upstreamName != "" {
		part := a.URL + "/u/" + upstreamName
		all = append(all, part+"/mcp", part+"/sse")
	}
	return all
}

// challenge refuses a request (RFC 6750, section 3; RFC 9728, section 5.1).
func (e *httpEdge) challenge(x *exchange, why *Refusal) {
	var b strings.Builder
	b.WriteString("Bearer")
	sep := " "
	add := func(name, value string) {
		b.WriteString(sep + name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`)
		sep = ", "
	}
	if len(e.auth.Servers) > 0 {
		// The older transport begins at /sse: that is the address its client knows.
		resource := strings.TrimSuffix(x.r.URL.EscapedPath(), "/messages")
		if resource != x.r.URL.EscapedPath() {
			resource += "/sse"
		}
		add("resource_metadata", e.auth.URL+metadataPath+resource)
	}
	if len(e.auth.Scopes) > 0 {
		add("scope", strings.Join(e.auth.Scopes, " "))
	}
	status := http.StatusUnauthorized
	if why.Code != "" {
		add("error", why.Code)
		add("error_description", why.Why)
	}
	switch why.Code {
	case InvalidRequest:
		status = http.StatusBadRequest
	case InsufficientScope:
		status = http.StatusForbidden
	}
	if sep == " " { // a challenge has at least one parameter (RFC 9110, section 11.6.1)
		add("realm", "bulkhead")
	}
	x.w.Header().Set("WWW-Authenticate", b.String())
	refuse(x.w, status, why.Why)
}

// describe serves the metadata of a resource of ours (RFC 9728, section 2): of
// the endpoint whose path follows, or of all. Those of an upstream that does not
// exist are served too: only who may come in learns what there is.
func (e *httpEdge) describe(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: w, r: r}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		x.disallow("GET, HEAD")
		return
	}
	text := json.RawMessage("{}")
	for _, member := range []struct {
		name  string
		value any
	}{
		{"resource", e.auth.URL + strings.TrimPrefix(r.URL.EscapedPath(), metadataPath)},
		{"authorization_servers", e.auth.Servers},
		{"scopes_supported", e.auth.Scopes},
		{"bearer_methods_supported", []string{"header"}},
		{"resource_name", e.name},
	} {
		value, err := json.Marshal(member.value)
		if err == nil && string(value) != "null" {
			text, _ = rawjson.Add(text, member.name, value)
		}
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	x.write(http.StatusOK, pieces{text})
}
