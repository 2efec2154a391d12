package rest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Check reports everything that is wrong with a definition, each with its key
// as it would stand in TOML; nil if nothing is. A definition without a base URL
// is good: it may be given in [Options].
func (d *Definition) Check() error {
	var f Faults
	d.check(&f)
	return f.err()
}

func (d *Definition) check(f *Faults) {
	values := make(map[string]bool)
	for i := range d.Values {
		values[d.Values[i].Name] = true
		d.Values[i].check(f)
	}
	d.checkBase(f, values)
	checkHeaders(f, "headers", d.Headers)
	d.Errors.check(f)
	checkPointer(f, "quota.left", d.Quota.Left)
	checkPointer(f, "quota.restore", d.Quota.Restore)
	if d.Quota.Left == "" && d.Quota.Restore != "" {
		f.add("quota.left", "is missing")
	}
	paging := make(map[string]*Paging)
	for i := range d.Paging {
		p := &d.Paging[i]
		paging[p.Name] = p
		p.check(f)
	}
	if len(d.Actions) == 0 {
		f.add("action", "there is none")
	}
	names := make(map[string]bool)
	for i := range d.Actions {
		a := &d.Actions[i]
		key := "action." + a.Name
		if names[a.Name] {
			f.add(key, "is there twice")
		}
		names[a.Name] = true
		a.check(f, key, values, paging)
	}
}

// pattern returns the expression that a whole value must match. Whatever the
// definition says, a value is one that cannot end a line or a header.
func (v *Value) pattern() (*regexp.Regexp, error) {
	p := v.Pattern
	if p == "" {
		p = `[^\x00-\x20\x7f]+`
	}
	return regexp.Compile(`^(?:` + p + `)$`)
}

func (v *Value) matches(text string) bool {
	re, err := v.pattern()
	return err == nil && re.MatchString(text) && !strings.ContainsFunc(text, isControl)
}

func (v *Value) check(f *Faults) {
	key := "values." + v.Name
	if _, err := v.pattern(); err != nil {
		f.add(key+".pattern", "%v", err)
		return
	}
	for what, text := range map[string]string{"example": v.Example, "default": v.Default} {
		if text != "" && !v.matches(text) {
			f.add(key+"."+what, "does not match the pattern")
		}
	}
	if v.Token != "" && len(v.Suffixes) == 0 {
		f.add(key+".suffixes", "is missing: what comes from a token response is held to them")
	}
	for i, s := range v.Suffixes {
		if len(s) < 2 || strings.Trim(s, ".abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			f.add(fmt.Sprintf("%s.suffixes[%d]", key, i), "must be the end of a host name, such as .example.com")
		}
	}
}

func (d *Definition) checkBase(f *Faults, values map[string]bool) {
	if d.BaseURL == "" {
		return
	}
	ps, err := parts(d.BaseURL)
	if err != nil {
		f.add("base_url", "%v", err)
		return
	}
	sample := ""
	for _, p := range ps {
		if p.name != "" && !values[p.name] {
			f.add("base_url", "{%s} is no value of the definition", p.name)
		}
		if p.name != "" && sample == "" {
			sample = "https://x"
			continue
		}
		if p.name != "" {
			p.text = "x"
		}
		sample += p.text
	}
	if _, err := parseBase(sample); err != nil {
		f.add("base_url", "%v", err)
	}
}

// parseBase reads the address that a source is at.
func parseBase(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("is no URL")
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.Opaque != "":
		return nil, fmt.Errorf("must be an absolute https:// or http:// URL")
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return nil, fmt.Errorf("must have no user name, query or fragment")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	u.RawPath = strings.TrimSuffix(u.RawPath, "/")
	return u, checkConstantPath(u.EscapedPath())
}

// checkConstantPath holds the path that the definition itself gives to one
// reading: characters of RFC 3986, section 3.3, and no dot or empty segments.
func checkConstantPath(path string) error {
	for _, c := range path {
		if c > 0x7e || c <= ' ' || strings.ContainsRune("\"<>\\^`|?#[]", c) {
			return fmt.Errorf("has the character %q, which no path can have; write it percent-encoded", c)
		}
	}
	for i, segment := range strings.Split(path, "/") {
		if i > 0 && segment == "" && path != "/" && !strings.HasSuffix(path, "/") || segment == "." || segment == ".." || strings.Contains(path, "//") {
			return fmt.Errorf("has an empty or dot segment")
		}
	}
	return nil
}

// maxName is how long the names of actions and arguments may be.
const maxName = 64

// isName reports whether s is ASCII letters, digits and the characters of more
// only, and at least one of them.
func isName(s, more string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return s != ""
}

// isHeaderName reports whether s is a token (RFC 9110, section 5.6.2).
func isHeaderName(s string) bool { return isName(s, "!#$%&'*+.^_`|~-") }

// ownHeaders are set by the transport or by the sign-in.
var ownHeaders = []string{
	"Authorization", "Connection", "Content-Length", "Cookie", "Expect", "Host", "Keep-Alive", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Accept-Encoding", "Content-Encoding",
}

func checkHeaderName(name string) error {
	switch {
	case !isHeaderName(name):
		return fmt.Errorf("is no name of a header")
	case slices.Contains(ownHeaders, http.CanonicalHeaderKey(name)):
		return fmt.Errorf("is set by the transport or by auth")
	}
	return nil
}

func checkHeaders(f *Faults, key string, headers map[string]string) {
	for _, name := range sortedKeys(headers) {
		if err := checkHeaderName(name); err != nil {
			f.add(key+"."+name, "%v", err)
		}
		if strings.ContainsFunc(headers[name], isControl) {
			f.add(key+"."+name, "has a line break or another control character")
		}
	}
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

func (e *Errors) check(f *Faults) {
	if e.Failed != nil {
		checkPointer(f, "errors.failed.path", e.Failed.Path)
		if e.Failed.Present == (e.Failed.Equals != nil) {
			f.add("errors.failed", "needs equals or present = true, one of them")
		}
	}
	for i, p := range e.Message {
		checkPointer(f, fmt.Sprintf("errors.message[%d]", i), p)
	}
	for i, p := range e.Code {
		checkPointer(f, fmt.Sprintf("errors.code[%d]", i), p)
	}
	if e.RetryHeader != "" && !isHeaderName(e.RetryHeader) {
		f.add("errors.retry_header", "is no name of a header")
	}
	for _, code := range sortedKeys(e.Codes) {
		oneOf(f, "errors.codes."+code, e.Codes[code], sortedKeys(outcomes))
	}
}

func checkPointer(f *Faults, key, pointer string) {
	if pointer != "" && pointer[0] != '/' {
		f.add(key, "%.60q is no JSON pointer: it must begin with /", pointer)
	}
}

func oneOf(f *Faults, key, got string, want []string) bool {
	if slices.Contains(want, got) {
		return true
	}
	f.add(key, "%.60q is none of %s", got, strings.Join(want, ", "))
	return false
}

// needs says which members each kind of paging must have.
var needs = map[string][]string{
	"cursor": {"param", "next"}, "link": nil, "next_url": {"next"}, "last_id": {"param"},
	"offset": {"param"}, "page": {"param"}, "partition": {"param", "next"},
}

func (p *Paging) check(f *Faults) {
	key := "paging." + p.Name
	if !oneOf(f, key+".kind", p.Kind, slices.Sorted(maps.Keys(needs))) {
		return
	}
	for _, need := range needs[p.Kind] {
		if need == "param" && p.Param == "" || need == "next" && p.Next == "" {
			f.add(key+"."+need, "is missing, which paging of the kind %s needs", p.Kind)
		}
	}
	for member, pointer := range map[string]string{"next": p.Next, "id": p.ID, "more": p.More, "total": p.Total} {
		checkPointer(f, key+"."+member, pointer)
	}
	if p.In != "" {
		oneOf(f, key+".in", p.In, []string{inQuery, inBody})
	}
	if p.Size != "" && (p.Most < 1 || p.Default < 0 || p.Default > p.Most) {
		f.add(key+".most", "must be at least 1 and not less than default, where there is a size")
	}
}
