package config_test

import (
	"reflect"
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
	"upstream.*.limit.class.*.tools": {upstream(`sandbox = "crm"`, `limit.class.find = { tools = ["find_*", "get/x"], rate = "10/1m" }`),
		of(func(u config.Upstream) any { return u.Limit.Classes["find"].Tools }), []string{"find_*", "get/x"}},
	"upstream.*.limit.class.*.rate": {upstream(`sandbox = "crm"`, `limit.class.find = { tools = ["find_*"], rate = "30/1m" }`),
		of(func(u config.Upstream) any { return *u.Limit.Classes["find"] }), config.Class{Tools: []string{"find_*"}, Rate: config.Rate{Count: 30, Time: time.Minute}, Burst: 3}},
	"upstream.*.limit.class.*.burst": {upstream(`sandbox = "crm"`, `limit.class.find = { tools = ["find_*"], rate = "30/1m", burst = 2 }`),
		of(func(u config.Upstream) any { return u.Limit.Classes["find"].Burst }), 2},
	"upstream.*.retry.attempts":    {upstream(`sandbox = "crm"`, `retry = { attempts = 1 }`), of(func(u config.Upstream) any { return u.Retry.Attempts }), 1},
	"upstream.*.breaker.failures":  {upstream(`sandbox = "crm"`, `breaker.failures = 2`), of(func(u config.Upstream) any { return u.Breaker.Failures }), 2},
	"upstream.*.breaker.cool_down": {upstream(`sandbox = "crm"`, `breaker.cool_down = "1m"`), of(func(u config.Upstream) any { return u.Breaker.CoolDown }), time.Minute},
	"upstream.*.writes":            {upstream(`sandbox = "crm"`, `writes = "deny"`), of(func(u config.Upstream) any { return u.Writes }), "deny"},
	"upstream.*.unannotated":       {upstream(`sandbox = "crm"`, `unannotated = "serial"`), of(func(u config.Upstream) any { return u.Unannotated }), "serial"},
	"upstream.*.serialize_by":      {upstream(`sandbox = "crm"`, `serialize_by = "id"`), of(func(u config.Upstream) any { return u.SerializeBy }), "id"},
	"upstream.*.trust_annotations": {upstream(`sandbox = "crm"`, `trust_annotations = true`), of(func(u config.Upstream) any { return u.TrustAnnotations }), true},
	"upstream.*.tools.override.*.cost": {upstream(`sandbox = "crm"`, `tools.override.put.cost = 5`),
		of(func(u config.Upstream) any { return u.Tools.Override }), map[string]*config.Override{"put": {Cost: 5}}},
	"upstream.*.tools.override.*.hedge": {upstream(`sandbox = "crm"`, `tools.override.get = { hedge = true, read_only = true }`),
		of(func(u config.Upstream) any { return u.Tools.Override["get"].Hedge }), true},
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
	{"class", upstream("sandbox = 'crm'", "limit.class.a = { rate = '100' }", "limit.class.b = { tools = [], rate = '5/1m', burst = 6 }", "limit.class.c = { tools = ['['] }", "limit.class.'D x' = {}"), []string{
		`upstream.crm.limit.class.a.rate: "100" says no time`, "upstream.crm.limit.class.a.tools: is missing | search_*", "upstream.crm.limit.class.b.tools: names no tools | search_*",
		"upstream.crm.limit.class.b.burst: 6 is more than rate allows in all, which is 5 | lower it", `upstream.crm.limit.class.c.tools[0]: "[" is no pattern`, "upstream.crm.limit.class.c.rate: is missing",
		`upstream.crm.limit.class."D x": is no name for a class | lower-case`}},
	{"class costs", upstream("sandbox = 'crm'", "tools.override.put.cost = 5", "limit.class.a = { tools = ['p*'], rate = '10/1m', burst = 4 }", "limit.class.b = { tools = ['g*'], rate = '10/1m', burst = 4 }") +
		"[upstream.x]\nsandbox = 'crm'\ntools.override.put.cost = 5\nlimit.class.a = { tools = ['put'], rate = '4/1s' }", []string{
		"upstream.crm.limit.class.a.burst: 4 is less than a call of put costs, which is 5: it could never be made | raise it",
		"upstream.x.tools.override.put.cost: is more than limit.class.a.rate, which is 4 in 1s: the tool could never be called | lower it"}},
	{"two classes", upstream("sandbox = 'crm'", "limit.class.a = { tools = ['get_*'], rate = '10/1m' }", "limit.class.b = { tools = ['get_one'], rate = '10/1m' }"), []string{
		`upstream.crm.limit.class.b.tools: "get_one" is in the class a too | keep it in one`}},
	{"two patterns", upstream("sandbox = 'crm'", "limit.class.a = { tools = ['[gh]et*'], rate = '10/1m' }", "limit.class.b = { tools = ['[gh]et*'], rate = '10/1m' }"), []string{
		`upstream.crm.limit.class.b.tools: "[gh]et*" is in the class a too`}},
	{"two classes of an override", upstream("sandbox = 'crm'", "tools.override.get.cost = 2", "limit.class.a = { tools = ['g?t'], rate = '20/1m' }", "limit.class.b = { tools = ['ge*'], rate = '20/1m' }"), []string{
		`upstream.crm.limit.class.b.tools: "get" is in the class a too`}},
	{"classes apart", upstream("sandbox = 'crm'", "limit.class.a = { tools = ['get_*'], rate = '10/1m' }", "limit.class.b = { tools = ['put_*'], rate = '10/1m' }"), nil},
	{"hedge", upstream("sandbox = 'crm'", "tools.override.a.hedge = true", "tools.override.b = { hedge = true, read_only = false, idempotent = true }", "tools.override.c = { hedge = true, read_only = true }"), []string{
		"upstream.crm.tools.override.a.hedge: makes calls twice, and nothing here says that the tool changes nothing | read_only = true", "upstream.crm.tools.override.b.hedge: makes calls twice"}},
	{"accounts", "[upstream.a]\nurl = 'https://X.example/a'\nlimit = { rate = '10/1s', per = 'credential' }\n[upstream.b]\nurl = 'https://x.example/b'\nlimit = { rate = '11/1s', per = 'credential' }", []string{
		`upstream.b.limit: rate and burst differ from those of upstream.a, which signs in with the same credential | give both the same`}},
	{"accounts without a rate", "[upstream.a]\nurl = 'https://x.example/a'\nlimit = { per = 'credential' }\n[upstream.b]\nurl = 'https://x.example/b'\nlimit = { per = 'credential' }\n" +
		"[upstream.c]\nurl = 'https://y.example/b'\nlimit = { rate = '1/1s', per = 'credential' }\n[upstream.d]\nurl = 'https://x.example/a'\nlimit.rate = '1/1s'", nil},
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
	if !reflect.DeepEqual(u.Limit, want) || u.Limit.Refill() != 0 || u.Retry.Attempts != 3 || u.Breaker != (config.Breaker{Failures: 5, CoolDown: 5 * time.Second}) ||
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
	u := mustParse(t, upstream("sandbox = 'crm'", "limit = { concurrency = 2, rate = '1/1s', class = { find_it = { tools = ['x'], rate = '5/1s', burst = 1 } } }"),
		"BULKHEAD_UPSTREAM__CRM__LIMIT__CONCURRENCY=4", "BULKHEAD_UPSTREAM__CRM__LIMIT__RATE=50/1m",
		"BULKHEAD_UPSTREAM__CRM__RETRY__ATTEMPTS=1", "BULKHEAD_UPSTREAM__CRM__BREAKER__COOL_DOWN=1m",
		"BULKHEAD_UPSTREAM__CRM__LIMIT__CLASS__find_it__BURST=2", "BULKHEAD_UPSTREAM__CRM__WRITES=parallel", "BULKHEAD_UPSTREAM__CRM__TOOLS__OVERRIDE__put__COST=5",
	).Upstreams[0]
	if u.Limit.Concurrency != 4 || u.Limit.Rate != (config.Rate{Count: 50, Time: time.Minute}) || u.Limit.Burst != 5 || u.Limit.Classes["find_it"].Burst != 2 ||
		u.Retry.Attempts != 1 || u.Breaker.CoolDown != time.Minute || u.Writes != "parallel" || u.Tools.Override["put"].Cost != 5 {
		t.Errorf("%+v", u)
	}
}
