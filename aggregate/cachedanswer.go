package aggregate

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/bulkhead-mcp/bulkhead/cache"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// MetaCache is the key under which the _meta of a result that was answered from
// memory says so: {"state": "fresh" or "stale", "ageMs": ...}, and under "error"
// the facts of why a newer one could not be had.
const MetaCache = "io.github.bulkhead-mcp/cache"

// What memory had to do with a call, see [upstream.Timing].
const (
	byCache   = "cached"
	byStale   = "stale"
	byFlight  = "coalesced"
	byRenewal = "renewal"
)

type cacheFacts struct {
	State string         `json:"state"`
	AgeMS int64          `json:"ageMs"`
	Error map[string]any `json:"error,omitempty"`
}

// hit answers with what is fresh.
func (k *memory) hit(c *upstream.Call, f cache.Found[*memo]) *upstream.Result {
	k.hits.Add(1)
	c.Timing.Memory = byCache
	return recalled(f, cacheFacts{State: "fresh"}, "")
}

// outdated answers with what is no longer fresh. The model is told in words: hosts
// do not show it _meta.
func (k *memory) outdated(c *upstream.Call, f cache.Found[*memo]) *upstream.Result {
	k.hits.Add(1)
	k.stale.Add(1)
	c.Timing.Memory = byStale
	facts, why := cacheFacts{State: "stale"}, "a newer one is being fetched"
	if e := f.Value.failed.Load(); e != nil {
		facts.Error = failureFacts(e)
		why = "the source could not be asked anew: " + e.Kind.Code() + ": " + whatHappened(e)
	}
	note := ""
	if c.Op == upstream.CallTool {
		note = fmt.Sprintf("[%s: this answer is %s old; %s]", c.Upstream, humanDuration(f.Age), why)
	}
	return recalled(f, facts, note)
}

// recalled returns a kept result with what is to be said of it: in _meta, in one
// more text item where note is not "", and in ttlMs how long it is still good.
func recalled(f cache.Found[*memo], facts cacheFacts, note string) *upstream.Result {
	res := f.Value.res
	facts.AgeMS = f.Age.Milliseconds()
	said, err := json.Marshal(facts)
	if err != nil { // error data that is no JSON after all
		said = []byte(`{}`)
	}
	meta, _ := res.Get("_meta")
	if rawjson.Kind(meta) != '{' {
		meta = json.RawMessage("{}")
	}
	raw := set(res.Raw, "_meta", set(meta, MetaCache, said))
	if f.Value.dated > 0 {
		left := max(f.Value.dated-f.Age, 0).Milliseconds()
		raw = set(raw, memberTTL, strconv.AppendInt(nil, left, 10))
	}
	notes := 0
	if content, ok := res.Get("content"); ok && note != "" && rawjson.Kind(content) == '[' {
		var items []json.RawMessage
		for item := range rawjson.Elements(content) {
			items = append(items, item)
		}
		raw = set(raw, "content", array(append(items, textPart(note))))
		notes++
	}
	out := res.With(raw)
	out.Marks.Notes += notes
	return ourMeta(out, MetaCache)
}

// waited adds the time that a call has waited for what another had begun.
func waited(c *upstream.Call, since time.Time) { c.Timing.Upstream += time.Since(since) }
