package credentials

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

const (
	// shortest is how long a secret must be at least to be looked for: less is
	// found in what has nothing to do with it.
	shortest = 12
	probe    = 16 // bytes of it that are searched for
)

// scrubber blanks one credential in what a server answers: there it is of no use
// to anybody but a model or a log. It stands for the secret itself and for how
// others write it.
type scrubber struct {
	of      *string // the secret's identity
	needles []needle
	least   int // length of the shortest needle
}

// needle is a text that is looked for, by probe bytes of it from at on: short
// texts that begin with a letter that others seldom have are found fastest.
type needle struct {
	text []byte
	at   int
}

func newNeedle(text string) needle {
	last := len(text) - min(len(text), probe)
	at := strings.IndexAny(text[:last+1], "QXZJKVYqxzjf")
	return needle{[]byte(text), max(at, 0)}
}

func newScrubber(secrets ...Secret) *scrubber {
	s := &scrubber{}
	seen := map[string]bool{}
	add := func(text string) {
		if len(text) >= shortest && !seen[text] {
			seen[text] = true
			s.needles = append(s.needles, newNeedle(text))
			if s.least == 0 || len(text) < s.least {
				s.least = len(text)
			}
		}
	}
	for i, secret := range secrets {
		text := secret.reveal()
		if i == 0 {
			s.of = secret.p
		}
		if len(text) < shortest {
			continue
		}
		add(text)
		if quoted, err := json.Marshal(text); err == nil {
			add(strings.Trim(string(quoted), `"`))
		}
		add(url.QueryEscape(text))
		add(hex.EncodeToString([]byte(text)))
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for shift := range 3 { // whatever stands before it; the first and last characters depend on that
				first := []int{0, 2, 3}[shift]
				last := (shift + len(text)) / 3 * 4
				add(enc.EncodeToString([]byte(strings.Repeat("\x00", shift) + text))[first:last])
			}
		}
	}
	return s
}

// clean blanks in place; nothing changes its length, so that what has announced
// one keeps its word.
func (s *scrubber) clean(text []byte) {
	for _, n := range s.needles {
		part := n.text[n.at:min(n.at+probe, len(n.text))]
		for from := 0; ; {
			i := bytes.Index(text[from:], part)
			if i < 0 {
				break
			}
			begin := from + i - n.at
			if begin >= 0 && bytes.HasPrefix(text[begin:], n.text) {
				copy(text[begin:], bytes.Repeat([]byte{'*'}, len(n.text)))
			}
			from += i + 1
		}
	}
}

// begun returns how many bytes at the end of text may be the beginning of a
// secret.
func (s *scrubber) begun(text []byte) int {
	most := 0
	for _, n := range s.needles {
		tail := text[max(0, len(text)-len(n.text)+1):]
		if len(tail) == 0 || bytes.IndexByte(n.text, tail[len(tail)-1]) < 0 { // the end of nearly every message
			continue
		}
		for i := 0; ; i++ {
			next := bytes.IndexByte(tail[i:], n.text[0])
			if next < 0 {
				break
			}
			if i += next; bytes.HasPrefix(n.text, tail[i:]) {
				most = max(most, len(tail)-i)
				break
			}
		}
	}
	return most
}

func (s *scrubber) has(text string) bool {
	b := []byte(text)
	s.clean(b)
	return string(b) != text
}

// response blanks an answer, whose body is still to be read. An error of the
// transport may quote one.
func (s *scrubber) response(resp *http.Response, err error) (*http.Response, error) {
	if len(s.needles) == 0 {
		return resp, err
	}
	if err != nil {
		if s.has(err.Error()) {
			err = errors.New("the answer is no HTTP")
		}
		return resp, err
	}
	resp.Status = s.text(resp.Status)
	for _, values := range resp.Header {
		for i := range values {
			values[i] = s.text(values[i])
		}
	}
	if _, both := resp.Body.(io.Writer); resp.Body != nil && resp.Body != http.NoBody && !both {
		resp.Body = &scrubbed{ReadCloser: resp.Body, by: s}
	}
	return resp, nil
}

// Scrub blanks in an answer what was sent to get it. A grant's client does so by
// itself; this is for transports that stand below one and read what it says.
func Scrub(resp *http.Response, sent Secret) *http.Response {
	resp, _ = newScrubber(sent).response(resp, nil)
	return resp
}

func (s *scrubber) text(text string) string {
	if len(text) < s.least {
		return text
	}
	b := []byte(text)
	s.clean(b)
	return string(b)
}

// scrubbed is a body without the credential. What may be the beginning of one is
// kept back until it is known to be none.
type scrubbed struct {
	io.ReadCloser
	by    *scrubber
	ready []byte // to be handed out
	held  []byte // may be a beginning
	err   error
}

// Read implements io.Reader.
func (s *scrubbed) Read(p []byte) (int, error) {
	for len(s.ready) == 0 && s.err == nil {
		if len(p) == 0 {
			return 0, nil
		}
		text := p // what is read goes straight to the caller, but for what is held
		if len(s.held) > 0 {
			text = make([]byte, len(s.held)+max(len(p), 512))
			copy(text, s.held)
		}
		var n int
		n, s.err = s.ReadCloser.Read(text[len(s.held):])
		text = text[:len(s.held)+n]
		s.by.clean(text)
		keep := 0
		if s.err == nil {
			keep = s.by.begun(text)
		}
		direct := len(s.held) == 0
		s.held = append([]byte(nil), text[len(text)-keep:]...)
		text = text[:len(text)-keep]
		if direct && len(text) > 0 {
			return len(text), s.err
		}
		s.ready = text
	}
	n := copy(p, s.ready)
	s.ready = s.ready[n:]
	if len(s.ready) > 0 {
		return n, nil
	}
	return n, s.err
}
