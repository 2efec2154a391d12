package rest

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// pager is a compiled [Paging]. param and size are indexes of parameters of the
// action that the model does not see; -1 for none.
type pager struct {
	def             *Paging
	next, id        pointer
	more, total     pointer
	hasMore, hasSum bool
	param, size     int
}

// start is the number of the first page, or record.
func (p *pager) start() int64 {
	switch {
	case p.def.Start != nil:
		return *p.def.Start
	case p.def.Kind == "page":
		return 1
	}
	return 0
}

// addPaging gives a the parameters of its paging.
func (a *action) addPaging(def *Paging) {
	p := &pager{
		def: def, next: pointerTokens(def.Next), id: pointer{"id"},
		more: pointerTokens(def.More), hasMore: def.More != "",
		total: pointerTokens(def.Total), hasSum: def.Total != "",
		param: -1, size: -1,
	}
	if def.ID != "" {
		p.id = pointerTokens(def.ID)
	}
	in := def.In
	if in == "" {
		in = inQuery
	}
	if def.Param != "" && !p.byURL() {
		p.param = len(a.params)
		a.params = append(a.params, param{arg: argCursor, in: in, wire: def.Param})
	}
	if def.Size != "" {
		p.size = len(a.params)
		size := param{arg: argLimit, in: in, wire: def.Size, kind: "integer", most: def.Most}
		if def.Default > 0 {
			size.preset = raw(def.Default)
		}
		a.byArg[argLimit] = p.size
		a.params = append(a.params, size)
	}
	a.pager = p
}

// byURL reports whether pages are named by their URLs.
func (p *pager) byURL() bool {
	return p != nil && (p.def.Kind == "link" || p.def.Kind == "next_url")
}

// turn sets the parameter of the page.
func (p *pager) turn(in *input, at *page) {
	if p == nil || p.param < 0 {
		return
	}
	switch p.def.Kind {
	case "cursor", "last_id":
		in.values[p.param] = at.Value
	case "offset", "page", "partition":
		if at.N > 0 {
			in.values[p.param] = strconv.AppendInt(nil, at.N, 10)
		}
	}
}

// after returns the page after at; nil if there is none. refused is set where the
// source names one at another origin, which is not followed.
func (p *pager) after(a *answered, at *page, in *input) (next *page, refused bool) {
	more, known := "", false
	if p.hasMore {
		v, _ := a.body.at(p.more)
		if more = plain(v); more != "true" && len(v) > 0 {
			return nil, false
		}
		known = more == "true"
	}
	switch p.def.Kind {
	case "cursor":
		v, _ := a.body.at(p.next)
		if rawjson.IsNull(v) || plain(v) == "" || plain(v) == "false" || string(v) == "0" || string(v) == string(at.Value) {
			return nil, false
		}
		return &page{Value: v}, false
	case "link":
		return follow(a.url, nextLink(a.header))
	case "next_url":
		v, _ := a.body.at(p.next)
		return follow(a.url, rawjson.String(v))
	case "last_id":
		v, ok := p.id.at(a.last)
		if !ok || rawjson.IsNull(v) || !known && (p.hasMore || !p.full(a, in)) {
			return nil, false
		}
		return &page{Value: v}, false
	case "partition":
		return p.partition(a, at), false
	}
	n := max(at.N, p.start())
	if p.def.Kind == "page" {
		n++
	} else {
		n += int64(a.count)
	}
	if a.count == 0 || !known && !p.rest(a, in, n) {
		return nil, false
	}
	return &page{N: n}, false
}

// full reports whether an answer has as many records as were asked for.
func (p *pager) full(a *answered, in *input) bool {
	if p.size < 0 || in.values[p.size] == nil {
		return a.count > 0
	}
	size, err := strconv.Atoi(plain(in.values[p.size]))
	return err != nil || a.count >= size
}

// rest reports whether there is anything from n on, a record or a page.
func (p *pager) rest(a *answered, in *input, n int64) bool {
	if total, ok := p.sum(a.body); ok {
		if p.def.Kind == "offset" {
			return n-p.start() < total
		}
		if p.size >= 0 && in.values[p.size] != nil {
			size, _ := strconv.ParseInt(plain(in.values[p.size]), 10, 64)
			return (n-p.start())*size < total
		}
	}
	return p.full(a, in)
}

// sum returns how many records there are in all.
func (p *pager) sum(b *body) (int64, bool) {
	if !p.hasSum {
		return 0, false
	}
	v, _ := b.at(p.total)
	n, err := strconv.ParseInt(plain(v), 10, 64)
	return n, err == nil
}

// partition counts through the parts of a result whose number the first answer
// gives: as a number, or as a list with an entry for each.
func (p *pager) partition(a *answered, at *page) *page {
	of := at.Of
	if at.first() {
		v, _ := a.body.at(p.next)
		if rawjson.Kind(v) == '[' {
			for range rawjson.Elements(v) {
				of++
			}
		} else {
			of, _ = strconv.ParseInt(plain(v), 10, 64)
		}
	}
	if at.N+1 >= of {
		return nil
	}
	return &page{N: at.N + 1, Of: of}
}

// follow returns the page at a URL that the source has named, of which the path
// and the query are kept. One at another origin is refused: the credential would
// go there.
func follow(from *url.URL, ref string) (next *page, refused bool) {
	if ref == "" {
		return nil, false
	}
	u, err := from.Parse(ref)
	if err != nil || u.Scheme != from.Scheme || !strings.EqualFold(u.Host, from.Host) || u.User != nil || u.Opaque != "" {
		return nil, true
	}
	path := u.EscapedPath()
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return nil, true
	}
	if u.RawQuery != "" {
		path += "?" + printable(u.RawQuery)
	}
	return &page{Value: rawjson.Quote(path)}, false
}

// printable encodes what no request line can have, such as a space.
func printable(query string) string {
	if strings.IndexFunc(query, func(c rune) bool { return c <= ' ' || c >= 0x7f }) < 0 {
		return query
	}
	out := make([]byte, 0, len(query)+16)
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
			continue
		}
		out = append(out, query[i])
	}
	return string(out)
}

// nextLink returns the target of the link to the next page (RFC 8288, section 3);
// "" if there is none.
func nextLink(h http.Header) string {
	for _, field := range h.Values("Link") {
		for {
			_, rest, ok := strings.Cut(field, "<")
			if !ok {
				break
			}
			target, params, ok := strings.Cut(rest, ">")
			if !ok {
				break
			}
			field = ""
			if i := strings.Index(params, "<"); i >= 0 {
				params, field = params[:i], params[i:]
			}
			for p := range strings.FieldsFuncSeq(params, func(r rune) bool { return r == ';' || r == ',' }) {
				name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
				if strings.EqualFold(strings.TrimSpace(name), "rel") && hasRelation(value, "next") {
					return target
				}
			}
		}
	}
	return ""
}

func hasRelation(value, want string) bool {
	for r := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `"`)) {
		if strings.EqualFold(r, want) {
			return true
		}
	}
	return false
}
