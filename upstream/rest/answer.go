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
		return r.failure(ans, a.def.class() != classWrite)
	}
	if e := ans.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, unusable(nil, "it answered with a compressed body (%s), which nobody had asked for", shortened(e, 20))
	}
	if len(bytes.TrimSpace(ans.Body)) == 0 {
		return upstream.JSONResult(a.nothing()), nil
	}
	typ := mediaType(ans.Header)
	if !mayBeJSON(typ) || a.def.Answer == "any" && typ == "text/plain" {
		return a.other(ans, typ)
	}
	b, err := parseBody(bytes.TrimPrefix(ans.Body, []byte("\ufeff"))) // RFC 8259, section 8.1, lets readers overlook it
	if err != nil {
		if a.def.Answer == "any" && typ != "application/json" {
			return a.other(ans, typ)
		}
		return nil, unusable(err, "it answered with %s", looks(ans.Body, "broken JSON"))
	}
	if r.told(b) {
		return r.failure(ans, a.def.class() != classWrite)
	}
	content := a.structured(ans, b, v)
	res := upstream.JSONResult(content)
	if said := a.refusals(b); said != "" {
		res = upstream.RefusedResult(said, content)
	}
	res.Quota = r.quota(b)
	return res, nil
}

// refusals says what of the input was not taken though the status is good; "" if
// nothing.
func (a *action) refusals(b *body) string {
	if a.refused == nil {
		return ""
	}
	list, _ := b.at(a.refused)
	return httpcall.Refusals(list)
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
	if (strings.HasPrefix(typ, "text/") || strings.HasSuffix(typ, "+json")) && utf8.Valid(ans.Body) {
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
	text, err := rawjson.Marshal(map[string]any{"content": []any{content}})
	if err != nil {
		return nil, err
	}
	return upstream.ParseResult(text)
}

// structured is the content of an answer in JSON.
func (a *action) structured(ans *httpcall.Answer, b *body, v *visit) json.RawMessage {
	value, found := b.at(a.records)
	if found {
		a.drift.forget(a.def.Records)
	}
	kind := rawjson.Kind(value)
	shape, seen := a.shape, []bool(nil)
	switch {
	case v.in.fields != nil:
		shape, seen = v.in.fields, v.in.fields.tally()
	case ans.Status != http.StatusAccepted: // what that says is how it goes, no record (RFC 9110, section 15.3.3)
		seen = a.drift.tally()
	}
	room := len(value)
	if shape != nil && !shape.whole {
		room /= 3
	}
	out := make([]byte, 0, min(room, 64<<10)+256)
	switch {
	case a.list || kind == '[':
		out = a.appendRecords(out, v, &answered{status: ans.Status, body: b, header: ans.Header, url: v.url}, shape, seen)
	case !found:
		out = append(append(append(out, `{"note":`...), rawjson.Quote(a.missing(ans.Status))...), '}')
	case kind == '{':
		i := 0
		out = shape.project(out, bytes.TrimSpace(value), &i, seen)
		if note := a.lacks(v, seen, 1, value); note != "" && string(out) == "{}" { // else there is no place for it
			out = append(append(append(out[:0], `{"note":`...), rawjson.Quote(note)...), '}')
		}
	default:
		out = append(append(append(out, `{"value":`...), value...), '}')
	}
	return out
}

// missing says why there is nothing where the records should be.
func (a *action) missing(status int) string {
	if status == http.StatusAccepted {
		return "it is not done yet; ask again later"
	}
	a.drift.gone(a.def.Records)
	return "the answer has nothing at " + a.def.Records + ": the source may have changed"
}

// appendRecords appends a list of records and what there is to say of it.
func (a *action) appendRecords(out []byte, v *visit, ans *answered, shape *shape, seen []bool) []byte {
	value, found := ans.body.at(a.records)
	out = append(out, `{"records":[`...)
	given := 0
	value = bytes.TrimSpace(value) // the whole text may have space around it
	record := func(i *int) {
		from := *i
		if ans.count++; ans.count <= v.at.Skip || given == v.most {
			*i = rawjson.Skip(value, from)
		} else {
			if given++; given > 1 {
				out = append(out, ',')
			}
			out = shape.project(out, value, i, seen)
		}
		ans.last = value[from:*i:*i]
	}
	i := 0
	if rawjson.Kind(value) == '[' {
		for range rawjson.Descend(value, &i) {
			record(&i)
		}
	} else if found && !rawjson.IsNull(value) {
		record(&i)
	}
	out = strconv.AppendInt(append(out, `],"count":`...), int64(given), 10)
	note := ""
	if !found {
		note = a.missing(ans.status)
	}
	lacks := a.lacks(v, seen, given, value)
	next, refused := a.next(ans, v, given)
	if next != nil {
		if cursor := v.cursor(next); cursor != "" {
			out = append(append(append(out, `,"next_cursor":"`...), cursor...), '"')
		} else {
			refused = true
		}
	}
	if a.pager != nil {
		if total, ok := a.pager.sum(ans.body); ok {
			out = strconv.AppendInt(append(out, `,"total":`...), total, 10)
		}
	}
	switch {
	case refused:
		note = "there is more, but it cannot be reached: the source names another address for it"
	case v.at.Skip+given < ans.count && next != nil:
		note = fmt.Sprintf("these are %d of the %d records of the answer; next_cursor gives the others", given, ans.count-v.at.Skip)
	case v.at.Skip+given < ans.count:
		note = fmt.Sprintf("these are %d of the %d records of the answer", given, ans.count)
	}
	if note == "" || lacks == "" {
		note += lacks
	} else {
		note += "; " + lacks
	}
	if note != "" {
		out = append(append(out, `,"note":`...), rawjson.Quote(note)...)
	}
	return append(out, '}')
}

// next returns where to go on: at the rest of this answer, if it was longer than
// what is given at once, or at the next page.
func (a *action) next(ans *answered, v *visit, given int) (*page, bool) {
	switch {
	case !a.goesOn:
		return nil, false
	case v.at.Skip+given < ans.count:
		rest := *v.at
		rest.Skip += given
		return &rest, false
	case a.pager == nil:
		return nil, false
	}
	return a.pager.after(ans, v.at, v.in)
}
