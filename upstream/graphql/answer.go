package graphql

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
	"github.com/bulkhead-mcp/bulkhead/upstream/limits"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// The members of a response (GraphQL, October 2021, section 7.1), and of a
// request over HTTP (GraphQL over HTTP, draft of 2025, section 5.1).
const (
	memberData       = "data"
	memberErrors     = "errors"
	memberExtensions = "extensions"

	accept = "application/graphql-response+json, application/json;q=0.9"
)

// answer is what came back for one request.
type answer struct {
	*httpcall.Answer
	data, errors, extensions json.RawMessage
}

// send makes one request.
func (a *Adapter) send(ctx context.Context, c *upstream.Call, body []byte) (*answer, error) {
	hc := a.hc
	if a.opt.ClientFor != nil {
		if chosen := a.opt.ClientFor(c); chosen != nil {
			hc = chosen
		}
	}
	return post(ctx, hc, a.url, body, a.opt.MaxMessage)
}

// post sends a request and reads the response, whatever its status, as far as it
// is one of GraphQL.
func post(ctx context.Context, hc *http.Client, url string, body []byte, limit int64) (*answer, error) {
	got, err := httpcall.Send(ctx, withoutRedirects(hc), limit, func(ctx context.Context) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header["Content-Type"] = []string{"application/json"}
		req.Header["Accept"] = []string{accept}
		return req, nil
	})
	if err != nil {
		return nil, err
	}
	a := &answer{Answer: got}
	if broken := a.parse(); broken != nil || a.data == nil && a.errors == nil {
		return nil, a.foreign(broken)
	}
	return a, nil
}

// withoutRedirects returns a client that follows none but those that hc allows.
// One that it refuses is an answer, not a broken connection.
func withoutRedirects(hc *http.Client) *http.Client {
	c := *hc
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if hc.CheckRedirect == nil || hc.CheckRedirect(req, via) != nil {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return &c
}

// parse finds the members of the response.
func (a *answer) parse() error {
	if rawjson.Kind(a.Body) != '{' {
		return errors.New("the body is no JSON object")
	}
	members, _, err := rawjson.Index(a.Body, rawjson.Limits{}, "")
	if err != nil {
		return err
	}
	for _, m := range members { // none where there are too many for a response
		switch m.Name {
		case memberData:
			a.data = m.Value
		case memberErrors:
			if rawjson.Kind(m.Value) == '[' {
				a.errors = m.Value
			}
		case memberExtensions:
			a.extensions = m.Value
		}
	}
	return nil
}

// foreign is the failure of an answer that is none of GraphQL.
func (a *answer) foreign(broken error) error {
	kind, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	detail := fmt.Errorf("HTTP %d, content type %.60q, %d bytes: %w", a.Status, kind, len(a.Body), cmp.Or(broken, errForeign))
	if a.Status > 299 {
		e := httpcall.Refused(a.Status, a.Header, a.Body)
		e.Err = detail
		switch a.Status {
		case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone:
			e.Kind, e.Sent, e.Public = upstream.UpstreamError, false, fmt.Sprintf("there is no GraphQL service at its address (HTTP %d)", a.Status)
		default:
			if a.Status/100 == 4 && e.Kind == upstream.UpstreamError { // it works, but does not take the request
				e.Err = upstream.Caused(detail, upstream.ErrNoOutage)
			}
		}
		return e
	}
	e := &upstream.Error{Kind: upstream.UpstreamError, Sent: true, Public: "answered with something other than a GraphQL response", Err: detail}
	switch {
	case kind != "" && kind != "application/json" && !strings.HasSuffix(kind, "+json"):
		e.Public = fmt.Sprintf("answered with %.60s instead of JSON", kind)
	case broken != nil:
		e.Public = "answered with broken JSON"
	}
	return e
}

var errForeign = errors.New("no GraphQL response")

// result tells an answer apart: data, data with gaps, or a failure. refusal is
// why the service does not take the operation, "" if it does, see [refusals].
func (a *answer) result(mutates bool) (res *upstream.Result, refusal string, err error) {
	faults := readFaults(a.errors)
	if rawjson.Kind(a.data) != '{' || a.nothing(faults) {
		e, refusal := a.failure(faults)
		return nil, refusal, e
	}
	structured, err := a.structured(faults)
	if err != nil {
		return nil, "", err
	}
	said := ""
	if mutates {
		said = a.untaken()
	}
	if said != "" {
		res = upstream.RefusedResult(said, structured)
	} else if res, err = sameTwice(structured); err != nil {
		return nil, "", err
	}
	res.Quota, res.Gaps = a.quota(), len(faults.list) > 0
	return res, "", nil
}

// nothing reports whether there is not one field, and no other reason for any of them
// than the credential or a limit: services whose fields may all be null say so beside
// data. What is null for no reason that is told is an answer, and may be that of a
// mutation which was carried out.
func (a *answer) nothing(faults faults) bool {
	for field := range rawjson.Members(a.data) {
		if !rawjson.IsNull(field.Value) || !slices.ContainsFunc(faults.list, func(f fault) bool { return f.concerns(field.Name) }) {
			return false
		}
	}
	return len(faults.list) > 0 && !slices.ContainsFunc(faults.list, func(f fault) bool {
		return kinds[f.code] != upstream.NeedsLogin && kinds[f.code] != upstream.RateLimited
	})
}

// structured is what a tool answers: {"data": ...}, and what is missing from it.
func (a *answer) structured(faults faults) (json.RawMessage, error) {
	data := a.data
	if bytes.IndexByte(data, '\n') >= 0 { // laid out for people
		var b bytes.Buffer
		if err := json.Compact(&b, data); err != nil {
			return nil, err
		}
		data = b.Bytes()
	}
	out := make([]byte, 0, len(data)+len(`{"data":}`))
	out = append(append(out, `{"data":`...), data...)
	if len(faults.list) > 0 {
		gaps, err := rawjson.Marshal(faults.gaps())
		if err != nil {
			return nil, err
		}
		out = append(append(out, `,"errors":`...), gaps...)
	}
	return append(out, '}'), nil
}

// untaken says what of its input a mutation did not take, which its own fields tell
// as if all were well: userErrors at Shopify, customerUserErrors and the like
// (https://shopify.dev/docs/api/admin-graphql/latest/interfaces/displayableerror).
func (a *answer) untaken() string {
	var said []string
	for field := range rawjson.Members(a.data) {
		if rawjson.Kind(field.Value) != '{' {
			continue
		}
		for m := range rawjson.Members(field.Value) {
			if text := httpcall.Refusals(m.Value); text != "" && (m.Name == "userErrors" || strings.HasSuffix(m.Name, "UserErrors")) {
				said = append(said, field.Name+": "+text)
			}
		}
	}
	return strings.Join(said, "; ")
}

// sameTwice is [upstream.StructuredResult] of an object that has been checked: it
// is not looked through once more.
func sameTwice(structured json.RawMessage) (*upstream.Result, error) {
	const first, second = `{"content":`, `,"structuredContent":`
	text := rawjson.Quote(string(structured))
	raw := make([]byte, 0, len(text)+len(structured)+len(first)+len(second)+32)
	raw = append(append(append(append(raw, first...), `[{"type":"text","text":`...), text...), "}]"...)
	end := len(raw)
	raw = append(append(append(raw, second...), structured...), '}')
	return upstream.IndexedResult(raw, []rawjson.Member{
		{Name: "content", Value: raw[len(first):end:end], Start: 1, End: end},
		{Name: "structuredContent", Value: raw[end+len(second) : len(raw)-1 : len(raw)-1], Start: end + 1, End: len(raw) - 1},
	})
}

// failure is what errors without data mean: by their codes, or else by the
// status.
func (a *answer) failure(faults faults) (e *upstream.Error, refusal string) {
	e = &upstream.Error{Kind: upstream.UpstreamError, Sent: true}
	if a.Status > 299 {
		e = httpcall.Refused(a.Status, a.Header, a.Body)
	}
	if len(faults.list) == 0 {
		e.Public, e.Err = "answered with neither data nor errors", fmt.Errorf("HTTP %d: %w", a.Status, errForeign)
		return e, ""
	}
	kind, unbegun := faults.kind()
	said, tooMuch := limits.Refused(a.Status, a.Header, a.Body, nil, time.Now())
	unpaid := a.cost().wait()
	switch {
	case tooMuch, kind == upstream.RateLimited, kind == upstream.Internal && unpaid > 0:
		e.Kind, e.RetryAfter = upstream.RateLimited, max(said.RetryAfter, unpaid)
	case e.Kind == upstream.NeedsLogin, e.Kind == upstream.Unavailable:
	case faults.aboutDocument():
		e.Kind, refusal = upstream.UpstreamError, faults.list[0].message
	case kind != upstream.Internal:
		e.Kind = kind
	}
	switch {
	case a.data != nil: // null: it was begun (GraphQL, October 2021, section 7.1.1)
		e.Sent = true
	case unbegun:
		e.Sent = false
	}
	e.RPC = &upstream.RPCError{Message: faults.text(), Data: faults.data()}
	if a.Status > 299 { // else it says that all is well
		e.RPC.Code = a.Status
	}
	e.Public, e.Err = "", e.RPC
	return e, refusal
}

// cost is what a service tells of the price of an operation and of the bucket
// that it is paid from, in extensions.cost
// (https://shopify.dev/docs/api/usage/limits).
type cost struct {
	Requested float64 `json:"requestedQueryCost"`
	Throttle  *struct {
		Most    float64 `json:"maximumAvailable"`
		Left    float64 `json:"currentlyAvailable"`
		Restore float64 `json:"restoreRate"` // a second
	} `json:"throttleStatus"`
}

func (a *answer) cost() *cost {
	raw, ok := rawjson.Get(a.extensions, "cost")
	if rawjson.Kind(a.extensions) != '{' || !ok || rawjson.Kind(raw) != '{' {
		return nil
	}
	c := new(cost)
	if json.Unmarshal(raw, c) != nil || c.Throttle == nil || c.Throttle.Restore <= 0 || c.Throttle.Left < 0 {
		return nil
	}
	c.Requested = max(c.Requested, 1)
	return c
}

// wait is how long it takes until the operation can be paid; 0 if that is not
// known.
func (c *cost) wait() time.Duration {
	if c == nil || c.Throttle.Left >= c.Requested {
		return 0
	}
	return seconds((c.Requested - c.Throttle.Left) / c.Throttle.Restore)
}

// quota is how many more operations of this price can be paid.
func (a *answer) quota() *upstream.Quota {
	c := a.cost()
	if c == nil {
		return httpcall.Quota(a.Header)
	}
	q := &upstream.Quota{Remaining: math.Floor(c.Throttle.Left / c.Requested), Reset: c.wait()}
	if q.Reset == 0 {
		q.Reset = seconds(c.Requested / c.Throttle.Restore)
	}
	return q
}

func seconds(s float64) time.Duration {
	return time.Duration(min(s, limits.Most.Seconds()) * float64(time.Second))
}
