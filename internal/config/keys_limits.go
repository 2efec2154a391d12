package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

var limitSection = section{
	path: "upstream.*.limit",
	doc:  "What the source is asked at most, by all clients together. Who has to wait does so in turns between the clients' sessions, so that one with many calls does not hold up another.",
	keys: []key{
		{name: "concurrency", kind: number, def: int64(256), example: int64(4), least: 1, most: 10_000,
			doc:   "How many calls run at once; `1` makes them run one after another. It is halved for a while when the source says that it is too much.",
			field: func(t target) any { return &t.upstream.Limit.Concurrency }},
		{name: "queue", kind: number, def: int64(256), example: int64(64), least: 0, most: 100_000,
			doc:   "How many more may wait for a place; those beyond fail at once as `overloaded`. As many writes may wait for each other.",
			field: func(t target) any { return &t.upstream.Limit.Queue }},
		{name: "queue_wait", kind: duration, def: "10s", example: "2s", least: int64(time.Millisecond), most: hour,
			doc:   "How long a call may wait for a place before it fails as `overloaded`. Must be shorter than a fixed `server.deadline`.",
			field: func(t target) any { return &t.upstream.Limit.QueueWait }},
		{name: "rate", kind: rate, example: "100/10s",
			doc:   "How many calls are made at most in any time of the given length, as the vendor counts them. Those beyond wait; one that could not be made before its deadline fails at once as `rate_limited`. Left out there is no limit but what the source says itself.",
			field: func(t target) any { return &t.upstream.Limit.Rate }},
		{name: "burst", kind: number, example: int64(10), least: 1, most: 1_000_000,
			doc:   "How many of `rate` may be made in one moment after a pause; the others are spread over the time. Left out it is a tenth of them, and at least the dearest call. With `rate` only.",
			field: func(t target) any { return &t.upstream.Limit.Burst }},
		{name: "per", kind: text, def: "upstream", example: "user", enum: []string{"upstream", "user", "credential"},
			doc:   "Whose calls the vendor counts together: `upstream` those of everybody, `user` those of each user apart, `credential` those of everybody to all upstreams that say so and sign in to the same origin (or run the same command) with the same credential. These need the same `rate` and `burst`.",
			field: func(t target) any { return &t.upstream.Limit.Per }},
	},
}

var classSection = section{
	path: "upstream.*.limit.class.*",
	doc:  "Tools that the vendor counts apart, such as searches. Their calls are counted here and in `limit.rate`. When the source says that one of them is too much, only the class is left alone. The name is of your choice, in the form of an upstream's.",
	keys: []key{
		{name: "tools", kind: list, required: true, example: []any{"search_*"}, check: checkGlob,
			doc:   "Patterns of the tools, by the upstream's own names. A tool is in one class at most.",
			field: func(t target) any { return &t.class.Tools }},
		{name: "rate", kind: rate, required: true, example: "10/1m",
			doc:   "How many calls of these tools are made at most, like `limit.rate`.",
			field: func(t target) any { return &t.class.Rate }},
		{name: "burst", kind: number, example: int64(2), least: 1, most: 1_000_000,
			doc:   "How many of `rate` may be made in one moment, like `limit.burst`.",
			field: func(t target) any { return &t.class.Burst }},
	},
	each: func(t target, name string) target {
		c := &Class{}
		if t.upstream.Limit.Classes == nil {
			t.upstream.Limit.Classes = make(map[string]*Class)
		}
		t.upstream.Limit.Classes[name] = c
		return target{class: c}
	},
	named: naming{className, "is no name for a class", "begin with a lower-case letter and use at most 24 of a-z, 0-9, _ and -", "CLASS"},
}

var retrySection = section{
	path: "upstream.*.retry",
	doc:  "Calls that failed for a moment are made again, after a random pause or the one that the source asks for, as long as the deadline and a common budget allow: those that provably were not carried out, and those that may be repeated (see `trust_annotations`).",
	keys: []key{
		{name: "attempts", kind: number, def: int64(3), example: int64(2), least: 1, most: 10,
			doc:   "How often a call is made in all; `1` makes none again.",
			field: func(t target) any { return &t.upstream.Retry.Attempts }},
	},
}

var breakerSection = section{
	path: "upstream.*.breaker",
	doc:  "A source that keeps failing is left alone for a while: its calls fail at once, then a single one tries. Each tool has such a circuit of its own. What counts is no answer, a lost connection, garbage and HTTP 5xx; other errors that the source answers, answers that are too long, rate limits and refused sign-ins do not.",
	keys: []key{
		{name: "failures", kind: number, def: int64(5), example: int64(3), least: 1, most: 1000,
			doc:   "After how many failures in a row the circuit opens; connections that are lost or refused within 200 ms are one failure. It also opens when half of ten calls or more within 30 s have failed.",
			field: func(t target) any { return &t.upstream.Breaker.Failures }},
		{name: "cool_down", kind: duration, def: "5s", example: "30s", least: int64(10 * time.Millisecond), most: 5 * minute,
			doc:   "How long it stays open the first time; twice as long each time that the try fails, up to 5 minutes.",
			field: func(t target) any { return &t.upstream.Breaker.CoolDown }},
	},
}

const longestRate = 24 * time.Hour

func decodeRate(d *decoder, k *key, path string, raw, into any) {
	v, ok := raw.(string)
	if !ok {
		d.wrong(k, path, "must be calls/duration in quotes, not "+describe(raw))
		return
	}
	count, in, found := strings.Cut(v, "/")
	if !found {
		d.wrong(k, path, quote(v)+" says no time: how many calls are allowed in how long a time")
		return
	}
	n, err := strconv.Atoi(count)
	t, timeErr := time.ParseDuration(in)
	switch {
	case !rateForm.MatchString(v) || err != nil || timeErr != nil:
		d.wrong(k, path, quote(v)+" is no rate: a number of calls, /, and a duration with a unit of ms, s, m or h")
	case t < time.Millisecond || t > longestRate:
		d.wrong(k, path, fmt.Sprintf("%s is out of range: the time must be from 1ms to %s", quote(v), durationText(int64(longestRate))))
	default:
		*into.(*Rate) = Rate{n, t}
	}
}
