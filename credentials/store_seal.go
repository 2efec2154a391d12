package credentials

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"filippo.io/age"
)

// record is what a sealed file holds. Ids and tokens are bytes: JSON would
// change what is no UTF-8.
type record struct {
	Version    int               `json:"version"`
	ID         []byte            `json:"id"`         // of the credential: binds the file to it
	Generation uint64            `json:"generation"` // how often it was saved
	Access     []byte            `json:"access,omitempty"`
	Refresh    []byte            `json:"refresh,omitempty"`
	Expiry     time.Time         `json:"expiry,omitzero"`
	Scopes     []string          `json:"scopes,omitempty"`
	Values     map[string]string `json:"values,omitempty"`

	by int // which key opened it
}

const recordVersion = 1

func recordOf(id string, generation uint64, t Token) record {
	return record{
		Version: recordVersion, ID: []byte(id), Generation: generation,
		Access: []byte(t.Access.reveal()), Refresh: []byte(t.Refresh.reveal()),
		Expiry: t.Expiry, Scopes: t.Scopes, Values: t.Values,
	}
}

func (r record) token() Token {
	t := Token{Expiry: r.Expiry, Scopes: r.Scopes, Values: r.Values}
	if len(r.Access) > 0 {
		t.Access = NewSecret(string(r.Access))
	}
	if len(r.Refresh) > 0 {
		t.Refresh = NewSecret(string(r.Refresh))
	}
	return t
}

// seal encrypts r.
func seal(r record, to age.Recipient) ([]byte, error) {
	plain, err := json.Marshal(r)
	if err != nil { // a time beyond the year 9999
		return nil, errors.New("the token has an expiry that cannot be written")
	}
	if len(plain) > maxSealed/2 {
		return nil, fmt.Errorf("the token has more than %d bytes", maxSealed/2)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, err
	}
	if _, err = w.Write(plain); err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

// open decrypts what seal has made. Its errors repeat nothing of data, which may
// be a secret that somebody put into the wrong place.
func open(data []byte, keys []*age.X25519Identity) (r record, hint string, err error) {
	damaged := errors.New("it is damaged, or was not written by Bulkhead")
	const again = "restore it from a backup, or delete the file and sign in again"
	for i, key := range keys {
		var plain io.Reader
		plain, err = age.Decrypt(bytes.NewReader(data), key)
		if other, ok := errors.AsType[*age.NoIdentityMatchError](err); ok && other != nil {
			continue
		}
		if err != nil {
			return record{}, again, damaged
		}
		text, err := io.ReadAll(plain)
		if err != nil || json.Unmarshal(text, &r) != nil {
			return record{}, again, damaged
		}
		if r.Version != recordVersion {
			return record{}, "use the newer Bulkhead that wrote it", fmt.Errorf("it has version %d, this program knows %d", r.Version, recordVersion)
		}
		r.by = i
		return r, "", nil
	}
	return record{}, "give the key that sealed it beside the new one, or delete the file and sign in again", errors.New("it is sealed with another key")
}

// parseKeys reads one identity in each line; comments begin with #.
func parseKeys(s Secret) ([]*age.X25519Identity, error) {
	var keys []*age.X25519Identity
	n := 0
	for line := range strings.Lines(s.reveal()) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := age.ParseX25519Identity(line)
		if err != nil { // which may repeat the line
			return nil, fmt.Errorf("line %d of the key is no age X25519 identity", n)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key")
	}
	return keys, nil
}
