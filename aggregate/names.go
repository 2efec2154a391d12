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

// namer gives each tool its exposed name and remembers it: a name that a client
// has seen never comes to mean another tool while we run, or a write could go
// to the wrong source. New names depend only on the sequence of calls, so
// callers go through upstreams and tools in a fixed order.
type namer struct {
	names map[namedTool]string
	taken map[string]bool // the values of names
}

// namedTool is everything that a name is made from.
type namedTool struct {
	id           upstream.ID
	prefix, tool string
}

// maxNames bounds what is remembered against an upstream that keeps renaming
// its tools.
const maxNames = 200_000

// newNamers returns a namer for each list: a prompt may be called like a tool.
func newNamers() (n perList[*namer]) {
	for i := range n {
		n[i] = newNamer()
	}
	return n
}

func newNamer() *namer {
	return &namer{names: make(map[namedTool]string), taken: make(map[string]bool)}
}

// trim forgets everything if it is too much. It is called between two builds of
// the catalog: within one, a name must not be given twice.
func (n *namer) trim() {
	if len(n.names) >= maxNames {
		clear(n.names)
		clear(n.taken)
	}
}

// name returns <prefix>_<tool>, or <tool> where prefix is empty, in characters
// that every host takes and at most maxName of them. A name that is taken
// degrades: to <tool>_<upstream> where there is no prefix, then to a suffix
// hashed from the tool's full identity.
func (n *namer) name(id upstream.ID, prefix, tool string) string {
	key := namedTool{id, prefix, tool}
	if name, ok := n.names[key]; ok {
		return name
	}
	name := n.choose(id, prefix, tool)
	n.names[key] = name
	return name
}

func (n *namer) choose(id upstream.ID, prefix, tool string) string {
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
