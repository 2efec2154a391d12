package aggregate

import (
	"bytes"
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/cache"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Cache says which answers of a member are kept, and for how long. Only those of
// reads ever are. The zero value keeps what the upstream itself says may be kept
// (MCP 2026-07-28, caching, ttlMs), for at most a day.
type Cache struct {
	TTL time.Duration // of every read; negative keeps nothing, whatever the upstream says
	// Stale is how much longer an answer may be given while a newer one is being
	// fetched, or cannot be had.
	Stale time.Duration
	Tools map[string]time.Duration // by the upstream's own name, in place of TTL; 0 keeps nothing
}

// longestTTL is how long an answer is kept at most because its upstream says so.
const longestTTL = 24 * time.Hour

// memo is an answer that is kept. The result never changes, and has in it nothing
// that belongs to the call that got it.
type memo struct {
	res *upstream.Result
	// dated is for how long the upstream lets it be kept, 0 if it does not say.
	dated time.Duration
	// failed is why it could not be renewed the last time; nil if it was not tried.
	failed atomic.Pointer[upstream.Error]
}

// memoCosts is what a memo costs besides the text of its result, in bytes: most of it
// is where the members of that are.
const memoCosts = 384

func newStore(most int64) *cache.Store[*memo] {
	return cache.New(most, func(v *memo) int { return memoCosts + len(v.res.Raw) })
}

// memory answers reads of one member from earlier answers, and carries equal
// reads that are asked at the same time out once. It is one layer, because an
// answer has to be kept before the call that got it stops being shared: whoever
// comes in between would ask again.
type memory struct {
	m       *member
	source  string // unlike that of any other member, and of this one under other settings
	shelf   *cache.Shelf[*memo]
	flights cache.Flights[flightKey, *upstream.Call, outcome]
	renewals
	changes changes

	hits, stale, shared atomic.Int64

	mu         sync.Mutex
	partitions map[upstream.Principal]cache.Partition
	made       uint64 // partitions, of a member whose users sign in for themselves
}

func newMemory(m *member) *memory {
	return &memory{m: m, shelf: m.agg.kept.Shelf(), source: string(m.ID) + " " + strconv.FormatUint(m.agg.made.Add(1), 36)}
}

// Layer is the middleware.
func (k *memory) Layer(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		if !k.m.onlyReads(c) {
			return k.write(ctx, c, next)
		}
		if continues(c) {
			return next(ctx, c)
		}
		q := k.question(c)
		if _, may := k.m.ttl(c); may && !fresh(c) {
			if res := k.recall(c, q, next); res != nil { //nolint:contextcheck // what is renewed outlives the call
				return res, nil
			}
		}
		return k.together(ctx, c, q, next)
	}
}

// fresh reports whether a call is to be answered with nothing from before its plan
// began.
func fresh(c *upstream.Call) bool { return c.Plan != nil && c.Plan.Fresh }

// onlyReads reports whether a call is known to change nothing. A wrong word would
// give an answer that is out of date, or keep a write from being made, so the
// upstream's own counts only where it is trusted. What concerns a task is no
// read: it is asked for because it changes.
func (m *Member) onlyReads(c *upstream.Call) bool {
	if c.Op != upstream.CallTool || c.Tool == nil {
		return c.Op.Reads() && !isTaskOp(c.Op)
	}
	if len(m.Override) > 0 {
		if said := m.Override[c.Name].ReadOnly; said != nil {
			return *said
		}
	}
	return m.Limits.TrustAnnotations && c.Tool.Hints.ReadOnly
}

// continues reports whether a call goes on with an earlier one that has asked for
// input (MCP 2026-07-28, multi round-trip requests). Its answer is nobody else's.
func continues(c *upstream.Call) bool {
	if !mayRequire(c.Op) || !mentions(c.Params, memberState, memberResponses) {
		return false
	}
	for m := range rawjson.Members(c.Params) {
		if m.Name == memberState || m.Name == memberResponses {
			return true
		}
	}
	return false
}

// ttl returns how long the answer to a read is kept: 0 is as long as the upstream
// says. It reports false if it is not kept.
func (m *Member) ttl(c *upstream.Call) (time.Duration, bool) {
	if c.Op == upstream.CallTool {
		if ttl, set := m.Cache.Tools[c.Name]; set {
			return ttl, ttl > 0
		}
	}
	return m.Cache.TTL, m.Cache.TTL > 0 || m.Cache.TTL == 0 && datable(c.Op)
}

// datable reports whether an upstream may say how long the answer to an operation
// may be kept (MCP 2026-07-28, caching, §Cacheable Results). Of lists see feed.
func datable(o upstream.Op) bool {
	return o == upstream.ReadResource || o == upstream.ReadDir || o == upstream.GetSkill
}

// write carries out what may change something. Whatever comes of it, the answers
// of before may then be out of date, unless it provably was not sent.
func (k *memory) write(ctx context.Context, c *upstream.Call, next upstream.Handler) (*upstream.Result, error) {
	sent := true // even if it panics
	defer func() {
		if sent {
			k.m.forget()
			k.changed(c)
		}
	}()
	res, err := next(ctx, c)
	if err != nil {
		e := upstream.AsError(c.Upstream, c.Name, err)
		// What was refused for the moment may have been sent in an earlier attempt.
		sent = e.Sent || e.Kind == upstream.RateLimited && c.Timing.Attempts > 1
	}
	return res, err
}

// recall answers from what is kept; nil if there is nothing of use. What is no
// longer fresh is answered at once and renewed behind it.
func (k *memory) recall(c *upstream.Call, q question, next upstream.Handler) *upstream.Result {
	key, f, ok := k.find(q)
	if !ok {
		return nil
	}
	if f.Fresh {
		return k.hit(c, f)
	}
	res := k.outdated(c, f)
	k.renew(c, key, f.Value, func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		return k.together(ctx, c, q, next)
	})
	return res
}

func (k *memory) find(q question) (cache.Key, cache.Found[*memo], bool) {
	if f, ok := k.shelf.Get(q.own); ok {
		return q.own, f, true
	}
	f, ok := k.shelf.Get(q.public)
	return q.public, f, ok
}

// keep keeps the answer to a read that was begun at an epoch.
func (k *memory) keep(c *upstream.Call, q question, asked cache.Epoch, res *upstream.Result) {
	ttl, may := k.m.ttl(c)
	if !may {
		return
	}
	key := q.own
	dated := time.Duration(0)
	if datable(c.Op) && says(res, memberResultType, string(resultComplete)) { // otherwise these would be members of the server's own
		dated = datedFor(res)
		if says(res, memberScope, `"public"`) {
			key = q.public
		}
	}
	if ttl == 0 {
		ttl = min(dated, longestTTL)
	}
	if ttl <= 0 {
		return
	}
	clean, err := upstream.ParseResult(bytes.Clone(impersonal(res).Raw)) // Raw may be part of a longer text
	if err != nil {                                                      // it has been seen to be an object
		return
	}
	k.shelf.Put(key, asked, &memo{res: clean, dated: dated}, ttl, k.m.Cache.Stale)
}

func says(res *upstream.Result, member, value string) bool {
	v, _ := res.Get(member)
	return string(v) == value
}

// datedFor returns how long the upstream lets a result be kept: 0 if it does not
// say, or what it says is no duration.
func datedFor(res *upstream.Result) time.Duration {
	v, _ := res.Get(memberTTL)
	ms, err := strconv.ParseFloat(string(v), 64)
	if err != nil || !(ms > 0) {
		return 0
	}
	return time.Duration(min(ms, float64((365*24*time.Hour).Milliseconds()))) * time.Millisecond
}

// impersonal returns a result without what belongs to the call that got it.
func impersonal(res *upstream.Result) *upstream.Result {
	meta, ok := res.Get("_meta")
	if !ok {
		return res
	}
	rest := rawjson.Delete(meta, volatile...)
	if len(rest) == len(meta) {
		return res
	}
	return res.With(set(res.Raw, "_meta", rest))
}

// forget drops everything that is kept of a member's answers, and of those of the
// member that has taken its place, which are about the same things.
func (m *member) forget() {
	m.memory.each(func(k *memory) { k.shelf.Purge() })
}

// each does something with a member's memory, and with that of the member that has
// taken its place.
func (k *memory) each(do func(*memory)) {
	do(k)
	if now := memberCalled(k.m.agg.members(), k.m.ID); now != nil && now != k.m {
		do(now.memory)
	}
}

// Forget drops everything that is kept of an upstream, and has no read that is
// under way share its answer with those that come later: whoever was allowed to
// see it may no longer be.
func (a *Aggregate) Forget(id upstream.ID) {
	if m := memberCalled(a.members(), id); m != nil {
		m.memory.shelf.Purge()
	}
}

// ForgetUser drops what is kept of an upstream for one user, if users sign in to
// it for themselves: this one is, or may be, somebody else there now.
func (a *Aggregate) ForgetUser(id upstream.ID, who upstream.Principal) {
	if m := memberCalled(a.members(), id); m != nil && m.Users != nil {
		m.memory.leave(who)
	}
}

// CacheStatus is what is kept of a source, and what was spared it since the start.
type CacheStatus struct {
	Entries   int   `json:"entries"`
	Bytes     int64 `json:"bytes"`
	Hits      int64 `json:"hits"`      // answers from memory
	StaleHits int64 `json:"staleHits"` // of these, out of date
	Coalesced int64 `json:"coalesced"` // reads that shared the answer to another
}

// status returns nil where memory has never been of use.
func (k *memory) status() *CacheStatus {
	s := CacheStatus{Hits: k.hits.Load(), StaleHits: k.stale.Load(), Coalesced: k.shared.Load()}
	s.Bytes, s.Entries = k.shelf.Used()
	if s == (CacheStatus{}) {
		return nil
	}
	return &s
}
