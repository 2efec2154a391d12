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
		b, _ := parseBody(ans.Body) // nil if it is no JSON
		return r.failure(ans, b, a.def.class() != classWrite)
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
	took, err := a.take(ans, v)
	if err != nil {
		if a.def.Answer == "any" && typ != "application/json" {
			return a.other(ans, typ)
		}
		return nil, unusable(err, "it answered with %s", looks(ans.Body, "broken JSON"))
	}
	if r.told(took.body) {
		return r.failure(ans, took.body, a.def.class() != classWrite)
	}
	content := a.structured(v, took)
	res := upstream.JSONResult(content)
	if said := a.refusals(took.body); said != "" {
		res = upstream.RefusedResult(said, content)
	}
	res.Quota = r.quota(took.body)
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

// take reads an answer. The error says why it is no JSON.
func (a *action) take(ans *httpcall.Answer, v *visit) (*answered, error) {
	t := &taker{
		answered: &answered{status: ans.Status, header: ans.Header, url: v.url},
		text:     withoutMark(ans.Body),
		shape:    a.shape, list: a.list, skip: v.at.Skip, most: v.most,
	}
	switch {
	case v.in.fields != nil:
		t.shape, t.seen = v.in.fields, v.in.fields.tally()
	case ans.Status != http.StatusAccepted: // what that says is how it goes, no record (RFC 9110, section 15.3.3)
		t.seen = a.drift.tally()
	}
	return t.answered, t.take(a.records)
}

// structured is the content of an answer in JSON.
func (a *action) structured(v *visit, ans *answered) json.RawMessage {
	if ans.found {
		a.drift.forget(a.def.Records)
	}
	switch {
	case a.list || rawjson.Kind(ans.value) == '[':
		return a.listed(v, ans)
	case !ans.found:
		return noted(a.missing(ans.status))
	case rawjson.Kind(ans.value) == '{':
		if note := a.lacks(v, ans.seen, 1, ans.value); note != "" && string(ans.out) == "{}" { // else there is no place for it
			return noted(note)
		}
		return ans.out
	}
	return append(append(append(ans.out, `{"value":`...), ans.value...), '}')
}

// noted is content that is only a note.
func noted(note string) json.RawMessage {
	return append(append([]byte(`{"note":`), rawjson.Quote(note)...), '}')
}

// missing says why there is nothing where the records should be.
func (a *action) missing(status int) string {
	if status == http.StatusAccepted {
		return "it is not done yet; ask again later"
	}
	a.drift.gone(a.def.Records)
	return "the answer has nothing at " + a.def.Records + ": the source may have changed"
}

// beginList is how the content of a list begins.
const beginList = `{"records":[`

// listed ends a list of records with what there is to say of it.
func (a *action) listed(v *visit, ans *answered) json.RawMessage {
	out := ans.out
	if !ans.found {
		out = append(out, beginList...)
	}
	out = strconv.AppendInt(append(out, `],"count":`...), int64(ans.given), 10)
	note := ""
	if !ans.found {
		note = a.missing(ans.status)
	}
	lacks := a.lacks(v, ans.seen, ans.given, ans.value)
	next, refused := a.next(ans, v)
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
	case v.at.Skip+ans.given < ans.count && next != nil:
		note = fmt.Sprintf("these are %d of the %d records of the answer; next_cursor gives the others", ans.given, ans.count-v.at.Skip)
	case v.at.Skip+ans.given < ans.count:
		note = fmt.Sprintf("these are %d of the %d records of the answer", ans.given, ans.count)
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
func (a *action) next(ans *answered, v *visit) (*page, bool) {
	switch {
	case !a.goesOn:
		return nil, false
	case v.at.Skip+ans.given < ans.count:
		rest := *v.at
		rest.Skip += ans.given
		return &rest, false
	case a.pager == nil:
		return nil, false
	}
	return a.pager.after(ans, v.at, v.in)
}
