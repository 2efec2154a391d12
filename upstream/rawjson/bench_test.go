package rawjson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// benchTexts are results of about 1 MB as upstreams send them.
func benchTexts(b *testing.B) map[string][]byte {
	b.Helper()
	row := `{"id":1042,"name":"Acme \"North\" GmbH","city":"Köln","note":null,"open":true,"total":1234.50},` + "\n"
	rows := strings.Repeat(row, 1<<20/len(row))
	asText := func(s string) []byte {
		raw, err := json.Marshal(map[string]any{"content": []any{map[string]string{"type": "text", "text": s}}})
		if err != nil {
			b.Fatal(err)
		}
		return raw
	}
	return map[string][]byte{
		"plain":    asText(strings.Repeat("The quick brown fox jumps over the lazy dog. ", 1<<20/45)),
		"escapes":  asText(rows), // JSON in JSON: a quote every few bytes
		"newlines": asText(strings.Repeat(strings.Repeat("x", 60)+"\n", 1<<20/61)),
		"objects":  []byte("[" + strings.TrimSuffix(rows, ",\n") + "]"),
	}
}

func BenchmarkCheck(b *testing.B) {
	for name, text := range benchTexts(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if err := rawjson.Check(text, rawjson.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMembers(b *testing.B) {
	for name, text := range benchTexts(b) {
		b.Run(name, func(b *testing.B) {
			text := append([]byte(`{"content":`), append(text, '}')...)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, ok := rawjson.Get(text, "isError"); ok {
					b.Fatal("there is none")
				}
			}
		})
	}
}
