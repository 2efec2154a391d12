package credentials

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a value that must not be printed. Every formatter, encoder and
// logger writes "[redacted]" for it. It holds a pointer, because fmt follows no
// pointer inside an unexported field, where it would print a string and ignore
// its methods. The zero value is the empty secret.
type Secret struct{ p *string }

// NewSecret seals v.
func NewSecret(v string) Secret { return Secret{&v} }

// IsZero reports whether there is no secret or an empty one.
func (s Secret) IsZero() bool { return s.reveal() == "" }

func (s Secret) reveal() string {
	if s.p == nil {
		return ""
	}
	return *s.p
}

// Digest returns the SHA-256 of the secret and its length in bytes: what is
// needed to recognise it when somebody shows it.
func (s Secret) Digest() (sum [sha256.Size]byte, length int) {
	return sha256.Sum256([]byte(s.reveal())), len(s.reveal())
}

// Format implements fmt.Formatter for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, redacted) // fmt has no use for the error
}

// String implements fmt.Stringer.
func (s Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, for JSON, XML, TOML and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// GobEncode implements gob.GobEncoder.
func (s Secret) GobEncode() ([]byte, error) { return []byte(redacted), nil }

// GobDecode implements gob.GobDecoder; a secret cannot be decoded.
func (s *Secret) GobDecode([]byte) error {
	return errors.New("credentials: a secret cannot be decoded")
}
