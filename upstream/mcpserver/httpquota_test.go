package mcpserver_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// What a good answer says of a quota comes with the result, in whatever form the
// answer is; an error that a tool reports is never taken for one.
func TestQuotaOfAnAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		fields map[string]string
		stream bool
		want   *upstream.Quota
	}{
		"silent":      {map[string]string{"X-Request-Id": "1", "Retry-After": "5"}, false, nil},
		"draft":       {map[string]string{"RateLimit": `"a";r=3;t=7`}, false, &upstream.Quota{Remaining: 3, Reset: 7 * time.Second}},
		"vendor":      {map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9"}, true, &upstream.Quota{Reset: 9 * time.Second}},
		"hostile":     {map[string]string{"X-RateLimit-Remaining": "-1e9", "X-RateLimit-Reset": "1e300"}, false, &upstream.Quota{Reset: 15 * time.Minute}},
		"not a quota": {map[string]string{"X-RateLimit-Remaining": "NaN", "RateLimit": ";;==,"}, false, nil},
	} {
		a := startHTTP(t, &legacy{onCall: func(w http.ResponseWriter, _ *http.Request, m *fakeMsg) bool {
			for field, value := range c.fields {
				w.Header().Set(field, value)
			}
			const result = `{"content":[{"type":"text","text":"429 rate limit exceeded"}],"isError":true}`
			if c.stream {
				sse(w)
				_, _ = w.Write([]byte(`data: {"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":` + result + "}\n\n"))
				return true
			}
			answerJSON(w, m.ID, result)
			return true
		}})
		res, err := call(t.Context(), a, "echo", `{}`)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if (res.Quota == nil) != (c.want == nil) || res.Quota != nil && *res.Quota != *c.want {
			t.Errorf("%s: %+v, want %+v", name, res.Quota, c.want)
		}
	}
}
