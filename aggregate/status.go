package aggregate

import (
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Status is the condition of every source at one moment, as plain data.
type Status struct {
	Sources []SourceStatus `json:"sources"` // sorted by name
	// Note says what is missing from the list of tools; "" if nothing is.
	Note string `json:"note,omitempty"`
}

// SourceStatus is the condition of one source. Times are RFC 3339 in UTC.
type SourceStatus struct {
	Name string `json:"name"`
	// Summary is the whole in one sentence that can be quoted.
	Summary string `json:"summary"`
	State   string `json:"state"` // up, down or connecting
	Since   string `json:"since,omitempty"`
	// Away is why the source as a whole cannot be used, whatever its State; "" if
	// it can.
	Away Absence `json:"away,omitempty"`
	// AwaySince is when that was noticed, RecoveredAt when the time before ended.
	AwaySince    string `json:"awaySince,omitempty"`
	RecoveredAt  string `json:"recoveredAt,omitempty"`
	LastAnswered string `json:"lastAnswered,omitempty"` // a call
	// Error is why it is down, or why one of its lists could not be read.
	Error string `json:"error,omitempty"`
	// Detail is the same for the operator; the model never sees it.
	Detail    string `json:"-"`
	RetryInMS int64  `json:"retryInMs,omitempty"` // until it is connected anew, or may be asked again
	Tools     int    `json:"tools"`               // offered to clients
	Prompts   int    `json:"prompts,omitempty"`
	Resources int    `json:"resources,omitempty"`
	Templates int    `json:"templates,omitempty"` // of resources
	// Stale says that the tools are those of an earlier run: the source has
	// not listed them since this start.
	Stale       bool       `json:"stale,omitempty"`
	ToolsListed string     `json:"toolsListed,omitempty"` // when they were listed
	HeldBack    []HeldBack `json:"heldBack,omitempty"`    // the first of them
	// HeldBackMore is how many tools are held back beside those named.
	HeldBackMore int `json:"heldBackMore,omitempty"`
	// Hidden is how many tools are not offered because its writes are denied.
	Hidden int `json:"hidden,omitempty"`
	// Drift is what the source answers otherwise than it has declared; the first
	// of it, the oldest first.
	Drift     []DriftStatus `json:"drift,omitempty"`
	DriftMore int           `json:"driftMore,omitempty"`
	Server    string        `json:"server,omitempty"`   // its own name and version
	Protocol  string        `json:"protocol,omitempty"` // MCP revision spoken with it
	Restarts  int           `json:"restarts,omitempty"`
	InFlight  int64         `json:"inFlight,omitempty"`
	// SignIn is nil where the source is asked with no token that ends.
	SignIn *SignInStatus `json:"signIn,omitempty"`
	// Credential is what the operator has to look at, where the source refuses it
	// and no person signs in.
	Credential  string         `json:"credential,omitempty"`
	Load        *LoadStatus    `json:"load,omitempty"`
	LastFailure *FailureStatus `json:"lastFailure,omitempty"`
}

// HeldBack is a tool that is not offered because common hosts would drop the
// whole list over it.
type HeldBack struct {
	Tool   string `json:"tool"`
	Reason string `json:"reason"`
}

// maxHeld is how many tools that are held back are named for one source.
const maxHeld = 20

// FailureStatus is the last call to a source that failed.
type FailureStatus struct {
	At   string `json:"at"`
	Code string `json:"code"`
	Tool string `json:"tool"`
	Text string `json:"text"`
}

// Status returns the condition of every source.
func (a *Aggregate) Status() Status { return statusFor(upstream.Principal{}, &View{agg: a}, "") }

// statusFor returns it as one user may see it in a view; nobody is the operator.
// only is the one source that is asked for, "" for all.
func statusFor(p upstream.Principal, v *View, only string) Status {
	st := Status{Sources: []SourceStatus{}, Note: v.offer().note(v.agg.opt.ListBudget)}
	for _, m := range v.members() {
		if only == "" || only == string(m.ID) {
			st.Sources = append(st.Sources, m.status(p))
		}
	}
	return st
}

func (m *member) status(p upstream.Principal) SourceStatus {
	s := SourceStatus{Name: string(m.ID), InFlight: m.active.Load(), Load: m.load()}
	l := m.feeds.at(upstream.Tools).last.Load()
	// What the snapshot holds, not what was read last: whoever is told that a tool
	// is there may call it. A source that was just added may not be in it yet.
	offered := m.agg.snap.Load().offer(m.ID)
	if l != nil && offered != nil && offered.list(upstream.Tools).from[0] == l.contents {
		s.Stale, s.ToolsListed = l.stale, stamp(l.at)
	}
	for list, into := range map[upstream.List]*int{
		upstream.Tools: &s.Tools, upstream.Prompts: &s.Prompts, upstream.Resources: &s.Resources, upstream.Templates: &s.Templates,
	} {
		if offered == nil {
			break
		}
		if from := offered.list(list).from; len(from) == 1 && from[0] != nil {
			*into = len(from[0].offered)
		}
	}
	listErr := m.feeds.at(upstream.Tools).err.Load()
	s.State = string(upstream.Connecting)
	if h, known := m.presence.health(); known {
		s.State, s.Since, s.Error = string(h.State), stamp(h.Since), Printable(h.Err, maxQuote)
		s.Detail = Printable(h.Detail, maxQuote)
		s.Server, s.Protocol, s.Restarts = Printable(h.Server, 200), h.Protocol, h.Restarts
		s.RetryInMS = h.RetryIn.Milliseconds()
	} else if l != nil && !l.stale {
		s.State = string(upstream.Up)
	} else if listErr != nil {
		s.State = string(upstream.Down)
	}
	for _, f := range m.feeds {
		if err := f.err.Load(); err != nil && s.Error == "" {
			s.Error = string(f.list) + " not listed: " + whatHappened(err)
		}
	}
	if h, ok := m.Adapter.(upstream.Holder); ok {
		all := h.Held()
		named := all[:min(len(all), maxHeld)]
		for _, held := range named {
			s.HeldBack = append(s.HeldBack, HeldBack{Printable(held.Tool, 200), Printable(held.Reason, 200)})
		}
		s.HeldBackMore = len(all) - len(named)
	}
	if h, ok := m.Adapter.(upstream.Hider); ok {
		s.Hidden = h.Hidden()
	}
	s.Drift, s.DriftMore = driftOf(m)
	if f := m.failed.Load(); f != nil {
		s.LastFailure = &FailureStatus{stamp(f.at), f.err.Kind.Code(), f.err.Tool, failureText(f.toldToAll(m))}
	}
	s.SignIn = m.signIn(p)
	m.presence.outlook(&s)
	if s.Away == "" && m.Users != nil && p.Valid() && s.SignIn.wanting() {
		s.Away = AwayLogin // for this user
	}
	if s.Away == AwayLogin {
		s.Credential = m.Credential
	}
	s.Summary = s.summary(time.Now())
	return s
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
