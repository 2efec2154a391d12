package config_test

import (
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

// cacheBehaviour is more of behaviour: what of the answers is kept.
var cacheBehaviour = map[string]behaves{
	"server.cache_size":      {server(`cache_size = "1GiB"`), func(c *config.Config) any { return c.Server.CacheSize }, int64(1 << 30)},
	"upstream.*.cache.ttl":   {upstream(`sandbox = "crm"`, `cache = { ttl = "0s" }`), of(func(u config.Upstream) any { return u.Cache }), config.Cache{TTL: new(time.Duration(0))}},
	"upstream.*.cache.stale": {upstream(`sandbox = "crm"`, `cache = { ttl = "30s", stale = "5m" }`), of(func(u config.Upstream) any { return u.Cache.Stale }), 5 * time.Minute},
	"upstream.*.tools.override.*.ttl": {upstream(`sandbox = "crm"`, `tools.override.get = { read_only = true, ttl = "10m" }`),
		of(func(u config.Upstream) any { return u.Tools.Override }), map[string]*config.Override{"get": {Hints: config.Hints{ReadOnly: new(true)}, TTL: new(10 * time.Minute)}}},
}

// cacheFaults is more of faultCases.
var cacheFaults = []faultCase{
	{"cache", "[server]\ncache_size = '1000KiB'\n" + upstream("sandbox = 'crm'", "cache = { ttl = 30, stale = '-1s', coalesce = true }", "tools.override.x.ttl = '25h'"), []string{
		"server.cache_size: \"1000KiB\" is out of range: from 1MiB to 64GiB", "upstream.crm.cache.ttl: must be a duration in quotes, not the number 30 | ttl = \"30s\"",
		`upstream.crm.cache.stale: "-1s" is no duration`, "upstream.crm.cache.coalesce: unknown key", `upstream.crm.tools.override.x.ttl: "25h" is out of range: from 0s to 24h`}},
	{"ttl of what may write", upstream("sandbox = 'crm'", "tools.override.'a b'.ttl = '1s'", "tools.override.put = { idempotent = true, ttl = '1s' }"), []string{
		`upstream.crm.tools.override."a b".ttl: is set for a tool that is not said to only read: answers of others are never kept | add upstream.crm.tools.override."a b".read_only = true`,
		"upstream.crm.tools.override.put.ttl: is set for a tool that is not said to only read | upstream.crm.trust_annotations = true"}},
	{"ttl of what writes", upstream("sandbox = 'crm'", "trust_annotations = true", "tools.override.put = { read_only = false, ttl = '1s' }"), []string{
		"upstream.crm.tools.override.put.ttl: is set for a tool that is said to change something | remove ttl"}},
	{"stale of nothing", upstream("sandbox = 'crm'", "cache = { ttl = '0s', stale = '1m' }"), []string{
		"upstream.crm.cache.stale: has no effect, because nothing is kept | remove it"}},
	{"ttl that is trusted", upstream("sandbox = 'crm'", "trust_annotations = true", "cache = { ttl = '0s', stale = '1m' }", "tools.override.get.ttl = '1s'"), nil},
	{"ttl of nothing", upstream("sandbox = 'crm'", "tools.override.put.ttl = '0s'"), nil},
	{"stale without ttl", upstream("sandbox = 'crm'", "cache.stale = '1m'"), nil},
}

func TestCacheDefaults(t *testing.T) {
	cfg := mustParse(t, upstream("sandbox = 'crm'"))
	if c := cfg.Upstreams[0].Cache; c != (config.Cache{}) || cfg.Server.CacheSize != 64<<20 {
		t.Errorf("%+v, %d bytes", c, cfg.Server.CacheSize)
	}
	cfg = mustParse(t, upstream("sandbox = 'crm'", "cache.ttl = '1s'"), "BULKHEAD_UPSTREAM__CRM__CACHE__TTL=1m", "BULKHEAD_SERVER__CACHE_SIZE=2MiB")
	if ttl := cfg.Upstreams[0].Cache.TTL; ttl == nil || *ttl != time.Minute || cfg.Server.CacheSize != 2<<20 {
		t.Errorf("%v, %d bytes", ttl, cfg.Server.CacheSize)
	}
}
