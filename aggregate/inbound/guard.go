package inbound

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// guard refuses requests that a web page tricked a browser into sending, by a
// rebound DNS name (Host) or across origins (Origin; MCP, transports, §Security
// Warning).
type guard struct{ hosts, origins []string }

// before returns a handler that lets through what next may see.
func (g guard) before(next http.Handler) http.Handler {
	return g.hosted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if origins := r.Header.Values("Origin"); len(origins) > 0 {
			if len(origins) > 1 || !g.allowedOrigin(origins[0]) {
				refuse(w, http.StatusForbidden, "the Origin header names neither this machine nor a configured origin")
				return
			}
			allowOrigin(w.Header(), origins[0])
		}
		if r.Method == http.MethodOptions {
			preflight(w, r)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

// hosted returns a handler that lets through to next what was sent to a host that
// is ours, from wherever.
func (g guard) hosted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The deadline of the connection's last answer is still set.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		if !g.allowedHost(r.Host) {
			refuse(w, http.StatusForbidden, "the Host header names neither this machine nor a configured host")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (g guard) allowedHost(host string) bool {
	if slices.ContainsFunc(g.hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
		return true
	}
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if strings.Trim(port, "0123456789") != "" {
			return false
		}
		name = h
	} else {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	}
	return isLoopback(name) ||
		slices.ContainsFunc(g.hosts, func(h string) bool { return strings.EqualFold(h, name) })
}

func (g guard) allowedOrigin(origin string) bool {
	if slices.Contains(g.origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return false
	}
	return origin == u.Scheme+"://"+u.Host && isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// The headers of MCP that a page may send and read.
const (
	corsMethods = "GET, POST, DELETE"
	corsRead    = "Mcp-Session-Id, WWW-Authenticate"
)

var corsSend = []string{
	"accept", "authorization", "content-type", "last-event-id",
	"mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id",
}

func allowOrigin(h http.Header, origin string) {
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", corsRead)
	h.Add("Vary", "Origin")
}

func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Allow", corsMethods+", OPTIONS")
	if r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", corsMethods)
		h.Set("Access-Control-Allow-Headers", strings.Join(sendable(r.Header.Get("Access-Control-Request-Headers")), ", "))
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}

// sendable returns the header names that a page may send: all we know, and of
// those it asks for the ones that mirror parameters (MCP 2026-07-28, Mcp-Param-*).
func sendable(asked string) []string {
	out := slices.Clone(corsSend)
	for name := range strings.SplitSeq(strings.ToLower(asked), ",") {
		if name = strings.TrimSpace(name); strings.HasPrefix(name, "mcp-param-") {
			out = append(out, name)
		}
	}
	return out
}
