package aggregate

import (
	"context"
	"errors"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

// account is what is known about a failed call beside its error. It is part of
// the error's chain.
type account struct {
	cause   error  // for the log; may be nil
	said    string // stands in for it
	timing  upstream.Timing
	reads   bool           // the call changes nothing, as far as is said
	away    outage         // of the source; the zero value if it can be used
	circuit *CircuitStatus // the one that is not closed; nil if all are
	ofTool  bool           // circuit is the tool's, not the source's
	login   []string       // what has to be done about a sign-in; nil if that is not known
	page    string         // where the user of the call signs in; "" if there is none
}

func (a *account) Error() string {
	if a.cause == nil {
		return a.said
	}
	return a.cause.Error()
}

func (a *account) Unwrap() error { return a.cause }

// accountOf returns what is known about a failed call; nil for one that never
// was on its way to a source.
func accountOf(e *upstream.Error) *account {
	a, _ := errors.AsType[*account](e.Err)
	return a
}

// accounted is the outermost layer. It adds to a failure what is known about the
// call and its source, and to the first result after an outage that there was
// one.
func (s *presence) accounted(next upstream.Handler) upstream.Handler {
	return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
		if c.Back.Log != nil {
			catchUp(s.m.agg.members(), c)
		}
		res, err := next(ctx, c)
		if err != nil {
			return nil, s.account(c, err)
		}
		if s.outages.active.Load() {
			res = s.recovered(c, res)
		}
		return res, nil
	}
}

// account returns a failure with what is known about it.
func (s *presence) account(c *upstream.Call, err error) *upstream.Error {
	e := *upstream.AsError(c.Upstream, c.Name, err)
	a := &account{cause: e.Err, said: e.Public, timing: *c.Timing, reads: reads(c)}
	a.login, a.page = s.m.login(&e, c.Principal)
	if answers(&e) {
		s.answering()
	}
	if why, link, retry := s.absentFor(&e); why != "" {
		s.tellAway(why, link, partyOf(c), e.Error())
		a.away, _ = s.outages.present()
		if why == AwayFrozen {
			e.RetryAfter = max(e.RetryAfter, retry)
		}
	}
	a.circuit, a.ofTool = s.circuitFor(c)
	if a.circuit != nil && (e.Kind == upstream.Unavailable || e.Kind == upstream.Timeout || e.Kind == upstream.UpstreamError) {
		// Whoever came back sooner would be refused.
		e.RetryAfter = max(e.RetryAfter, time.Duration(a.circuit.RetryInMS)*time.Millisecond)
	}
	e.Err = a
	return &e
}

// reads reports whether a call changes nothing at its source, as far as is said.
func reads(c *upstream.Call) bool { return c.Op.Reads() || c.Tool != nil && c.Tool.Hints.ReadOnly }

// circuitFor returns the circuit that keeps calls like c from its source, the
// source's before the tool's; nil if there is none.
func (s *presence) circuitFor(c *upstream.Call) (open *CircuitStatus, ofTool bool) {
	if b := s.m.gates.breaker.Status(); b.State != gate.Closed {
		open := circuit(b)
		return &open, false
	}
	if c.Op != upstream.CallTool {
		return nil, false
	}
	if b, ok := s.m.gates.breakers.Status()[c.Name]; ok {
		open := circuit(b)
		return &open, true
	}
	return nil, false
}

// facts adds what machines may want to know.
func (a *account) facts(facts map[string]any) {
	facts["attempts"] = a.timing.Attempts
	facts["queuedMs"] = a.timing.Queued.Milliseconds()
	facts["upstreamMs"] = a.timing.Upstream.Milliseconds()
	if a.page != "" {
		facts["signIn"] = map[string]string{"page": a.page}
	}
	if a.away.why != "" {
		facts["away"] = map[string]string{"why": string(a.away.why), "since": stamp(a.away.since)}
	}
	if a.circuit != nil {
		of := "source"
		if a.ofTool {
			of = "tool"
		}
		facts["circuit"] = struct {
			Of string `json:"of"`
			*CircuitStatus
		}{of, a.circuit}
	}
}

// longAway is how long a source has been away when it is worth a word.
const longAway = 10 * time.Second

// words says what a failure does not say itself about why it came about.
func (o outage) words(e *upstream.Error) []string {
	lasts := time.Since(o.since)
	switch {
	case o.why == AwayFrozen && e.Kind != upstream.RateLimited:
		return []string{"it asked to be left alone"}
	case o.why == "" || o.why == AwayFrozen || lasts < longAway:
		return nil
	}
	return []string{"it has been away for " + humanDuration(lasts)}
}
