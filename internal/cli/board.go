package cli

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/admin"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// board draws how the sources are, for a person.
type board struct {
	width         int
	color, blocks bool
	verbose       bool
	now           time.Time
	out           strings.Builder
}

// How a state looks where colours are allowed (ECMA-48, SGR).
const (
	green, yellow, red, dim, bold = "32", "33", "31", "2", "1"
)

// newsFor is how long it is worth a line that a source is back.
const newsFor = 10 * time.Minute

// text returns all of it.
func (b *board) text(found []admin.Report) string {
	if len(found) == 0 {
		b.line("no server runs with this configuration any more", "")
	}
	for i, r := range found {
		if i > 0 {
			b.line("", "")
		}
		b.report(r)
	}
	return b.out.String()
}

func (b *board) report(r admin.Report) {
	if r.PID != 0 {
		b.line(b.title(r), bold)
	}
	if r.Problem != "" {
		b.note(r.Problem)
		return
	}
	names := len("SOURCE")
	for _, s := range r.Sources {
		names = max(names, utf8.RuneCountInString(s.Name))
	}
	names = min(names, b.width-62) // what the other columns take
	row := fmt.Sprintf("%%-%ds  %%s  %%5s  %%7s  %%-13s  %%s", names)
	b.line(fmt.Sprintf(row, "SOURCE", "STATE       ", "TOOLS", "CALLS", "QUEUE", "QUOTA"), dim)
	for _, s := range r.Sources {
		if s.Load == nil { // another version's
			s.Load = &aggregate.LoadStatus{RetryBudget: 1}
		}
		state, look := condition(s)
		b.line(fmt.Sprintf(row, cut(s.Name, names), b.painted(fmt.Sprintf("%-12s", state), look), fmt.Sprint(s.Tools),
			calls(s.Load), b.queue(s.Load), b.quota(s.Load.Quota)), "")
		for _, text := range b.notes(s) {
			b.note(text)
		}
	}
	if r.Note != "" {
		b.note(r.Note)
	}
}

// title says which process it is.
func (b *board) title(r admin.Report) string {
	parts := []string{fmt.Sprintf("process %d", r.PID)}
	if r.Serving != "" {
		parts = append(parts, r.Serving)
	}
	if n := len(r.Clients); n > 0 {
		parts = append(parts, strings.Join(r.Clients[max(n-3, 0):], ", "))
	}
	if !r.Since.IsZero() {
		parts = append(parts, "for "+age(b.now.Sub(r.Since)))
	}
	return cut(strings.Join(parts, ", "), b.width)
}

// condition is a source's state in a word or two, and how it looks.
func condition(s aggregate.SourceStatus) (text, look string) {
	switch s.Away {
	case aggregate.AwayDown:
		return "down", red
	case aggregate.AwayLogin:
		if s.Credential != "" {
			return "refused", red
		}
		return "needs login", red
	case aggregate.AwayCircuit:
		return "circuit open", yellow
	case aggregate.AwayFrozen:
		return "frozen", yellow
	}
	if s.State == string(upstream.Up) {
		return s.State, green
	}
	return s.State, yellow
}

// notes are what there is to say of a source beside its row.
func (b *board) notes(s aggregate.SourceStatus) (notes []string) {
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if s.Away != "" || reason(s) != "" {
		add("%s", b.away(s))
	} else if t, err := time.Parse(time.RFC3339, s.RecoveredAt); err == nil && b.now.Sub(t) < newsFor {
		add("back%s", b.ago(s.RecoveredAt))
	}
	if s.SignIn != nil {
		if text := signInNote(s.SignIn, b.now); text != "" {
			add("%s", text)
		}
	}
	for _, tool := range slices.Sorted(maps.Keys(s.Load.Tools)) {
		c := s.Load.Tools[tool]
		add("tool %s: circuit %s after %s%s", tool, c.State, c.Failure, tried(c.RetryInMS))
	}
	if n := s.Load.ToolsMore; n > 0 {
		add("and %d more %s", n, plural(n, "tool"))
	}
	if f := s.LastFailure; f != nil {
		in := ""
		if f.Tool != "" {
			in = " in " + f.Tool
		}
		add("last failure: %s%s%s", f.Code, in, b.ago(f.At))
	}
	if s.Stale {
		add("tools as of an earlier run%s", b.ago(s.ToolsListed))
	}
	if n := len(s.HeldBack) + s.HeldBackMore; n > 0 {
		add("%d %s held back", n, plural(n, "tool"))
	}
	for _, d := range s.Drift {
		add("changed: %s%s", strings.Join(strings.Fields(d.Tool+" "+d.Field+" "+d.Problem), " "), b.ago(d.Since))
	}
	if s.DriftMore > 0 {
		add("and %d more %s", s.DriftMore, plural(s.DriftMore, "change"))
	}
	for _, class := range slices.Sorted(maps.Keys(s.Load.Classes)) {
		q := s.Load.Classes[class]
		add("class %s: %s", class, b.quota(&q))
	}
	if c := s.Load.Cache; c != nil {
		add("from memory: %d answers, %d of them old; %d shared; %d kept (%s)", c.Hits, c.StaleHits, c.Coalesced, c.Entries, amount(c.Bytes))
	}
	if left := s.Load.RetryBudget; left < 0.5 {
		add("%.0f %% of the budget for retries is left", 100*left)
	}
	if b.verbose && s.Server != "" {
		add("%s, MCP %s", s.Server, s.Protocol)
	}
	return notes
}

// away says why a source cannot be used, since when, and when it is tried again.
func (b *board) away(s aggregate.SourceStatus) string {
	text := reason(s)
	if text == "" && s.Away == aggregate.AwayCircuit {
		text = "left alone after " + s.Load.Circuit.Failure
	}
	if text == "" {
		text = map[aggregate.Absence]string{
			aggregate.AwayFrozen: "it asked to be left alone", aggregate.AwayLogin: "it asks for a sign-in",
		}[s.Away]
	}
	if s.Away == "" {
		return text
	}
	if since := b.age(s.AwaySince); since != "" {
		text += ", for " + since
	}
	return strings.TrimPrefix(text+tried(s.RetryInMS), ", ")
}

func tried(retryMS int64) string {
	if retryMS <= 0 {
		return ""
	}
	return ", tried again in " + age(time.Duration(retryMS)*time.Millisecond)
}

// reason says why a source is down, to its operator.
func reason(s aggregate.SourceStatus) string {
	if s.Detail != "" {
		return s.Detail
	}
	return s.Error
}

// calls says how many run, and how many may.
func calls(l *aggregate.LoadStatus) string {
	most := l.Concurrency
	if l.ConcurrencyNow > 0 {
		most = l.ConcurrencyNow
	}
	if most == 0 {
		return fmt.Sprint(l.Running)
	}
	return fmt.Sprintf("%d/%d", l.Running, most)
}

func (b *board) queue(l *aggregate.LoadStatus) string {
	n := l.Waiting + l.WritesWaiting
	if l.Concurrency == 0 && n == 0 {
		return "-"
	}
	return fmt.Sprintf("%s %d/%d", b.bar(float64(n), float64(l.Queue)), n, l.Queue)
}

// quota says how many calls are left of how many.
func (b *board) quota(q *aggregate.QuotaStatus) string {
	switch {
	case q == nil:
		return "-"
	case q.FrozenMS > 0:
		return "frozen " + age(time.Duration(q.FrozenMS)*time.Millisecond)
	}
	return fmt.Sprintf("%s %g/%g", b.bar(q.Left, q.Burst), math.Floor(q.Left), q.Burst)
}

// bar draws a share: something is never nothing, and less than all is never all.
func (b *board) bar(part, whole float64) string {
	const cells = 5
	full, empty := "#", "-"
	if b.blocks {
		full, empty = "▮", "▯"
	}
	n := 0
	if whole > 0 && part > 0 {
		n = min(max(int(cells*part/whole), 1), cells)
	}
	return strings.Repeat(full, n) + strings.Repeat(empty, cells-n)
}

func (b *board) painted(text, look string) string {
	if !b.color || look == "" {
		return text
	}
	return "\x1b[" + look + "m" + text + "\x1b[0m"
}

func (b *board) line(text, look string) {
	text = strings.TrimRight(text, " ")
	if text != "" {
		text = b.painted(text, look)
	}
	b.out.WriteString(text + "\n")
}

// note writes a paragraph below a row. What is of another's making cannot drive
// the terminal.
func (b *board) note(text string) {
	indent := "    "
	for _, l := range wrapped(aggregate.Printable(text, math.MaxInt), b.width-len(indent)) {
		b.line(indent+l, dim)
		indent = "      "
	}
}

// wrapped breaks a text into lines of at most width characters, where there are
// spaces if possible; all but the first are two shorter.
func wrapped(text string, width int) (lines []string) {
	for rest := []rune(text); len(rest) > 0; {
		if len(rest) <= width {
			return append(lines, string(rest))
		}
		at := width
		for i := width; i > width/2; i-- {
			if rest[i] == ' ' {
				at = i
				break
			}
		}
		lines = append(lines, strings.TrimRight(string(rest[:at]), " "))
		rest = []rune(strings.TrimLeft(string(rest[at:]), " "))
		if len(lines) == 1 {
			width -= 2
		}
	}
	return lines
}

// cut returns s, or as much of it as fits.
func cut(s string, width int) string {
	if runes := []rune(s); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return s
}

func (b *board) age(stamp string) string {
	t, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return ""
	}
	return age(b.now.Sub(t))
}

func (b *board) ago(stamp string) string {
	if s := b.age(stamp); s != "" {
		return ", " + s + " ago"
	}
	return ""
}

// age says how long something is, in the two largest units that matter.
func age(d time.Duration) string {
	s := int64(max(d, 0).Round(time.Second) / time.Second)
	switch {
	case s < 120:
		return fmt.Sprintf("%d s", s)
	case s < 120*60:
		return fmt.Sprintf("%d min", s/60)
	case s < 48*3600:
		return fmt.Sprintf("%d h", s/3600)
	}
	return fmt.Sprintf("%d days", s/(24*3600))
}

// amount says how much that is.
func amount(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)/1024)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// inPlace writes over what stood on the screen before; what does not fit is
// counted.
func inPlace(text string, height int) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if extra := len(lines) - (height - 1); extra > 0 {
		lines = append(lines[:height-2], fmt.Sprintf("... %d more lines", extra+1))
	}
	var out strings.Builder
	out.WriteString("\x1b[H")
	for _, l := range lines {
		out.WriteString(l + "\x1b[K\n")
	}
	out.WriteString("\x1b[J")
	return out.String()
}
