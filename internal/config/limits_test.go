package config_test

import (
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

// limitBehaviour is more of behaviour: what is asked of an upstream at most.
var limitBehaviour = map[string]behaves{
	"upstream.*.limit.concurrency": {upstream(`sandbox = "crm"`, `limit = { concurrency = 1 }`), of(func(u config.Upstream) any { return u.Limit.Concurrency }), 1},
	"upstream.*.limit.queue":       {upstream(`sandbox = "crm"`, `limit.queue = 0`), of(func(u config.Upstream) any { return u.Limit.Queue }), 0},
	"upstream.*.limit.queue_wait":  {upstream(`sandbox = "crm"`, `limit.queue_wait = "2s"`), of(func(u config.Upstream) any { return u.Limit.QueueWait }), 2 * time.Second},
	"upstream.*.limit.rate":        {upstream(`sandbox = "crm"`, `limit.rate = "100/10s"`), of(func(u config.Upstream) any { return u.Limit.Rate }), config.Rate{Count: 100, Time: 10 * time.Second}},
	"upstream.*.limit.burst":       {upstream(`sandbox = "crm"`, `limit = { rate = "100/1m30s", burst = 100 }`), of(func(u config.Upstream) any { return u.Limit.Burst }), 100},
	"upstream.*.limit.per":         {upstream(`sandbox = "crm"`, `limit = { rate = "1/1s", per = "user" }`), of(func(u config.Upstream) any { return u.Limit.Per }), "user"},
	"upstream.*.retry.attempts":    {upstream(`sandbox = "crm"`, `retry = { attempts = 1 }`), of(func(u config.Upstream) any { return u.Retry.Attempts }), 1},
	"upstream.*.breaker.failures":  {upstream(`sandbox = "crm"`, `breaker.failures = 2`), of(func(u config.Upstream) any { return u.Breaker.Failures }), 2},
	"upstream.*.breaker.cool_down": {upstream(`sandbox = "crm"`, `breaker.cool_down = "1m"`), of(func(u config.Upstream) any { return u.Breaker.CoolDown }), time.Minute},
	"upstream.*.writes":            {upstream(`sandbox = "crm"`, `writes = "deny"`), of(func(u config.Upstream) any { return u.Writes }), "deny"},
	"upstream.*.unannotated":       {upstream(`sandbox = "crm"`, `unannotated = "serial"`), of(func(u config.Upstream) any { return u.Unannotated }), "serial"},
	"upstream.*.serialize_by":      {upstream(`sandbox = "crm"`, `serialize_by = "id"`), of(func(u config.Upstream) any { return u.SerializeBy }), "id"},
	"upstream.*.trust_annotations": {upstream(`sandbox = "crm"`, `trust_annotations = true`), of(func(u config.Upstream) any { return u.TrustAnnotations }), true},
	"upstream.*.tools.override.*.cost": {upstream(`sandbox = "crm"`, `tools.override.put.cost = 5`),
		of(func(u config.Upstream) any { return u.Tools.Override }), map[string]*config.Override{"put": {Cost: 5}}},
}

// limitFaults is more of faultCases.
var limitFaults = []faultCase{
	{"limits", upstream("sandbox = 'crm'", "limit = { concurrency = 0, queue = -1, per = 'users', rate = 100 }", "retry.attempts = 0", "breaker = { failures = 0 }",
		"writes = 'serail'", "trust_annotations = 'yes'", "unannotated = 'deny'", "tools.override.x.cost = 0"), []string{
		"upstream.crm.limit.concurrency: 0 is out of range: from 1 to 10000 | concurrency = 4", "upstream.crm.limit.queue: -1 is out of range",
		`upstream.crm.limit.per: cannot be "users" | did you mean user?`, `upstream.crm.limit.rate: must be calls/duration in quotes, not the number 100 | rate = "100/10s"`,
		"upstream.crm.retry.attempts: 0 is out of range: from 1 to 10", "upstream.crm.breaker.failures: 0 is out of range: from 1 to 1000",
		`upstream.crm.writes: cannot be "serail" | did you mean serial?`, "upstream.crm.trust_annotations: must be true or false", `upstream.crm.unannotated: cannot be "deny" | one of parallel, serial`,
		"upstream.crm.tools.override.x.cost: 0 is out of range: from 1 to 1000000",
	}},
	{"rate without unit", upstream("sandbox = 'crm'", "limit.rate = '100'"), []string{`upstream.crm.limit.rate: "100" says no time: how many calls are allowed in how long a time | rate = "100/10s"`}},
	{"rate unit", upstream("sandbox = 'crm'", "limit.rate = '100/10'"), []string{`upstream.crm.limit.rate: "100/10" is no rate: a number of calls, /, and a duration with a unit`}},
	{"rate of nothing", upstream("sandbox = 'crm'", "limit.rate = '0/1s'"), []string{`upstream.crm.limit.rate: "0/1s" is no rate`}},
	{"negative rate", upstream("sandbox = 'crm'", "limit.rate = '-5/1s'"), []string{`upstream.crm.limit.rate: "-5/1s" is no rate`}},
	{"rates", upstream("sandbox = 'crm'", "limit.rate = '1/0s'") + "[upstream.x]\nsandbox = 'crm'\nlimit.rate = '5/25h'", []string{
		`upstream.crm.limit.rate: "1/0s" is out of range: the time must be from 1ms to 24h`, `upstream.x.limit.rate: "5/25h" is out of range`}},
	{"no rate", upstream("sandbox = 'crm'", "limit = { burst = 5, per = 'user' }"), []string{
		"upstream.crm.limit.burst: belongs to rate, which is not set | add rate", "upstream.crm.limit.per: belongs to rate"}},
	{"burst", upstream("sandbox = 'crm'", "limit = { rate = '10/1s', burst = 4 }", "tools.override.put.cost = 5") + "[upstream.x]\nsandbox = 'crm'\nlimit = { rate = '10/1s', burst = 11 }", []string{
		"upstream.crm.limit.burst: 4 is less than a call of put costs, which is 5: it could never be made | raise it", "upstream.x.limit.burst: 11 is more than rate allows in all, which is 10"}},
	{"cost", upstream("sandbox = 'crm'", "limit.rate = '10/1s'", "tools.override.'put.all'.cost = 11"), []string{
		`upstream.crm.tools.override."put.all".cost: is more than limit.rate, which is 10 in 1s: the tool could never be called | lower it`}},
	{"waits", upstream("sandbox = 'crm'", "limit.queue_wait = '0s'", "breaker.cool_down = '1h'"), []string{
		`upstream.crm.limit.queue_wait: "0s" is out of range: from 1ms to 1h`, `upstream.crm.breaker.cool_down: "1h" is out of range: from 10ms to 5m`}},
	{"longer waits", "[server]\ndeadline = '5s'\n" + upstream("sandbox = 'crm'", "limit.queue_wait = '5s'"), []string{
		"upstream.crm.limit.queue_wait: is not shorter than server.deadline, which is 5s: no call could wait that long | shorten it"}},
	{"no line", upstream("sandbox = 'crm'", "writes = 'parallel'", "serialize_by = 'id'"), []string{
		"upstream.crm.serialize_by: has no effect, because no calls run one after another | remove it"}},
	{"line of the unannotated", upstream("sandbox = 'crm'", "writes = 'parallel'", "unannotated = 'serial'", "serialize_by = 'id'"), nil},
}

// Whoever sets nothing is in nobody's way, and a short deadline does not make
// the defaults faults.
func TestLimitDefaults(t *testing.T) {
	cfg := mustParse(t, upstream("sandbox = 'crm'"))
	want := config.Limit{Concurrency: 256, Queue: 256, QueueWait: 10 * time.Second, Per: "upstream"}
	u := cfg.Upstreams[0]
	if u.Limit != want || u.Limit.Refill() != 0 || u.Retry.Attempts != 3 || u.Breaker != (config.Breaker{Failures: 5, CoolDown: 5 * time.Second}) ||
		u.Writes != "serial" || u.Unannotated != "parallel" || u.TrustAnnotations {
		t.Errorf("%+v", u)
	}
	cfg = mustParse(t, "[server]\ndeadline = '5s'\n"+upstream("sandbox = 'crm'"))
	if wait := cfg.Upstreams[0].Limit.QueueWait; wait != 0 {
		t.Errorf("a queue wait of %s within a deadline of 5s", wait)
	}
}

// Burst and refill together never exceed the rate, and always come to something.
func TestBurstAndRefill(t *testing.T) {
	for rate, want := range map[string]struct {
		burst  int
		refill float64
	}{
		`"100/10s"`: {10, 9.1}, `"1/1s"`: {1, 1}, `"5/1s"`: {1, 5}, `"100/10s", burst = 100`: {100, 0.1}, `"100/10s", burst = 1`: {1, 10},
	} {
		l := mustParse(t, upstream("sandbox = 'crm'", "limit = { rate = "+rate+" }")).Upstreams[0].Limit
		if l.Burst != want.burst || l.Refill() != want.refill {
			t.Errorf("%s: burst %d, refill %g", rate, l.Burst, l.Refill())
		}
	}
	l := mustParse(t, upstream("sandbox = 'crm'", "limit.rate = '10/1s'", "tools.override.put.cost = 4")).Upstreams[0].Limit
	if l.Burst != 4 {
		t.Errorf("a burst of %d for a call that costs 4", l.Burst)
	}
}

func TestLimitsFromTheEnvironment(t *testing.T) {
	u := mustParse(t, upstream("sandbox = 'crm'", "limit = { concurrency = 2, rate = '1/1s' }"),
		"BULKHEAD_UPSTREAM__CRM__LIMIT__CONCURRENCY=4", "BULKHEAD_UPSTREAM__CRM__LIMIT__RATE=50/1m",
		"BULKHEAD_UPSTREAM__CRM__RETRY__ATTEMPTS=1", "BULKHEAD_UPSTREAM__CRM__BREAKER__COOL_DOWN=1m",
		"BULKHEAD_UPSTREAM__CRM__WRITES=parallel", "BULKHEAD_UPSTREAM__CRM__TOOLS__OVERRIDE__put__COST=5",
	).Upstreams[0]
	if u.Limit.Concurrency != 4 || u.Limit.Rate != (config.Rate{Count: 50, Time: time.Minute}) || u.Limit.Burst != 5 ||
		u.Retry.Attempts != 1 || u.Breaker.CoolDown != time.Minute || u.Writes != "parallel" || u.Tools.Override["put"].Cost != 5 {
		t.Errorf("%+v", u)
	}
}
