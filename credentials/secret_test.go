package credentials_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// holder keeps secrets wherever a struct can.
type holder struct {
	Exported   credentials.Secret
	unexported credentials.Secret
	pointer    *credentials.Secret
	list       []credentials.Secret
	table      map[string]credentials.Secret
	any        any
	inner      struct {
		deep struct{ s credentials.Secret }
	}
}

// renderings returns what every way of printing makes of v.
func renderings(tb interface{ Fatalf(string, ...any) }, v any) map[string]string {
	out := map[string]string{}
	for _, verb := range "vsqxXdp" {
		for _, flags := range []string{"", "+", "#", " ", "-20", ".9"} {
			format := "%" + flags + string(verb)
			out[format] = fmt.Sprintf(format, v)
		}
	}
	out["Sprint"] = fmt.Sprint(v)
	out["error"] = fmt.Errorf("failed with %v: %w", v, errors.New("x")).Error()
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("m", "v", v, slog.Group("g", "v", v))
		out[name] = b.String()
	}
	for name, encode := range map[string]func(any) ([]byte, error){"json": json.Marshal, "xml": xml.Marshal, "toml": toml.Marshal} {
		data, _ := encode(v) // some refuse some types, which is as good
		out[name] = string(data)
	}
	var b bytes.Buffer
	_ = gob.NewEncoder(&b).Encode(v)
	out["gob"] = b.String()
	return out
}

func TestSecretIsNeverPrinted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const mark = "CaNaRy"
		v := mark + rapid.StringN(0, 40, 200).Draw(t, "rest")
		s := credentials.NewSecret(v)
		h := holder{Exported: s, unexported: s, pointer: &s, list: []credentials.Secret{s}, table: map[string]credentials.Secret{"k": s}, any: s}
		h.inner.deep.s = s
		g, err := credentials.NewGrant(credentials.Spec{Name: "crm", Origins: []string{"https://example.com"},
			Attach: credentials.Basic("u", s), Env: map[string]credentials.Secret{"A": credentials.NewSecret(mark)}})
		if err != nil {
			t.Fatalf("%v", err)
		}
		for name, value := range map[string]any{"value": s, "pointer": &s, "struct": h, "struct pointer": &h,
			"list": []credentials.Secret{s}, "array": [1]credentials.Secret{s}, "map": map[string]credentials.Secret{"k": s}, "nested": []any{map[string]any{"h": h}},
			"bearer": credentials.Bearer(credentials.NewSecret(mark + "x")), "basic": credentials.Basic("u", s), "grant": g, "client": g.Client(nil)} {
			for how, text := range renderings(t, value) {
				for _, form := range []string{mark, "43614e615279", "43614E615279", "Q2FOYVJ5", "67 97 78 97 82 121"} {
					if strings.Contains(text, form) {
						t.Fatalf("%s by %s gives the secret away: %s", name, how, text)
					}
				}
			}
		}
	})
}

func TestSecretSaysThatItIsThere(t *testing.T) {
	s := credentials.NewSecret("x")
	data, err := json.Marshal(s)
	if err != nil || string(data) != `"[redacted]"` || fmt.Sprintf("%d|%+v|%#v", s, s, s) != "[redacted]|[redacted]|[redacted]" {
		t.Errorf("%s %v %#v", data, err, s)
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(s); err != nil || !bytes.Contains(b.Bytes(), []byte("[redacted]")) {
		t.Errorf("gob: %v %q", err, b.Bytes())
	}
	var back credentials.Secret
	if err := gob.NewDecoder(&b).Decode(&back); err == nil {
		t.Error("gob decoded a secret")
	}
	if credentials.Reveal(s) != "x" || s.IsZero() || !(credentials.Secret{}).IsZero() || !credentials.NewSecret("").IsZero() {
		t.Error("lost")
	}
}
