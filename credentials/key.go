package credentials

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
)

// Key signs JSON Web Tokens (RFC 7519): RS256 with an RSA key, ES256 with a P-256
// key (RFC 7518, section 3.1). It is printed as "[redacted]".
type Key struct {
	id     string
	signer crypto.Signer
}

// ParseKey reads a private key in PEM, as PKCS #8, PKCS #1 or SEC 1. id is what
// the server knows it by (kid), "" if it needs none. The error repeats nothing
// of text.
func ParseKey(text Secret, id string) (*Key, error) {
	data := []byte(text.reveal())
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, errors.New("there is no private key in it; it must be PEM text that begins with -----BEGIN")
		}
		var parsed any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" {
				return nil, errors.New("the key is encrypted; give it without a passphrase")
			}
			parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			parsed, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("the key is encrypted; give it without a passphrase")
		default:
			continue // a certificate or parameters beside it
		}
		if err != nil {
			return nil, errors.New("the private key cannot be read")
		}
		return newKey(parsed, id)
	}
}

func newKey(parsed any, id string) (*Key, error) {
	switch k := parsed.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < 2048 {
			return nil, fmt.Errorf("an RSA key of %d bits is too short; RS256 needs 2048", k.N.BitLen())
		}
		return &Key{id, k}, nil
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() {
			return nil, errors.New("ES256 needs a key on the curve P-256")
		}
		return &Key{id, k}, nil
	}
	return nil, errors.New("a key of this kind cannot be used; RSA and P-256 can")
}

// Format implements fmt.Formatter for every verb and flag.
func (*Key) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, redacted) // fmt has no use for the error
}

// isRSA reports whether it signs by RS256.
func (k *Key) isRSA() bool { _, ok := k.signer.(*rsa.PrivateKey); return ok }

// sign returns claims as a signed token in compact form (RFC 7515, section 3.1).
func (k *Key) sign(claims map[string]any) (string, error) {
	header := map[string]any{"typ": "JWT", "alg": "ES256"}
	if k.isRSA() {
		header["alg"] = "RS256"
	}
	if k.id != "" {
		header["kid"] = k.id
	}
	var text string
	for _, part := range []any{header, claims} {
		data, err := json.Marshal(part)
		if err != nil {
			return "", errors.New("the claims cannot be written as JSON")
		}
		text += base64.RawURLEncoding.EncodeToString(data) + "."
	}
	text = text[:len(text)-1]
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	var err error
	switch s := k.signer.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, s, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey: // two numbers of 32 bytes, not the usual DER (RFC 7518, section 3.4)
		r, v, signErr := ecdsa.Sign(rand.Reader, s, sum[:])
		if err = signErr; err == nil {
			signature = append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
		}
	}
	if err != nil {
		return "", fmt.Errorf("the key does not sign: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// fingerprint is SHA256: and the hash of the public key, in Base64.
func (k *Key) fingerprint() (string, error) {
	der, err := x509.MarshalPKIXPublicKey(k.signer.Public())
	if err != nil {
		return "", errors.New("the public key cannot be written")
	}
	sum := sha256.Sum256(der)
	return "SHA256:" + base64.StdEncoding.EncodeToString(sum[:]), nil
}
