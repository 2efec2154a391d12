// Package limits reads what an answer says about a quota.
//
// Job: find the fields in which services announce how much of a quota is left
// and when there will be more, whatever they call them and in whatever unit they
// count, and turn them into one value; tell a refusal for the quota's sake from
// any other, however a service puts it.
//
// It owns the tables of fields and of signals. It must not know what becomes of
// what it finds, or which upstream it came from; it believes nothing beyond
// [Most].
package limits

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Most is the longest wait that is believed. What says more is taken for this.
const Most = 15 * time.Minute

// Limits is what one response says. The zero value says nothing.
type Limits struct {
	// RetryAfter is how long to leave the service alone; 0 if it does not say.
	RetryAfter time.Duration
	// Known says that Remaining and Reset are meant.
	Known     bool
	Remaining float64       // of the quota that is nearest to its end
	Reset     time.Duration // until it is whole again; 0 if it does not say
}

// unit is how a field counts time.
type unit int

const (
	guess   unit = iota // seconds, a moment since the epoch in s or ms, a date, or a duration like 1m30s
	seconds             // from now; or a date (RFC 9110, section 10.2.3)
	millis              // from now
)

// retryFields say how long to wait, the most telling first.
var retryFields = []struct {
	name string
	unit unit
}{
	{"Retry-After-Ms", millis},
	{"X-Ms-Retry-After-Ms", millis}, // Azure
	{"Retry-After", seconds},
	{"X-Retry-After", seconds},
	{"X-Rate-Limit-Retry-After-Seconds", seconds}, // Zendesk's older APIs
}

// quotaFields come in pairs: what is left, and when it is whole again.
var quotaFields = []struct {
	remaining, reset string
	unit             unit
}{
	{"Ratelimit-Remaining", "Ratelimit-Reset", guess}, // draft-ietf-httpapi-ratelimit-headers before 08; Zendesk counts alike
	{"X-Ratelimit-Remaining", "X-Ratelimit-Reset", guess},
	{"X-Rate-Limit-Remaining", "X-Rate-Limit-Reset", guess},
	{"X-Ratelimit-Complexity-Remaining", "X-Ratelimit-Complexity-Reset", guess}, // Linear's points, of which a call costs several
	{"X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests", guess},
	{"X-Ratelimit-Requests-Remaining", "X-Ratelimit-Requests-Reset", guess},
	{"X-Hubspot-Ratelimit-Remaining", "X-Hubspot-Ratelimit-Interval-Milliseconds", millis}, // of the last ten seconds; all are back after as long again
	{"X-Hubspot-Ratelimit-Secondly-Remaining", "", guess},                                  // of the last second
	{"X-Hubspot-Ratelimit-Daily-Remaining", "", guess},
}

// Read returns what the header fields of a response say at the moment now.
func Read(h http.Header, now time.Time) Limits {
	var l Limits
	for _, f := range retryFields {
		if d, ok := until(h.Get(f.name), f.unit, now); ok {
			l.RetryAfter = d
			break
		}
	}
	for _, v := range h.Values("Beta-Ratelimit") { // Jira's points of an hour, as in the draft
		l.readDraft(v)
	}
	for _, f := range quotaFields {
		if n, ok := number(h.Get(f.remaining)); ok {
			reset, _ := until(h.Get(f.reset), f.unit, now)
			l.learn(n, reset)
		}
	}
	for _, v := range h.Values("Ratelimit") {
		l.readDraft(v)
	}
	l.readUsage(h.Get("Sforce-Limit-Info"))
	return l
}

// Left returns what the header fields of an answer say of a quota; false if they
// say nothing, which costs one look at each name.
func Left(h http.Header, now time.Time) (Limits, bool) {
	for name := range h {
		if strings.HasPrefix(name, "R") || strings.HasPrefix(name, "X-") || strings.HasPrefix(name, "Sf") {
			if strings.Contains(name, "limit") || strings.Contains(name, "-Limit") { // Ratelimit, Rate-Limit
				l := Read(h, now)
				return l, l.Known
			}
		}
	}
	return Limits{}, false
}

// learn keeps the quota that is nearest to its end.
func (l *Limits) learn(remaining float64, reset time.Duration) {
	if remaining < 0 {
		remaining = 0
	}
	if l.Known && (remaining > l.Remaining || remaining == l.Remaining && reset <= l.Reset) {
		return
	}
	l.Known, l.Remaining, l.Reset = true, remaining, reset
}

// readDraft reads the field RateLimit of draft-ietf-httpapi-ratelimit-headers
// from 08 on: a list of policies with the parameters r, what is left, and t, the
// seconds until there is more. Before 08 the same field was a dictionary.
func (l *Limits) readDraft(v string) {
	for item := range strings.SplitSeq(v, ",") {
		remaining, left := 0.0, false
		var reset time.Duration
		for p := range strings.FieldsFuncSeq(item, func(r rune) bool { return r == ';' || r == ' ' || r == '\t' }) {
			name, value, _ := strings.Cut(p, "=")
			switch strings.ToLower(name) {
			case "r", "remaining":
				remaining, left = number(value)
			case "t", "reset":
				reset, _ = until(value, guess, time.Time{})
			}
		}
		if left {
			l.learn(remaining, reset)
		}
	}
}

// readUsage reads what Salesforce says of the last 24 hours: what was used, of how
// much, by all and by the app that asks, as in "api-usage=18/5000;
// per-app-api-usage=17/250(appName=x)".
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_api_usage.htm
func (l *Limits) readUsage(v string) {
	for item := range strings.SplitSeq(v, ";") {
		_, usage, _ := strings.Cut(item, "=")
		used, most, ok := strings.Cut(usage, "/")
		most, _, _ = strings.Cut(most, "(")
		u, isNumber := number(used)
		if m, ok2 := number(most); ok && ok2 && isNumber {
			l.learn(m-u, 0)
		}
	}
}

// minutes is how Jira writes a moment.
// https://developer.atlassian.com/cloud/jira/platform/rate-limiting/
const minutes = "2006-01-02T15:04Z07:00"

// The numbers that can only be moments, not durations: seconds, and milliseconds,
// since the epoch.
const (
	epochSeconds = 1e9
	epochMillis  = 1e12
)

// until reads a time from now on. It reports false for what is none, and for
// what lies in the past.
func until(v string, u unit, now time.Time) (time.Duration, bool) {
	v = strings.TrimSpace(v)
	if v == "" {
		return 0, false
	}
	n, isNumber := number(v)
	switch {
	case isNumber && u == millis:
		return clamp(n / 1e3)
	case isNumber && n >= epochMillis:
		return clamp(n/1e3 - float64(now.UnixMilli())/1e3)
	case isNumber && n >= epochSeconds && u == guess:
		return clamp(n - float64(now.UnixMilli())/1e3)
	case isNumber:
		return clamp(n)
	}
	if d, err := time.ParseDuration(v); err == nil {
		return clamp(d.Seconds())
	}
	for _, layout := range []string{http.TimeFormat, time.RFC3339, time.RFC850, time.ANSIC, minutes} {
		if at, err := time.Parse(layout, v); err == nil {
			return clamp(at.Sub(now).Seconds())
		}
	}
	return 0, false
}

func clamp(seconds float64) (time.Duration, bool) {
	if seconds <= 0 {
		return 0, false
	}
	return time.Duration(min(seconds, Most.Seconds()) * float64(time.Second)), true
}

// number reads a finite number. A list, as some services send it, begins with
// the number that counts.
func number(v string) (float64, bool) {
	v, _, _ = strings.Cut(v, ",")
	n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
	return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
}
