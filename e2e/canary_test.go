package e2e_test

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// canary is a secret of one source that must turn up in its own place only.
type canary struct{ source, field, value string }

func (c canary) String() string { return c.field + " of " + c.source }

func newCanary(source, field string) canary { return canary{source, field, rand.Text() + rand.Text()} }

// fragment is how much of a secret counts as the secret.
const fragment = 12

// spelling is one way to write a secret: every fragment of it gives a text of a
// fixed length.
type spelling struct {
	name  string
	write func(string) string
}

// each writes every byte of a text by a format.
func each(format string) func(string) string {
	return func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, format, s[i])
		}
		return b.String()
	}
}

func inBase64(e *base64.Encoding) func(string) string {
	return func(s string) string { return e.EncodeToString([]byte(s)) }
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

var spellings = []spelling{
	{"raw", func(s string) string { return s }},
	{"reversed", reversed},
	{"hex", each("%02x")}, {"upper hex", each("%02X")},
	{"percent", each("%%%02X")}, {"lower percent", each("%%%02x")},
	{"JSON", each(`\u%04x`)}, {"upper JSON", each(`\u%04X`)},
	// By whole groups of three: whatever stands before a secret, one of three
	// neighbouring fragments begins a group.
	{"base64", inBase64(base64.RawStdEncoding)}, {"base64url", inBase64(base64.RawURLEncoding)},
}

// scanner finds secrets, whole or in part, in anything.
type scanner struct {
	windows map[int]map[string]string // by length: text, and what it is
	begins  [1 << 16]bool             // the first two bytes of any of them
}

func newScanner(canaries []canary) *scanner {
	s := &scanner{windows: map[int]map[string]string{}}
	for _, c := range canaries {
		for _, sp := range spellings {
			for i := 0; i+fragment <= len(c.value); i++ {
				text := sp.write(c.value[i : i+fragment])
				if s.windows[len(text)] == nil {
					s.windows[len(text)] = map[string]string{}
				}
				s.windows[len(text)][text] = c.source + "\x00" + c.field + "\x00" + sp.name
				s.begins[int(text[0])<<8|int(text[1])] = true
			}
		}
	}
	return s
}

// find is a secret that was found.
type find struct{ source, field, how, around string }

func (f find) String() string {
	return fmt.Sprintf("%s of %s, %s: %q", f.field, f.source, f.how, f.around)
}

// scan returns what is in text, each secret and way of writing it once.
func (s *scanner) scan(text []byte) (found []find) {
	seen := map[string]bool{}
	note := func(what, around string) {
		if !seen[what] {
			seen[what] = true
			parts := strings.Split(what, "\x00")
			found = append(found, find{parts[0], parts[1], parts[2], around})
		}
	}
	for i := 0; i+fragment <= len(text); i++ {
		if !s.begins[int(text[i])<<8|int(text[i+1])] {
			continue
		}
		for n, texts := range s.windows {
			if i+n <= len(text) {
				if what, ok := texts[string(text[i:i+n])]; ok {
					note(what, string(text[max(0, i-60):min(len(text), i+n+20)]))
				}
			}
		}
	}
	for rest := text; ; { // RFC 1952, section 2.3.1
		i := bytes.Index(rest, []byte{0x1f, 0x8b, 8})
		if i < 0 {
			return found
		}
		if z, err := gzip.NewReader(bytes.NewReader(rest[i:])); err == nil {
			inner, _ := io.ReadAll(io.LimitReader(z, 64<<20)) // as far as it goes
			for _, f := range s.scan(inner) {
				note(f.source+"\x00"+f.field+"\x00"+f.how+" in gzip", f.around)
			}
		}
		rest = rest[i+3:]
	}
}

// What is planted is found, however it is written and wherever it stands, and
// nothing else.
func TestScannerFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	mine, other := newCanary("crm", "token"), newCanary("erp", "key")
	s := newScanner([]canary{mine, other})
	zipped := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(strings.Repeat("filling ", 50) + text))
		_ = z.Close()
		return b.String()
	}
	v := mine.value
	pair, _ := json.Marshal(map[string]string{"a": `"` + v})
	for name, text := range map[string]string{
		"raw": v, "fragment": v[20 : 20+fragment], "cut": v[:30], "reversed": reversed(v), "hex": hex.EncodeToString([]byte(v)),
		"upper hex": strings.ToUpper(hex.EncodeToString([]byte(v))), "odd hex": "a" + hex.EncodeToString([]byte(v)), "query": url.QueryEscape("&=" + v), "percent": each("%%%02x")(v),
		"JSON": string(pair), "unicode escapes": each(`\u%04X`)(v), "base64": base64.StdEncoding.EncodeToString([]byte(v)), "base64, 1": base64.StdEncoding.EncodeToString([]byte("x" + v)),
		"base64, 2": base64.URLEncoding.EncodeToString([]byte("xx" + v + "y")), "base64 of a pair": base64.StdEncoding.EncodeToString([]byte("user:" + v)), "gzip": zipped(v),
		"gzip of hex": zipped(hex.EncodeToString([]byte(v))), "gzip in gzip": zipped(zipped(v)), "gzip cut": zipped(v + rand.Text())[:len(zipped(v))-9], "fragment in base64": base64.StdEncoding.EncodeToString([]byte("xxxx" + v[5:5+fragment+6])),
	} {
		for _, in := range []string{text, strings.Repeat("ordinary text ", 100) + text + "\n", "\x00\xff\x1f\x8b\x08" + text} {
			found := s.scan([]byte(in))
			if len(found) == 0 || found[0].source != "crm" || found[0].field != "token" {
				t.Errorf("%s: %v", name, found)
			}
		}
	}
	for _, text := range []string{"", "x", v[:fragment-1], strings.Repeat(rand.Text(), 1000), zipped("nothing"), strings.ToLower(v), base64.StdEncoding.EncodeToString([]byte(rand.Text()))} {
		if found := s.scan([]byte(text)); len(found) > 0 {
			t.Errorf("%.60q: %v", text, found)
		}
	}
}
