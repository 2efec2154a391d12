package aggregate

import (
	"maps"
	"slices"
)

const (
	// fewSources is how many sources are told of in full. Of more, each gets its
	// share of the room that so many would take.
	fewSources = 5
	// maxText is how long a text about a source is then at least, in bytes.
	maxText = 200
)

// shorten bounds what is said of all sources together: a model reads it.
func (st *Status) shorten() {
	n := len(st.Sources)
	if n <= fewSources {
		return
	}
	named, text := max(fewSources*maxNamed/n, 1), max(fewSources*maxQuote/n, maxText)
	for i := range st.Sources {
		st.Sources[i].shorten(named, text)
	}
}

// shorten leaves so many of its tools named, and so many bytes of each text.
func (s *SourceStatus) shorten(named, text int) {
	s.Summary, s.Error = Printable(s.Summary, text), Printable(s.Error, text)
	if f := s.LastFailure; f != nil {
		short := *f
		short.Text, short.Tool = Printable(f.Text, text), Printable(f.Tool, text)
		s.LastFailure = &short
	}
	if extra := len(s.HeldBack) - named; extra > 0 {
		s.HeldBack, s.HeldBackMore = s.HeldBack[:named], s.HeldBackMore+extra
	}
	if extra := len(s.Drift) - named; extra > 0 {
		s.Drift, s.DriftMore = s.Drift[:named], s.DriftMore+extra
	}
	if l := s.Load; l != nil {
		names := slices.Sorted(maps.Keys(l.Tools))
		for _, tool := range names[min(named, len(names)):] {
			delete(l.Tools, tool)
			l.ToolsMore++
		}
	}
}
