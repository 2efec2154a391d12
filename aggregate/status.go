package aggregate

import (
	"fmt"
	"strings"
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
	Name  string `json:"name"`
	State string `json:"state"` // up, down or connecting
	Since string `json:"since,omitempty"`
	// Error is why it is down, or why one of its lists could not be read.
	Error string `json:"error,omitempty"`
	// Detail is the same for the operator; the model never sees it.
	Detail    string `json:"-"`
	RetryInMS int64  `json:"retryInMs,omitempty"`
	Tools     int    `json:"tools"` // offered to clients
	Prompts   int    `json:"prompts,omitempty"`
	Resources int    `json:"resources,omitempty"`
	Templates int    `json:"templates,omitempty"` // of resources
	// Stale says that the tools are those of an earlier run: the source has
	// not listed them since this start.
	Stale       bool       `json:"stale,omitempty"`
	ToolsListed string     `json:"toolsListed,omitempty"` // when they were listed
	HeldBack    []HeldBack `json:"heldBack,omitempty"`    // the first of them
	// HeldBackMore is how many tools are held back beside those named.
	HeldBackMore int            `json:"heldBackMore,omitempty"`
	Server       string         `json:"server,omitempty"`   // its own name and version
	Protocol     string         `json:"protocol,omitempty"` // MCP revision spoken with it
	Restarts     int            `json:"restarts,omitempty"`
	InFlight     int64          `json:"inFlight,omitempty"`
	Load         *LoadStatus    `json:"load,omitempty"`
	LastFailure  *FailureStatus `json:"lastFailure,omitempty"`
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
	Tool string `json:"tool"`
	Text string `json:"text"`
}

// Status returns the condition of every source.
func (a *Aggregate) Status() Status {
	st := Status{Sources: []SourceStatus{}, Note: a.snap.Load().offer("").note(a.opt.ListBudget)}
	for _, m := range a.members() {
		st.Sources = append(st.Sources, m.status())
	}
	return st
}

func (m *member) status() SourceStatus {
	s := SourceStatus{Name: string(m.ID), InFlight: m.active.Load(), Load: m.load()}
	l := m.feeds.at(upstream.Tools).last.Load()
	if l != nil {
		s.Stale, s.ToolsListed = l.stale, stamp(l.at)
	}
	// What the snapshot holds, not what was read last: whoever is told that a tool
	// is there may call it. A source that was just added may not be in it yet.
	offered := m.agg.snap.Load().offer(m.ID)
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
	if r, ok := m.Adapter.(upstream.Reporter); ok {
		h := r.Health()
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
	if f := m.failed.Load(); f != nil {
		s.LastFailure = &FailureStatus{stamp(f.at), f.err.Tool, failureText(f.err)}
	}
	return s
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// instructions is what a host may show the model about this server: which
// sources there are, and what to do when one is missing. It stays below the
// 2 KB at which hosts cut.
func (a *Aggregate) instructions(only upstream.ID) string {
	const limit = 1900
	var up, missing []string
	for _, s := range a.Status().Sources {
		switch {
		case only != "" && string(only) != s.Name:
		case s.State == string(upstream.Down): // one that is just starting is not missing
			missing = append(missing, s.Name)
		default:
			up = append(up, s.Name)
		}
	}
	var b strings.Builder
	if only == "" {
		b.WriteString("This server gathers several independent data sources.")
	} else {
		b.WriteString("This server gives access to one data source.")
	}
	b.WriteString(" Independent calls may be made at the same time; they run in parallel and take as long as the slowest.")
	if len(up) > 0 {
		fmt.Fprintf(&b, " Sources: %s.", list(up, 600))
	}
	if len(missing) > 0 {
		fmt.Fprintf(&b, " Not answering at the moment: %s.", list(missing, 600))
	}
	if note := a.snap.Load().offer(only).note(a.opt.ListBudget); note != "" {
		b.WriteString(" " + note + ".")
	}
	b.WriteString(" A failed call says which source failed, why, and whether to retry; answer with what the other sources gave " +
		"and name what is missing.")
	if !a.opt.Plain {
		b.WriteString(" " + toolSources + " tells the state of every source.")
	}
	return Printable(b.String(), limit)
}

// list joins names, at most limit bytes of them.
func list(names []string, limit int) string {
	s := strings.Join(names, ", ")
	if len(s) <= limit {
		return s
	}
	short := s[:max(strings.LastIndex(s[:limit], ", "), 0)]
	if short == "" {
		return fmt.Sprintf("%d sources", len(names))
	}
	return fmt.Sprintf("%s and %d more", short, len(names)-strings.Count(short, ", ")-1)
}
