package limits_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/upstream/limits"
)

func TestMain(m *testing.M) {
	egress.Poison()
	goleak.VerifyTestMain(m)
}

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) // 1795348800 since the epoch

// header makes a header of lines like "Name: value".
func header(lines string) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(lines, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

func TestRead(t *testing.T) {
	known := func(remaining float64, reset time.Duration) limits.Limits {
		return limits.Limits{Known: true, Remaining: remaining, Reset: reset}
	}
	wait := func(d time.Duration) limits.Limits { return limits.Limits{RetryAfter: d} }
	for text, want := range map[string]limits.Limits{
		"Content-Type: text/plain":                   {},
		"Retry-After: 12":                            wait(12 * time.Second),
		"Retry-After: 1.5":                           wait(1500 * time.Millisecond),
		"Retry-After: Sun, 22 Nov 2026 12:01:00 GMT": wait(time.Minute),
		"Retry-After: Sun, 22 Nov 2026 11:00:00 GMT": {},
		"Retry-After: Sun, 22 Nov 2099 12:00:00 GMT": wait(limits.Most),
		"Retry-After: 1000000000":                    wait(limits.Most),
		"Retry-After: 1e400":                         {},
		"Retry-After: -5":                            {},
		"Retry-After: NaN":                           {},
		"Retry-After: soon":                          {},
		"Retry-After: 7\nRetry-After-Ms: 250":        wait(250 * time.Millisecond),
		// The draft from 08 on, with one and with several policies.
		`RateLimit: "default";r=50;t=30`:                   known(50, 30*time.Second),
		`RateLimit: "hour";r=500;t=3000, "second";r=0;t=1`: known(0, time.Second),
		`RateLimit: limit=100, remaining=3, reset=20`:      known(3, 0),
		// GitHub: a moment; others: seconds, a date, a duration, milliseconds.
		"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1795348860":                      known(0, time.Minute),
		"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1795348860000":                   known(0, time.Minute),
		"X-RateLimit-Remaining: 3\nX-RateLimit-Reset: 45":                              known(3, 45*time.Second),
		"X-RateLimit-Remaining: 3\nX-RateLimit-Reset: 2026-11-22T12:00:10Z":            known(3, 10*time.Second),
		"x-ratelimit-remaining-requests: 9\nx-ratelimit-reset-requests: 1m30s":         known(9, 90*time.Second),
		"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1":                               known(0, time.Second),
		"X-RateLimit-Remaining: -4":                                                    known(0, 0),
		"X-RateLimit-Remaining: many":                                                  {},
		"X-RateLimit-Remaining: 10, 10;w=1":                                            known(10, 0),
		"RateLimit-Remaining: 0\nRateLimit-Reset: 60":                                  known(0, time.Minute),
		"X-HubSpot-RateLimit-Remaining: 90\nX-HubSpot-RateLimit-Secondly-Remaining: 2": known(2, 0),
		"X-HubSpot-RateLimit-Max: 100\nX-HubSpot-RateLimit-Remaining: 90\nX-HubSpot-RateLimit-Interval-Milliseconds: 10000\nX-HubSpot-RateLimit-Daily-Remaining: 4000": known(90, 10*time.Second),
		"X-HubSpot-RateLimit-Remaining: 90\nX-HubSpot-RateLimit-Interval-Milliseconds: 10000\nX-HubSpot-RateLimit-Daily-Remaining: 3":                                  known(3, 0),
		// Salesforce: what was used, of how much.
		"Sforce-Limit-Info: api-usage=18/5000": known(4982, 0),
		"Sforce-Limit-Info: api-usage=18/5000; per-app-api-usage=245/250(appName=sample-connected-app)": known(5, 0),
		"Sforce-Limit-Info: api-usage=5001/5000":                                                        known(0, 0),
		"Sforce-Limit-Info: api-usage=some/5000; x/":                                                    {},
	} {
		if got := limits.Read(header(text), now); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("Retry-After: 12")
	f.Add(`RateLimit: "a";r=1;t=2, ;;=,`)
	f.Add("X-RateLimit-Remaining: 1e308\nX-RateLimit-Reset: 1e308")
	f.Fuzz(func(t *testing.T, text string) {
		l := limits.Read(header(text), now)
		if l.RetryAfter < 0 || l.RetryAfter > limits.Most || l.Reset < 0 || l.Reset > limits.Most || l.Remaining < 0 {
			t.Errorf("%q: %+v", text, l)
		}
	})
}

// What single vendors have of their own.
func TestReadVendors(t *testing.T) {
	known := func(remaining float64, reset time.Duration) limits.Limits {
		return limits.Limits{Known: true, Remaining: remaining, Reset: reset}
	}
	for text, want := range map[string]limits.Limits{
		// Jira: to the minute; and its points of an hour.
		"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 2026-11-22T12:02Z":                known(0, 2*time.Minute),
		"X-RateLimit-Remaining: 349\nBeta-RateLimit: \"tenant-app-quota\";r=12;t=600":   known(12, 10*time.Minute),
		"X-RateLimit-Remaining: 3\nBeta-RateLimit: \"tenant-app-quota\";r=17842;t=2107": known(3, 0),
		"X-RateLimit-Requests-Remaining: 90\nX-RateLimit-Complexity-Remaining: many":    known(90, 0),
		"X-RateLimit-Requests-Remaining: 90\nX-RateLimit-Requests-Reset: 1795348860000\n" + // Linear
			"X-RateLimit-Complexity-Remaining: 3\nX-RateLimit-Complexity-Reset: 1795348830000": known(3, 30*time.Second),
	} {
		if got := limits.Read(header(text), now); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}
