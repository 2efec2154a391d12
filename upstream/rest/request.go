package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// segment is what stands between two slashes of a path: pieces of constant text
// and arguments.
type segment []piece

type piece struct {
	text, escaped string
	param         int // -1 for text
}

// wire is a request that has everything but its context.
type wire struct {
	method string
	url    url.URL
	header http.Header
	own    bool // the header is no other request's
	body   []byte
}

// set gives the request a header field of its own.
func (w *wire) set(name, value string) {
	if !w.own {
		w.header, w.own = w.header.Clone(), true
	}
	w.header.Set(name, value)
}

// build makes an [http.Request] of it, for one attempt. All of them have the same
// URL and header, which nobody may change (see [http.RoundTripper]).
func (w *wire) build(ctx context.Context) (*http.Request, error) {
	req := &http.Request{
		Method: w.method, URL: &w.url, Host: w.url.Host, Header: w.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if w.body != nil {
		req.ContentLength = int64(len(w.body))
		req.Body = io.NopCloser(bytes.NewReader(w.body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(w.body)), nil }
	}
	return req.WithContext(ctx), nil
}

// request lays the arguments of a call into its request. base has been checked;
// nothing that the arguments say changes its origin or the constant path.
func (m *maker) request(base *url.URL, in *input, at *page, key string) (*wire, error) {
	w := &wire{method: m.def.Method, url: *base, header: m.header}
	if err := m.setHeaders(w, in.values); err != nil {
		return nil, err
	}
	if at.Value != nil && m.pager.byURL() {
		path, query, _ := strings.Cut(rawjson.String(at.Value), "?")
		plainPath, err := url.PathUnescape(path)
		if err != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
			return nil, invalid("the cursor leads nowhere")
		}
		w.url.Path, w.url.RawPath, w.url.RawQuery = plainPath, path, query
	} else {
		if err := m.setPath(&w.url, in.values); err != nil {
			return nil, err
		}
		var err error
		if w.url.RawQuery, err = m.rawQuery(in.values); err != nil {
			return nil, err
		}
	}
	if name := m.def.Idempotency; strings.HasPrefix(name, "?") {
		w.url.RawQuery = string(pair([]byte(w.url.RawQuery), name[1:], key))
	} else if name != "" {
		w.set(name, key)
	}
	return w, m.setBody(w, in.values)
}

// setPath appends the path of the action, each argument within one segment.
func (m *maker) setPath(u *url.URL, values []json.RawMessage) error {
	if len(m.path) == 0 {
		return nil
	}
	escaped := append(make([]byte, 0, 128), u.EscapedPath()...)
	path := append(make([]byte, 0, 128), u.Path...)
	for _, s := range m.path {
		escaped, path = append(escaped, '/'), append(path, '/')
		from, argued := len(path), ""
		for _, p := range s {
			if p.param < 0 {
				escaped, path = append(escaped, p.escaped...), append(path, p.text...)
				continue
			}
			text := joined(values[p.param])
			argued = m.params[p.param].arg
			if text == "" {
				return invalid("%s must not be empty", argued)
			}
			escaped, path = escape(escaped, text), append(path, text...)
		}
		if argued != "" {
			if err := checkSegment(argued, string(path[from:])); err != nil {
				return err
			}
		}
	}
	u.Path = string(path)
	if u.RawPath = u.Path; string(escaped) != u.Path {
		u.RawPath = string(escaped)
	}
	return nil
}

// lookAlikes are characters that some servers take for a dot or a slash, because
// they normalise names (Unicode NFKC) or map them to their own character set.
// The last four are UTF-8 that is longer than it may be (RFC 3629, section 10).
var lookAlikes = strings.NewReplacer("．", ".", "․", ".", "。", ".", "‥", "..", "…", "...", "／", "/", "∕", "/", "⁄", "/", "＼", "/", "\\", "/",
	"\xc0\xae", ".", "\xc0\xaf", "/", "\xe0\x80\xae", ".", "\xe0\x80\xaf", "/")

// maxDecoded is how often a server may decode a path that it is given.
const maxDecoded = 4

// checkSegment refuses what a server might read as another path or as the end of a
// line, however often and however leniently it decodes it.
func checkSegment(arg, text string) error {
	if isName(text, "-_") { // which no server takes for anything else
		return nil
	}
	for range maxDecoded {
		if strings.ContainsFunc(text, isControl) {
			return invalid("%s must not have control characters such as line breaks, however they are encoded", arg)
		}
		for part := range strings.SplitSeq(lookAlikes.Replace(text), "/") {
			if part == "." || part == ".." {
				return invalid("%s must not have . or .. as a part of a path, however they are encoded", arg)
			}
		}
		again := decodedOnce(text)
		if again == text {
			return nil
		}
		text = again
	}
	return invalid("%s is percent-encoded over and over", arg)
}

// decodedOnce decodes the escapes of text and leaves what is none, such as %zz, as
// lenient servers do.
func decodedOnce(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if c, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				out, i = append(out, byte(c)), i+2
				continue
			}
		}
		out = append(out, text[i])
	}
	return string(out)
}

func (m *maker) rawQuery(values []json.RawMessage) (string, error) {
	buf := append(make([]byte, 0, 256), m.query...)
	for i := range m.params {
		if p := &m.params[i]; p.in == inQuery && values[i] != nil {
			var err error
			if buf, err = m.asked.field(buf, p, p.wire, values[i], p.style); err != nil {
				return "", err
			}
		}
	}
	return string(buf), nil
}

func (m *maker) setHeaders(w *wire, values []json.RawMessage) error {
	for i := range m.params {
		p := &m.params[i]
		if p.in != inHeader || values[i] == nil {
			continue
		}
		text := joined(values[i])
		if strings.ContainsFunc(text, isControl) {
			return invalid("%s must not have line breaks or other control characters", p.arg)
		}
		w.set(p.wire, text)
	}
	return nil
}

func (m *maker) setBody(w *wire, values []json.RawMessage) error {
	typ, body, err := "", []byte(nil), error(nil)
	switch {
	case m.body == nil:
		return nil
	case m.def.Body == "form":
		typ = "application/x-www-form-urlencoded"
		if body, err = m.form(values); err != nil {
			return err
		}
	case m.def.Body == "multipart":
		if body, typ, err = m.multipart(values); err != nil {
			return err
		}
	case m.def.Body == "raw":
		v := values[m.body.param]
		if v == nil {
			return nil
		}
		typ, body = "text/plain; charset=utf-8", []byte(plain(v))
		if p := &m.params[m.body.param]; p.base64() {
			if body, err = p.decode(v); err != nil {
				return err
			}
			typ = "application/octet-stream"
		}
	default:
		typ = "application/json"
		var ok bool
		if body, ok = m.body.write(nil, values, nil); !ok {
			if m.body.param >= 0 {
				return nil
			}
			body = []byte("{}")
		}
	}
	if m.def.ContentType != "" {
		typ = m.def.ContentType
	}
	w.set("Content-Type", typ)
	w.body = body
	return nil
}
