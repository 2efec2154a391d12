package rawjson

import "strings"

// Unescape returns the name that a token of a JSON pointer stands for: ~1 is a
// slash, ~0 a tilde (RFC 6901, sections 3 and 4). ok is false where a tilde stands
// before anything else.
func Unescape(token string) (name string, ok bool) {
	if strings.Count(token, "~") != strings.Count(token, "~0")+strings.Count(token, "~1") {
		return "", false
	}
	return strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~"), true
}
