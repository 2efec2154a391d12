package limits_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/limits"
)

func TestRefused(t *testing.T) {
	own := []limits.Signal{{Status: []int{418}, Pointer: "/a~1b/*/c", Contains: []string{"Slow"}}, {Status: []int{200}, Pointer: "/code", Values: []string{"99"}}}
	for _, c := range []struct {
		status       int
		fields, body string
		want         bool
		wait         time.Duration
	}{
		{429, "", "", true, 0},
		{429, "Retry-After: 7", "<html>", true, 7 * time.Second},
		{429, "X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 9", "", true, 9 * time.Second},
		{503, "", "", false, 0},
		{503, "Retry-After: 3", "", true, 3 * time.Second},
		{503, "X-RateLimit-Remaining: 0", "", false, 0},
		{529, "", `{"code":"service_overload"}`, true, 0},
		{403, "", `{"message":"Must have admin rights"}`, false, 0},
		{403, "X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1795348860", `{}`, true, time.Minute},
		{403, "X-RateLimit-Remaining: 3\nX-RateLimit-Reset: 1795348860", `{}`, false, 0},
		{403, "Retry-After: 60", "", true, time.Minute},
		{403, "", `{"message":"You have exceeded a Secondary rate limit. Wait."}`, true, 0},
		{403, "", `{"error":{"errors":[{"reason":"forbidden"},{"reason":"userRateLimitExceeded"}]}}`, true, 0},
		{403, "", `{"error":{"errors":[{"reason":"quotaExceeded"}]}}`, true, 0},
		{403, "", `{"error":{"errors":[{"reason":"forbidden"}]}}`, false, 0},
		{403, "", `{"error":{"errors":{"reason":"quotaExceeded"}}}`, false, 0},
		{403, "Sforce-Limit-Info: api-usage=9/9", `[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]`, true, 0},
		{403, "", `[{"message":"REQUEST_LIMIT_EXCEEDED","errorCode":"INSUFFICIENT_ACCESS"}]`, false, 0},
		{400, "", `{"errors":[{"message":"m","extensions":{"code":"RATELIMITED"}}]}`, true, 0},
		{400, "", `{"errors":[{"message":"RATELIMITED","extensions":{"code":"BAD_USER_INPUT"}}]}`, false, 0},
		{400, "", `{"errors":[{"extensions":{"code":"RATELIMITED"}}`, false, 0}, // no JSON
		{200, "", `{"errors":[{"extensions":{"code":"THROTTLED"}}],"data":null}`, true, 0},
		{200, "", `{"data":{"text":"THROTTLED"}}`, false, 0},
		{200, "Retry-After: 30", `{"ok":false,"error":"ratelimited"}`, true, 30 * time.Second},
		{200, "", `{"ok":false,"error":"channel_not_found"}`, false, 0},
		{200, "X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 9", `{"ok":true}`, false, 0},
		{500, "Retry-After: 30", `{"ok":false,"error":"ratelimited"}`, false, 30 * time.Second},
		{401, "Retry-After: 30", "", false, 30 * time.Second},
		{418, "", `{"a/b":[{"c":1},{"c":"too slow"}]}`, true, 0},
		{418, "", `{"a/b":[{"c":{"c":"slow"}},{"d":"slow"},3]}`, false, 0},
		{200, "", `{"code":99}`, true, 0},
		{200, "", `{"code":[99]}`, false, 0},
	} {
		h := http.Header{}
		if c.fields != "" {
			h = header(c.fields)
		}
		got, ok := limits.Refused(c.status, h, []byte(c.body), own, now)
		if ok != c.want || got.RetryAfter != c.wait {
			t.Errorf("%d %q %s: %v %s, want %v %s", c.status, c.fields, c.body, ok, got.RetryAfter, c.want, c.wait)
		}
	}
}

func TestRefusedRPC(t *testing.T) {
	for _, c := range []struct {
		code          int
		message, data string
		want          bool
		wait          time.Duration
	}{
		{429, "x", "", true, 0},
		{-32029, "x", `null`, true, 0},
		{-32029, "x", `{"code":"rate_limited","retry_after_ms":1200}`, true, 1200 * time.Millisecond},
		{-32000, "Rate limit exceeded", `{"limit":100,"retryAfter":45}`, true, 45 * time.Second},
		{-32000, "Too Many Requests", `{"retry_after":"45"}`, true, 45 * time.Second},
		{-32000, "Rate limit exceeded", ``, false, 0},
		{-32000, "Rate limit exceeded", `{"limit":100}`, false, 0},
		{-32000, "no such row", `{"retryAfter":45}`, false, 0},
		{-32603, "x", `{"status":429,"retryAfterSeconds":2}`, true, 2 * time.Second},
		{-32603, "x", `{"statusCode":"429"}`, true, 0},
		{-32603, "x", `{"code":"RATE_LIMITED"}`, true, 0},
		{-32603, "x", `{"status":[429],"code":{"a":429}}`, false, 0},
		{-32603, "x", `{"status":404}`, false, 0},
		{-32602, "rate limit must be a number", `{"field":"rate"}`, false, 0},
		{429, "x", `{"retryAfter":1e9}`, true, limits.Most},
		{429, "x", `{"retryAfter":-5}`, true, 0},
		{429, "x", `{"retryAfter":"2099-01-01T00:00:00Z"}`, true, limits.Most},
		{429, "x", `{"retryAfter":"NaN"}`, true, 0},
		{429, "x", `{"retryAfter":[1,2],"retry_after":{"s":1}}`, true, 0},
		{429, "x", `{"retryAfterMs":1e400,"retryAfter":3}`, true, 3 * time.Second},
	} {
		got, ok := limits.RefusedRPC(c.code, c.message, json.RawMessage(c.data), now)
		if ok != c.want || got.RetryAfter != c.wait {
			t.Errorf("%d %s %s: %v %s, want %v %s", c.code, c.message, c.data, ok, got.RetryAfter, c.want, c.wait)
		}
	}
}

func TestLeft(t *testing.T) {
	for fields, want := range map[string]bool{
		"Content-Type: text/plain\nX-Request-Id: 1": false, "X-Ratelimit-Policy: 5": false, "X-RateLimit-Limit: 10": false,
		"X-RateLimit-Remaining: 1": true, `RateLimit: "a";r=1;t=2`: true, "X-Rate-Limit-Remaining: 1": true, "RateLimit-Remaining: 3": true,
		"X-HubSpot-RateLimit-Remaining: 90": true, "Retry-After: 3": false,
		"Sforce-Limit-Info: api-usage=1/2": true, "Sforce-Query-Options: x": false,
	} {
		if l, ok := limits.Left(header(fields), now); ok != want || ok != l.Known {
			t.Errorf("%q: %v %+v", fields, ok, l)
		}
	}
}

// However much a service sends, and whatever, the answer comes and is within
// bounds.
func TestHugeBodies(t *testing.T) {
	for _, body := range []string{
		strings.Repeat("[", 1<<20), strings.Repeat(`{"errors":`, 1<<17), `{"message":"` + strings.Repeat("x", 1<<20) + `secondary rate limit"}`,
		`{"errors":[` + strings.Repeat(`{"extensions":{"code":"x"}},`, 1<<15) + `{}]}`,
	} {
		began := time.Now()
		for _, status := range []int{200, 400, 403} {
			limits.Refused(status, http.Header{}, []byte(body), nil, now)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%.20s: %s", body, took)
		}
	}
}

func FuzzRefused(f *testing.F) {
	f.Add(403, "X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1e9", `{"message":"secondary rate limit"}`)
	f.Add(400, "Retry-After: 2099", `{"errors":[{"extensions":{"code":"RATELIMITED"}}]}`)
	f.Add(429, "Retry-After: -1", `{"retryAfter":1e9,"retry_after_ms":"NaN","status":[429]}`)
	f.Fuzz(func(t *testing.T, status int, fields, body string) {
		inBounds := func(l limits.Limits) {
			if l.RetryAfter < 0 || l.RetryAfter > limits.Most || l.Reset < 0 || l.Reset > limits.Most || l.Remaining < 0 {
				t.Errorf("%d %q %s: %+v", status, fields, body, l)
			}
		}
		l, _ := limits.Refused(status, header(fields), []byte(body), nil, now)
		inBounds(l)
		l, _ = limits.RefusedRPC(status, fields, json.RawMessage(body), now)
		inBounds(l)
	})
}
