package limits

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Signal is one way in which a service says that it is asked too much. All that
// is set must hold.
type Signal struct {
	// Status is the HTTP statuses that it comes with.
	Status []int
	// Fields is what the header fields must say besides.
	Fields Fields
	// Pointer is where in a JSON body to look (RFC 6901); a * stands for every
	// element of an array. "" looks at no body.
	Pointer string
	// Values are what may stand there, Contains what may be part of it; in any
	// case. A number is compared as it is written.
	Values, Contains []string
	// Source is where the service says so.
	Source string
}

// Fields is what the header fields of a refusal must say for it to be one for
// the quota's sake.
type Fields uint8

// The demands on header fields.
const (
	Anything Fields = iota
	Wait            // how long to wait
	Spent           // how long to wait, or that nothing is left of a quota
)

// signals are those of the services that most people use. Where a service has
// several, the plain 429 is in none of its rows.
var signals = []Signal{
	{Status: []int{429}, Source: "RFC 6585, section 4"},
	{Status: []int{503}, Fields: Wait, Source: "RFC 9110, section 15.6.4"}, // Microsoft Graph and Azure throttle so
	{Status: []int{529}, Source: "https://developers.notion.com/reference/status-codes"},
	{Status: []int{403}, Fields: Spent, Source: "https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api"},
	{Status: []int{403}, Pointer: "/message", Contains: []string{"secondary rate limit"},
		Source: "https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api"},
	{Status: []int{403}, Pointer: "/error/errors/*/reason", Values: []string{"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"},
		Source: "https://developers.google.com/workspace/drive/api/guides/handle-errors"},
	{Status: []int{403}, Pointer: "/*/errorCode", Values: []string{"REQUEST_LIMIT_EXCEEDED"},
		Source: "https://developer.salesforce.com/docs/platform/api-rest/guide/errorcodes.md"},
	{Status: []int{400}, Pointer: "/errors/*/extensions/code", Values: []string{"RATELIMITED"},
		Source: "https://linear.app/developers/rate-limiting"},
	{Status: []int{200}, Pointer: "/errors/*/extensions/code", Values: []string{"THROTTLED"},
		Source: "https://shopify.dev/docs/api/usage/limits"},
	{Status: []int{200}, Pointer: "/error", Values: []string{"ratelimited", "rate_limited"},
		Source: "https://docs.slack.dev/apis/web-api/rate-limits"},
}

// Refused reports whether a response, received at the moment now, says that the
// service is asked too much, by the table of this package or by extra, and what
// it says of the wait. A body that is no JSON says nothing. body is not changed.
func Refused(status int, h http.Header, body []byte, extra []Signal, now time.Time) (Limits, bool) {
	l := Read(h, now)
	checked, usable := false, false
	for _, table := range [][]Signal{signals, extra} {
		for _, s := range table {
			if !slices.Contains(s.Status, status) || !s.Fields.hold(l) {
				continue
			}
			if s.Pointer != "" {
				if !checked {
					checked, usable = true, rawjson.Check(body, rawjson.Limits{}) == nil
				}
				if !usable || !s.found(body, s.Pointer) {
					continue
				}
			}
			if l.RetryAfter == 0 && l.spent() {
				l.RetryAfter = l.Reset
			}
			if l.RetryAfter == 0 && s.Pointer != "" {
				l.RetryAfter = refill(body)
			}
			return l, true
		}
	}
	return l, false
}

// refill is how long a leaky bucket takes until it holds what a query costs; 0
// where the body says nothing of one. Shopify says so.
// https://shopify.dev/docs/apps/build/apis/graphql-admin/rate-limits
func refill(body []byte) time.Duration {
	var b struct {
		Extensions struct {
			Cost struct {
				Requested float64 `json:"requestedQueryCost"`
				Throttle  struct {
					Left    float64 `json:"currentlyAvailable"`
					Restore float64 `json:"restoreRate"` // a second
				} `json:"throttleStatus"`
			} `json:"cost"`
		} `json:"extensions"`
	}
	cost := &b.Extensions.Cost
	if json.Unmarshal(body, &b) != nil || cost.Throttle.Restore <= 0 {
		return 0
	}
	wait, _ := clamp((cost.Requested - cost.Throttle.Left) / cost.Throttle.Restore)
	return wait
}

// spent reports whether nothing is left of a quota.
func (l Limits) spent() bool { return l.Known && l.Remaining == 0 }

func (f Fields) hold(l Limits) bool {
	switch f {
	case Wait:
		return l.RetryAfter > 0
	case Spent:
		return l.RetryAfter > 0 || l.spent()
	}
	return true
}

// found looks for what the signal knows at pointer, starting from v.
func (s *Signal) found(v []byte, pointer string) bool {
	if pointer == "" {
		return s.means(v)
	}
	token, rest := pointer[1:], ""
	if i := strings.IndexByte(token, '/'); i >= 0 {
		token, rest = token[:i], token[i:]
	}
	switch {
	case token == "*" && rawjson.Kind(v) == '[':
		for e := range rawjson.Elements(v) {
			if s.found(e, rest) {
				return true
			}
		}
	case rawjson.Kind(v) == '{':
		if strings.Contains(token, "~") {
			token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		}
		if member, ok := rawjson.Get(v, token); ok {
			return s.found(member, rest)
		}
	}
	return false
}

func (s *Signal) means(v []byte) bool {
	text := string(v)
	switch rawjson.Kind(v) {
	case '"':
		text = rawjson.String(v)
	case '{', '[':
		return false
	}
	if len(s.Values) == 0 && len(s.Contains) == 0 {
		return true // that it is there is enough
	}
	if slices.ContainsFunc(s.Values, func(want string) bool { return strings.EqualFold(want, text) }) {
		return true
	}
	text = strings.ToLower(text)
	return slices.ContainsFunc(s.Contains, func(part string) bool { return strings.Contains(text, strings.ToLower(part)) })
}

// The codes by which an error object (JSON-RPC 2.0, section 5.1) says that its
// sender is asked too much. No standard has one: some send the HTTP status,
// several MCP servers -32029.
const (
	rpcTooMany = 429
	rpcLimited = -32029
)

// waits are the members of an error object's data that say how long to wait.
var waits = []struct {
	name string
	unit unit
}{
	{"retry_after_ms", millis}, {"retryAfterMs", millis},
	{"retry_after_seconds", seconds}, {"retryAfterSeconds", seconds},
	{"retry_after", seconds}, {"retryAfter", seconds}, {"retry-after", seconds},
}

// RefusedRPC is [Refused] for an error object of JSON-RPC: by its code, by what
// its data says of a status or code, or by data that says how long to wait
// together with a message of a rate limit. A message alone is not believed: it
// may tell of anybody's troubles.
func RefusedRPC(code int, message string, data json.RawMessage, now time.Time) (Limits, bool) {
	var l Limits
	if rawjson.Kind(data) != '{' {
		return l, code == rpcTooMany || code == rpcLimited
	}
	for _, w := range waits {
		if v, ok := rawjson.Get(data, w.name); ok {
			if d, ok := until(plain(v), w.unit, now); ok {
				l.RetryAfter = d
				break
			}
		}
	}
	switch {
	case code == rpcTooMany, code == rpcLimited:
		return l, true
	case limitedCode(data):
		return l, true
	}
	message = strings.ToLower(message)
	told := strings.Contains(message, "rate limit") || strings.Contains(message, "too many requests")
	if l.RetryAfter == 0 || !told {
		return Limits{}, false
	}
	return l, true
}

// limitedCode reports whether the data of an error object names the HTTP status
// 429 or says rate_limited where a code stands.
func limitedCode(data []byte) bool {
	for m := range rawjson.Members(data) {
		switch m.Name {
		case "status", "statusCode", "status_code", "httpStatus", "code":
			switch strings.ToLower(plain(m.Value)) {
			case "429", "rate_limited", "rate_limit_exceeded":
				return true
			}
		}
	}
	return false
}

// plain is the text of a string or a number; "" for anything else.
func plain(v []byte) string {
	switch k := rawjson.Kind(v); {
	case k == '"':
		return rawjson.String(v)
	case k == '-' || k >= '0' && k <= '9':
		return strings.TrimSpace(string(v))
	}
	return ""
}
