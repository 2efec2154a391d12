package aggregate

import (
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// MetaRecovered is the key under which the first result that a client gets of a
// source after it was told that the source cannot be used says since when that
// was so: {source, was, awaySince, recoveredAt, downForMs}.
const MetaRecovered = "io.github.bulkhead-mcp/recovered"

// briefFreeze is how long a source may ask to be left alone without being called
// away.
const briefFreeze = 5 * time.Second

// presence is whether one source can be used, and who was told that it cannot.
type presence struct {
	m        *member
	answered atomic.Int64 // when it has answered a call last, in ns since the epoch; 0 if never
	outages  outages
}

// absent says why the source cannot be used at this moment, and when it may be
// asked again; 0 if that is not known.
func (s *presence) absent() (why Absence, retry time.Duration) {
	tools := s.m.feeds.at(upstream.Tools)
	h, known := s.health()
	e, listed := tools.err.Load(), tools.last.Load()
	if known && h.State == upstream.Down || !known && e != nil && (listed == nil || listed.stale) {
		refused := known && h.Why == upstream.NeedsLogin && s.m.Users == nil
		if e != nil && e.Kind == upstream.NeedsLogin || refused || s.m.needed() {
			return AwayLogin, h.RetryIn
		}
		return AwayDown, h.RetryIn
	}
	if b := s.m.gates.breaker.Status(); b.State != gate.Closed {
		return AwayCircuit, b.RetryIn
	}
	if left := frozen(s.m.gates.quotas.all.State()); left > briefFreeze {
		return AwayFrozen, left
	}
	return "", 0
}

// away is absent as far as it is known: that a person has to sign in is said by
// calls only.
func (s *presence) away() (why Absence, retry time.Duration) {
	why, retry = s.absent()
	if now, _ := s.outages.present(); why == "" && now.why == AwayLogin {
		why = AwayLogin
	}
	return why, retry
}

// health returns how the connection is, if the adapter can tell.
func (s *presence) health() (upstream.Health, bool) {
	if r, ok := s.m.Adapter.(upstream.Reporter); ok {
		return r.Health(), true
	}
	return upstream.Health{}, false
}

// absentFor says why the source as a whole cannot be used after a call has failed
// with e, "" if that says nothing of it, and whether a new connection will end
// that.
func (s *presence) absentFor(e *upstream.Error) (why Absence, link bool, retry time.Duration) {
	switch e.Kind {
	case upstream.Unavailable, upstream.Timeout, upstream.WriteOutcomeUnknown, upstream.UpstreamError, upstream.RateLimited, upstream.NeedsLogin:
	default:
		return "", false, 0
	}
	if answers(e) || e.Kind == upstream.NeedsLogin && s.m.Users != nil { // which is one user's affair
		return "", false, 0
	}
	h, known := s.health()
	lost := known && h.State != upstream.Up
	why, retry = s.absent()
	switch {
	case e.Kind == upstream.NeedsLogin:
		return AwayLogin, lost, 0
	case why == "" && e.Kind == upstream.Unavailable && lost: // it is being connected anew
		why = AwayDown
	}
	return why, why != AwayFrozen, retry
}

// tellAway notes that a conversation is told that the source cannot be used.
func (s *presence) tellAway(why Absence, link bool, p party, cause string) {
	if s.outages.begin(why, link, p) {
		s.m.log.Warn("source away", "why", string(why), "error", cause)
	}
	if h, known := s.health(); why == AwayDown && known && h.State == upstream.Up { // meanwhile
		s.connected()
	}
}

// connected notes that the source has been reached anew.
func (s *presence) connected() { s.outages.end(true, s.announceBack) }

// answering ends an outage if the source has answered a call since it began.
func (s *presence) answering() {
	now, _ := s.outages.present()
	if now.why == "" || s.answered.Load() < now.since.UnixNano() {
		return
	}
	if why, _ := s.absent(); why == "" { // else it was a call from before
		s.outages.end(false, s.announceBack)
	}
}

// announceBack tells the operator, and everybody who can be told at any time,
// that the source is back.
func (s *presence) announceBack() {
	last, to, ok := s.outages.ready()
	if !ok {
		return
	}
	s.m.log.Info("source back", "why", string(last.why), ms("away_ms", last.ended.Sub(last.since)))
	for _, p := range to {
		if p.session == "" || !s.m.agg.subs.reaches(p) { // it hears of it with a request of its own
			continue
		}
		if o, ok := s.outages.notice(p); ok {
			s.m.agg.subs.tellParty(p, Notice{Method: noteMessage, Key: "source " + string(s.m.ID), Params: s.backMessage(o)})
		}
	}
}

// catchUp tells a client that takes log messages with its requests which sources
// are back.
func catchUp(members []*member, c *upstream.Call) {
	for _, m := range members {
		m.presence.catchUp(c)
	}
}

func (s *presence) catchUp(c *upstream.Call) {
	if c.Back.Log == nil || !s.outages.active.Load() {
		return
	}
	if o, ok := s.outages.notice(partyOf(c)); ok {
		c.Back.Log(s.backMessage(o))
	}
}

// recovered says in the first result after an outage that there was one.
func (s *presence) recovered(c *upstream.Call, res *upstream.Result) *upstream.Result {
	s.answering()
	s.catchUp(c)
	if res.Type != upstream.Final {
		return res
	}
	o, ok := s.outages.carry(partyOf(c))
	if !ok {
		return res
	}
	facts, err := json.Marshal(s.backFacts(o))
	if err != nil { // strings and numbers always marshal
		return res
	}
	meta, _ := res.Get(memberMeta)
	if rawjson.Kind(meta) != '{' {
		meta = json.RawMessage("{}")
	}
	return ourMeta(res.With(set(res.Raw, memberMeta, set(meta, MetaRecovered, facts))), MetaRecovered)
}

// noteMessage is the notification of a log message (MCP, logging).
const noteMessage = "notifications/message"

// backMessage is the params of the log message that the source is back.
func (s *presence) backMessage(o outage) json.RawMessage {
	facts := s.backFacts(o)
	facts["state"] = string(upstream.Up)
	raw, err := json.Marshal(map[string]any{"level": "notice", "logger": "bulkhead", "data": facts})
	if err != nil { // strings and numbers always marshal
		return nil
	}
	return raw
}

func (s *presence) backFacts(o outage) map[string]any {
	return map[string]any{
		"source": string(s.m.ID), "was": string(o.why), "awaySince": stamp(o.since), "recoveredAt": stamp(o.ended),
		"downForMs": o.ended.Sub(o.since).Milliseconds(),
	}
}

// frozen returns how long every quota of a source still is; 0 if one is not.
func frozen(quotas map[string]gate.BucketState) time.Duration {
	var least time.Duration
	for _, q := range quotas {
		left := time.Until(q.Frozen)
		if left <= 0 {
			return 0
		}
		if least == 0 || left < least {
			least = left
		}
	}
	return least
}

// outlook fills in whether the source can be used, since when not, and when it
// could not before.
func (s *presence) outlook(st *SourceStatus) {
	now, last := s.outages.present()
	why, retry := s.away()
	st.Away, st.RecoveredAt, st.LastAnswered = why, stamp(last.ended), stamp(s.lastAnswer())
	if why == "" {
		return
	}
	st.RetryInMS = max(st.RetryInMS, retry.Milliseconds())
	switch {
	case now.why != "":
		st.AwaySince = stamp(now.since)
	case why == AwayDown:
		st.AwaySince = st.Since
	case why == AwayCircuit:
		st.AwaySince = st.Load.Circuit.Since
	}
}

// lastAnswer returns when the source has answered a call last; zero if never.
func (s *presence) lastAnswer() time.Time {
	if at := s.answered.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// tellSources notes that a client is told by bulkhead_sources that the source
// cannot be used.
func (s *presence) tellSources(c *upstream.Call) {
	why, _ := s.away()
	if why == "" {
		return
	}
	h, _ := s.health()
	s.tellAway(why, why == AwayDown || why == AwayCircuit || h.State == upstream.Down, partyOf(c), h.Err)
}
