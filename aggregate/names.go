package aggregate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// maxName is the length of an exposed tool name that suits every host measured:
// hosts put a prefix of their own before it and cut or drop at 60 to 64.
const maxName = 48

// ownPrefix begins the names of our own tools; no upstream tool may take one.
const ownPrefix = "bulkhead_"

// namer gives each tool its exposed name. The outcome depends only on the
// sequence of calls, so callers go through upstreams and tools in a fixed
// order.
type namer struct {
	taken map[string]bool
}

func newNamer() *namer { return &namer{taken: make(map[string]bool)} }

// name returns <prefix>_<tool>, or <tool> where prefix is empty, in characters
// that every host takes and at most maxName of them. A name that is taken
// degrades: to <tool>_<upstream> where there is no prefix, then to a suffix
// hashed from the tool's full identity.
func (n *namer) name(id upstream.ID, prefix, tool string) string {
	full := tool
	if prefix != "" {
		full = prefix + "_" + tool
	}
	clean := legalName(full)
	candidates := []string{clean}
	if prefix == "" {
		candidates = append(candidates, clean+"_"+legalName(string(id)))
	}
	for _, c := range candidates {
		if len(c) <= maxName && n.take(c) {
			return c
		}
	}
	for salt := uint64(0); ; salt++ {
		c := hashedName(clean, id, tool, salt)
		if n.take(c) {
			return c
		}
	}
}

func (n *namer) take(name string) bool {
	if name == "" || n.taken[name] || strings.HasPrefix(name, ownPrefix) {
		return false
	}
	n.taken[name] = true
	return true
}

// legalName maps every character outside [A-Za-z0-9_-] to an underscore.
func legalName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, s)
}

func hashedName(clean string, id upstream.ID, tool string, salt uint64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", id, tool, salt))
	suffix := "_" + hex.EncodeToString(sum[:4])
	for strings.HasPrefix(clean, ownPrefix) {
		clean = strings.TrimPrefix(clean, ownPrefix)
	}
	if keep := maxName - len(suffix); len(clean) > keep {
		clean = clean[:keep]
	}
	return clean + suffix
}
