package rest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const upperHex = "0123456789ABCDEF"

// escape appends s with everything percent-encoded but the unreserved characters
// (RFC 3986, section 2.3): what comes of it has one reading wherever it stands.
func escape(buf []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			buf = append(buf, c)
			continue
		}
		buf = append(buf, '%', upperHex[c>>4], upperHex[c&15])
	}
	return buf
}

// plain returns a JSON value as it stands in a path, query, form or header: a
// string without its quotes, anything else as its text.
func plain(v json.RawMessage) string {
	if rawjson.Kind(v) == '"' {
		return rawjson.String(v)
	}
	return string(bytes.TrimSpace(v))
}

// pair appends name=value to a query or form.
func pair(buf []byte, name, value string) []byte {
	if len(buf) > 0 {
		buf = append(buf, '&')
	}
	return escape(append(escape(buf, name), '='), value)
}

// The delimiters of arrays and objects in one value (OpenAPI 3.1, section
// 4.8.12.2, Style Values), percent-encoded where a URL needs it.
var delimiters = map[string]string{"comma": ",", "space": "%20", "pipe": "%7C"}

// styled appends a parameter to a query or form in a style of the page.
func styled(buf []byte, name string, v json.RawMessage, style string) []byte {
	kind := rawjson.Kind(v)
	switch {
	case kind != '[' && kind != '{', style == "json":
		return pair(buf, name, plain(v))
	case delimiters[style] != "":
		return delimited(buf, name, v, delimiters[style])
	case kind == '{':
		for m := range rawjson.Members(v) {
			if style == "deep" || style == "brackets" {
				m.Name = name + "[" + m.Name + "]"
			}
			buf = styled(buf, m.Name, m.Value, style)
		}
		return buf
	}
	i := 0
	for e := range rawjson.Elements(v) {
		switch inner := rawjson.Kind(e); {
		case style == "deep", style == "brackets" && (inner == '{' || inner == '['):
			buf = styled(buf, name+"["+strconv.Itoa(i)+"]", e, style)
		case style == "brackets":
			buf = pair(buf, name+"[]", plain(e))
		default:
			buf = pair(buf, name, plain(e))
		}
		i++
	}
	return buf
}

func delimited(buf []byte, name string, v json.RawMessage, delimiter string) []byte {
	if len(buf) > 0 {
		buf = append(buf, '&')
	}
	buf = append(escape(buf, name), '=')
	some := false
	item := func(s string) {
		if some {
			buf = append(buf, delimiter...)
		}
		buf, some = escape(buf, s), true
	}
	for e := range rawjson.Elements(v) {
		item(plain(e))
	}
	for m := range rawjson.Members(v) {
		item(m.Name)
		item(plain(m.Value))
	}
	return buf
}

// joined is an argument in a path or header, where arrays are lists with commas.
func joined(v json.RawMessage) string {
	if rawjson.Kind(v) != '[' {
		return plain(v)
	}
	var items []string
	for e := range rawjson.Elements(v) {
		items = append(items, plain(e))
	}
	return strings.Join(items, ",")
}

// form returns a body as HTML forms send it (WHATWG URL, section 5), nested
// values with brackets.
func (m *maker) form(values []json.RawMessage) ([]byte, error) {
	var buf []byte
	for _, c := range m.formConstants {
		buf = styled(buf, c.name, c.value, "deep")
	}
	for i := range m.params {
		p := &m.params[i]
		if p.in != inBody || values[i] == nil {
			continue
		}
		style := p.style
		if style == "" {
			style = "deep"
		}
		var err error
		if buf, err = m.sent.field(buf, p, formName(p.wire), values[i], style); err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// formName turns a JSON pointer into the name of a field with brackets.
func formName(name string) string {
	if !strings.HasPrefix(name, "/") {
		return name
	}
	tokens := pointerTokens(name)
	for i := range tokens[1:] {
		tokens[i+1] = "[" + tokens[i+1] + "]"
	}
	return strings.Join(tokens, "")
}

// multipart returns a body of parts (RFC 7578) and its content type.
func (m *maker) multipart(values []json.RawMessage) ([]byte, string, error) {
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for _, c := range m.formConstants {
		if err := w.WriteField(c.name, plain(c.value)); err != nil {
			return nil, "", err
		}
	}
	for i := range m.params {
		p := &m.params[i]
		if p.in != inBody || values[i] == nil {
			continue
		}
		for _, v := range p.parts(values[i]) {
			if err := p.part(w, v); err != nil {
				return nil, "", err
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	return buf.Bytes(), w.FormDataContentType(), nil
}

// parts returns what a value is the parts of: a list of files or of plain values has
// one for each (OpenAPI 3.0.4, Encoding Object, contentType; RFC 7578, section 4.3),
// and anything else is one.
func (p *param) parts(v json.RawMessage) []json.RawMessage {
	if rawjson.Kind(v) != '[' {
		return []json.RawMessage{v}
	}
	list := slices.Collect(rawjson.Elements(v))
	nested := func(e json.RawMessage) bool { return rawjson.Kind(e) == '{' || rawjson.Kind(e) == '[' }
	switch {
	case p.base64(), TextFile(p.format):
		return list
	case p.style == "json", slices.ContainsFunc(list, nested):
		return []json.RawMessage{v}
	case p.style == "comma":
		return []json.RawMessage{rawjson.Quote(joined(v))}
	}
	return list
}

// part writes one part: a file in base64, a file of text, JSON or text.
func (p *param) part(w *multipart.Writer, v json.RawMessage) error {
	content, typ := []byte(plain(v)), ""
	switch kind := rawjson.Kind(v); {
	case p.base64() && kind == 'n', TextFile(p.format) && kind == 'n':
		return nil // no file
	case p.base64():
		typ = "application/octet-stream"
		var err error
		if content, err = p.decode(v); err != nil {
			return err
		}
	case TextFile(p.format):
		typ = p.format
	case kind == '{' || kind == '[':
		typ = "application/json"
	}
	disposition := fmt.Sprintf(`form-data; name="%s"`, quoteEscaper.Replace(formName(p.wire)))
	if p.base64() || TextFile(p.format) {
		disposition += fmt.Sprintf(`; filename="%s"`, quoteEscaper.Replace(p.arg))
	}
	header := textproto.MIMEHeader{"Content-Disposition": {disposition}}
	if typ != "" {
		header.Set("Content-Type", typ)
	}
	part, err := w.CreatePart(header)
	if err != nil {
		return err
	}
	_, _ = part.Write(content) // into memory
	return nil
}

// base64 reports whether an argument is a file that a model can only give in
// base64, in a body that is none of JSON.
func (p *param) base64() bool { return p.format == "byte" || p.format == "binary" }

func (p *param) decode(v json.RawMessage) ([]byte, error) {
	content, err := base64.StdEncoding.DecodeString(plain(v))
	if err != nil || rawjson.Kind(v) != '"' {
		return nil, invalid("%s must be a file in base64 (RFC 4648, section 4)", p.arg)
	}
	return content, nil
}

// TextFile reports whether the format of a parameter is a media type of text, such
// as text/csv: in a multipart body it is a file, and given as it stands.
func TextFile(format string) bool {
	if !strings.Contains(format, "/") {
		return false
	}
	m, params, err := mime.ParseMediaType(format)
	return err == nil && m == format && len(params) == 0 && !strings.Contains(m, "*") &&
		(strings.HasPrefix(m, "text/") || strings.HasSuffix(m, "json") || strings.HasSuffix(m, "xml"))
}

var quoteEscaper = strings.NewReplacer("\\", "\\\\", `"`, "%22", "\r", "%0D", "\n", "%0A")
