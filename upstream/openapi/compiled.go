package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// version is that of the compiler: a compiled form of another one is made anew.
// Raise it with every change of what is compiled.
const version = 3

// maxCompiled bounds what a compiled form may unpack to.
const maxCompiled = 128 << 20

// Compiled is what a document and a selection come to.
type Compiled struct {
	Version    int             `json:"version"`
	Key        string          `json:"key"`
	Definition rest.Definition `json:"definition"`          // without a base URL
	Operations []Operation     `json:"operations"`          // those that were named
	Unmatched  []string        `json:"unmatched,omitempty"` // what names no operation
	Lost       []string        `json:"lost,omitempty"`      // what cannot be followed of the document itself
	// Servers is where the document says that the source is. It is for people to
	// look at: no request goes there for that.
	Servers []string `json:"servers,omitempty"`
}

// Key binds a compiled form to what it was made of: document is a hash of the
// document's text or, where that is not at hand, its address.
func Key(document string, s Selection) string {
	text, _ := json.Marshal(struct { // strings and a number
		Version   int
		Document  string
		Selection Selection
	}{version, document, s})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Encode returns the compiled form to keep: the same bytes for the same value.
func (c *Compiled) Encode() ([]byte, error) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	enc := json.NewEncoder(z)
	enc.SetEscapeHTML(false)
	if err := errors.Join(enc.Encode(c), z.Close()); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// Decode is the reverse of [Compiled.Encode]. It fails for what was not made of
// what key stands for.
func Decode(kept []byte, key string) (*Compiled, error) {
	z, err := gzip.NewReader(bytes.NewReader(kept))
	if err != nil {
		return nil, fmt.Errorf("the compiled form is broken: %w", err)
	}
	c := &Compiled{}
	dec := json.NewDecoder(io.LimitReader(z, maxCompiled))
	dec.UseNumber()
	if err := dec.Decode(c); err != nil {
		return nil, fmt.Errorf("the compiled form is broken: %w", err)
	}
	if c.Version != version || c.Key != key {
		return nil, errors.New("the compiled form belongs to another document, selection or version")
	}
	return c, nil
}
