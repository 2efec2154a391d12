package rest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// visit is one call on its way: what was asked, and where in a list.
type visit struct {
	in  *input
	at  *page
	url *url.URL
	// cursor seals where to go on.
	cursor func(*page) string
	most   int // records
}

// result turns an answer into what the model gets.
func (a *action) result(ans *httpcall.Answer, v *visit, r *rules) (*upstream.Result, error) {
	if ans.Status/100 != 2 {
		return r.failure(ans)
	}
	if e := ans.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, unusable(nil, "it answered with a compressed body (%s), which nobody had asked for", shortened(e, 20))
	}
	if len(bytes.TrimSpace(ans.Body)) == 0 {
		return upstream.StructuredResult(a.nothing())
	}
	typ := mediaType(ans.Header)
	if !mayBeJSON(typ) || a.def.Answer == "any" && typ == "text/plain" {
		return a.other(ans, typ)
	}
	if err := rawjson.Check(ans.Body, rawjson.Limits{AllowDups: true}); err != nil {
		if a.def.Answer == "any" && typ != "application/json" {
			return a.other(ans, typ)
		}
		return nil, unusable(err, "it answered with %s", looks(ans.Body, "broken JSON"))
	}
	if r.told(ans.Body) {
		return r.failure(ans)
	}
	return a.structured(ans, v)
}

// nothing is the content of an answer that has none.
func (a *action) nothing() json.RawMessage {
	if a.list {
		return json.RawMessage(`{"records":[],"count":0}`)
	}
	return json.RawMessage(`{}`)
}

func mediaType(h http.Header) string {
	typ := h.Get("Content-Type")
	if typ == "" || typ == "application/json" {
		return typ
	}
	media, _, err := mime.ParseMediaType(typ)
	if err != nil {
		media, _, _ = strings.Cut(typ, ";")
	}
	return strings.ToLower(strings.TrimSpace(media))
}

// mayBeJSON reports whether what comes with this media type can be JSON. Some
// services send theirs as plain text, or without a type.
func mayBeJSON(typ string) bool {
	switch typ {
	case "", "application/json", "text/plain", "text/json", "text/javascript", "application/javascript", "application/octet-stream":
		return true
	}
	return strings.HasSuffix(typ, "+json") || strings.HasPrefix(typ, "application/x-json")
}

// looks says what a body is that should be JSON.
func looks(body []byte, otherwise string) string {
	if b := bytes.TrimSpace(body); len(b) > 0 && b[0] == '<' {
		return "HTML or XML instead of JSON; it may be a login or error page, or its address may be wrong"
	}
	return otherwise
}

// other is a result of an answer that is no JSON.
func (a *action) other(ans *httpcall.Answer, typ string) (*upstream.Result, error) {
	if a.def.Answer != "any" {
		return nil, unusable(fmt.Errorf("HTTP %d, content type %.60q, %.200q", ans.Status, typ, ans.Body),
			"it answered with %s", looks(ans.Body, strings.TrimSpace(shortened(typ, 60)+" instead of JSON")))
	}
	if strings.HasPrefix(typ, "text/") && utf8.Valid(ans.Body) {
		return upstream.TextResult(string(ans.Body), false), nil
	}
	if typ == "" {
		typ = "application/octet-stream"
	}
	data := base64.StdEncoding.EncodeToString(ans.Body)
	content := map[string]any{"type": "resource", "resource": map[string]any{
		"uri": "bulkhead:answer", "mimeType": typ, "blob": data,
	}}
	for _, media := range []string{"image", "audio"} {
		if strings.HasPrefix(typ, media+"/") {
			content = map[string]any{"type": media, "mimeType": typ, "data": data}
		}
	}
	text, err := marshal(map[string]any{"content": []any{content}})
	if err != nil {
		return nil, err
	}
	return upstream.ParseResult(text)
}

// structured is the result of an answer in JSON.
func (a *action) structured(ans *httpcall.Answer, v *visit) (*upstream.Result, error) {
	value, found := a.records.at(ans.Body)
	kind := rawjson.Kind(value)
	shape, seen := a.shape, []bool(nil)
	if v.in.fields != nil {
		shape = v.in.fields
	} else {
		seen = a.drift.tally()
	}
	out := make([]byte, 0, len(value)+64)
	switch {
	case a.list || kind == '[':
		out = a.appendRecords(out, ans, v, value, found, shape, seen)
	case !found:
		a.drift.gone(a.def.Records)
		out = append(out, fmt.Sprintf(`{"note":%s}`, rawjson.Quote(missing(a.def.Records)))...)
	case kind == '{':
		out = shape.project(out, value, seen)
		a.drift.check(seen, 1, value)
	default:
		out = append(append(append(out, `{"value":`...), value...), '}')
	}
	res, err := upstream.StructuredResult(json.RawMessage(out))
	if err != nil {
		return nil, err
	}
	res.Quota = httpcall.Quota(ans.Header)
	return res, nil
}

func missing(path string) string {
	return "the answer has nothing at " + path + ": the source may have changed"
}

// appendRecords appends a list of records and what there is to say of it.
func (a *action) appendRecords(out []byte, ans *httpcall.Answer, v *visit, value json.RawMessage, found bool, shape *shape, seen []bool) []byte {
	out = append(out, `{"records":[`...)
	all, given := 0, 0
	var last json.RawMessage
	record := func(e json.RawMessage) {
		all, last = all+1, e
		if all <= v.at.Skip || given == v.most {
			return
		}
		if given++; given > 1 {
			out = append(out, ',')
		}
		out = shape.project(out, e, seen)
		if given == 1 {
			a.drift.types(e)
		}
	}
	if rawjson.Kind(value) == '[' {
		for e := range rawjson.Elements(value) {
			record(e)
		}
	} else if found && !rawjson.IsNull(value) {
		record(value)
	}
	out = strconv.AppendInt(append(out, `],"count":`...), int64(given), 10)
	note := ""
	if !found {
		a.drift.gone(a.def.Records)
		note = missing(a.def.Records)
	}
	a.drift.check(seen, given, nil)
	next, refused := a.next(ans, v, all, given, last)
	if next != nil {
		if cursor := v.cursor(next); cursor != "" {
			out = append(append(append(out, `,"next_cursor":"`...), cursor...), '"')
		} else {
			refused = true
		}
	}
	if a.pager != nil {
		if total, ok := a.pager.sum(ans.Body); ok {
			out = strconv.AppendInt(append(out, `,"total":`...), total, 10)
		}
	}
	switch {
	case refused:
		note = "there is more, but it cannot be reached: the source names another address for it"
	case v.at.Skip+given < all && next != nil:
		note = fmt.Sprintf("these are %d of the %d records of the answer; next_cursor gives the others", given, all-v.at.Skip)
	case v.at.Skip+given < all:
		note = fmt.Sprintf("these are %d of the %d records of the answer", given, all)
	}
	if note != "" {
		out = append(append(out, `,"note":`...), rawjson.Quote(note)...)
	}
	return append(out, '}')
}

// next returns where to go on: at the rest of this answer, if it was longer than
// what is given at once, or at the next page.
func (a *action) next(ans *httpcall.Answer, v *visit, all, given int, last json.RawMessage) (*page, bool) {
	if v.at.Skip+given < all {
		if !a.goesOn {
			return nil, false
		}
		rest := *v.at
		rest.Skip += given
		return &rest, false
	}
	if a.pager == nil || !a.goesOn {
		return nil, false
	}
	return a.pager.after(&answered{body: ans.Body, header: ans.Header, count: all, last: last, url: v.url}, v.at, v.in)
}
