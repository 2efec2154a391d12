package openapi

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// maxName is what hosts allow a tool's name to have, with the prefix that it
// gets from the upstream.
const maxName = 64

// plain returns s with every run of other characters than letters, digits, _
// and - made one _, none at its ends.
func plain(s string) string {
	var b strings.Builder
	gap := false
	for _, r := range s {
		if r == '-' || r == '_' || (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') {
			if gap && b.Len() > 0 {
				b.WriteByte('_')
			}
			b.WriteRune(r)
			gap = false
			continue
		}
		gap = true
	}
	return strings.Trim(b.String(), "_")
}

// name gives each operation the name of its tool: the operationId or, where
// there is none, the method and the path, with a letter in front. Names are given over the whole
// document, so that one stays what it is whatever else is chosen. Of two that
// would have the same, the second by path and method gets a hash of these.
func (d *document) name() {
	ids := make(map[string]int, len(d.paths))
	for i := range d.paths {
		ids[d.paths[i].id]++
	}
	taken := make(map[string]bool, len(d.paths))
	for i := range d.paths {
		op := &d.paths[i]
		op.named = op.id
		if ids[op.id] > 1 || op.id == "" || strings.HasPrefix(op.id, "/") || strings.ContainsFunc(op.id, odd) {
			op.named = op.method + " " + op.path
		}
		op.name = plain(op.id)
		if op.name == "" {
			op.name = plain(strings.ToLower(op.method) + " " + op.path)
		}
		if c := op.name[0] | 0x20; c < 'a' || c > 'z' {
			op.name = "op_" + op.name
		}
		if taken[strings.ToLower(op.name)] {
			op.name += "_" + hash(op.method+" "+op.path)
		}
		taken[strings.ToLower(op.name)] = true
	}
}

// odd reports whether a character of an operationId cannot stand in a selection.
func odd(r rune) bool { return r == '*' || unicode.IsSpace(r) || !unicode.IsPrint(r) }

// cut shortens a name to room characters, the last of them a hash of the whole.
func cut(name string, room int) string {
	if len(name) <= room {
		return name
	}
	tail := "_" + hash(name)
	return strings.TrimRight(name[:max(room-len(tail), 0)], "_-") + tail
}

// hash is short: it keeps names of one document apart, no more.
func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// quoted shows text of a document in a message: bounded, without control
// characters.
func quoted(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}

// unescape undoes the percent-encoding of a URI fragment.
func unescape(fragment string) string {
	if s, err := url.PathUnescape(fragment); err == nil {
		return s
	}
	return fragment
}

// brief returns text on one line in at most most bytes: its first paragraph,
// cut at a word.
func brief(text string, most int) string {
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
	if most == 0 {
		return ""
	}
	text, _, _ = strings.Cut(text, "\n\n")
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= most {
		return text
	}
	text = strings.ToValidUTF8(text[:most-len("…")], "")
	if i := strings.LastIndexByte(text, ' '); i > most/2 {
		text = text[:i]
	}
	return text + "…"
}
