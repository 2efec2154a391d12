package aggregate

import (
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// aliasHost ends the authority of every alias.
const aliasHost = ".bulkhead"

// noScheme is the scheme of the alias of a text that begins with none, or with
// this one.
const noScheme = "bulkhead"

// alias returns a URI that means uri of one upstream and no other:
// <scheme>://<upstream>.bulkhead/<what follows the colon>. The scheme stays
// because hosts go by it (ui, skill). It works on URI templates too, and what
// one of these expands to is the alias of what the original expands to.
func alias(id upstream.ID, uri string) string {
	s, rest := scheme(uri), uri
	if s == "" || s == noScheme {
		s = noScheme
	} else {
		rest = uri[len(s)+1:]
	}
	return s + "://" + string(id) + aliasHost + "/" + rest
}

// unalias is the reverse of alias; it reports false for what is no alias.
func unalias(uri string) (id upstream.ID, original string, ok bool) {
	s := scheme(uri)
	if s == "" {
		return "", "", false
	}
	after, ok := strings.CutPrefix(uri[len(s):], "://")
	if !ok {
		return "", "", false
	}
	host, rest, ok := strings.Cut(after, "/")
	if !ok {
		return "", "", false
	}
	name, ok := strings.CutSuffix(host, aliasHost)
	if !ok || name == "" {
		return "", "", false
	}
	if s != noScheme {
		rest = s + ":" + rest
	}
	return upstream.ID(name), rest, true
}

// scheme returns the scheme of a URI (RFC 3986, section 3.1), "" if it has
// none.
func scheme(uri string) string {
	for i, c := range []byte(uri) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case i > 0 && (c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.'):
		case i > 0 && c == ':':
			return uri[:i]
		default:
			return ""
		}
	}
	return ""
}
