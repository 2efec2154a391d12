package limits_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/limits"
)

// A refusal that tells how full the bucket is tells how long to wait.
func TestRefill(t *testing.T) {
	const body = `{"errors":[{"extensions":{"code":"THROTTLED"}}],"extensions":{"cost":%s}}`
	for cost, want := range map[string]time.Duration{
		`{"requestedQueryCost":101,"actualQueryCost":null,"throttleStatus":{"maximumAvailable":2000.0,"currentlyAvailable":41,"restoreRate":50.0}}`: 1200 * time.Millisecond,
		`{"requestedQueryCost":101,"throttleStatus":{"currentlyAvailable":500,"restoreRate":50}}`:                                                   0,
		`{"requestedQueryCost":101,"throttleStatus":{"currentlyAvailable":1,"restoreRate":0}}`:                                                      0,
		`{"requestedQueryCost":1e300,"throttleStatus":{"currentlyAvailable":1,"restoreRate":1e-300}}`:                                               limits.Most,
		`{"requestedQueryCost":"101","throttleStatus":[]}`:                                                                                          0,
		`null`: 0, `[1]`: 0,
	} {
		l, refused := limits.Refused(http.StatusOK, http.Header{}, fmt.Appendf(nil, body, cost), nil, now)
		if !refused || l.RetryAfter != want {
			t.Errorf("%s: %v %s, want %s", cost, refused, l.RetryAfter, want)
		}
	}
	header := http.Header{"Retry-After": {"7"}} // counts more
	if l, _ := limits.Refused(http.StatusOK, header, fmt.Appendf(nil, body, `{"requestedQueryCost":101,"throttleStatus":{"restoreRate":1}}`), nil, now); l.RetryAfter != 7*time.Second {
		t.Error(l.RetryAfter)
	}
}
