package demo

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The widths that WriteText lays out for; a terminal beyond them gets the
// nearest.
const (
	minWidth = 60
	maxWidth = 100
)

// shownTickets keeps the waterfalls on the first screen.
const shownTickets = 5

// The terminal's colours and weights (ECMA-48, SGR).
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "1;32"
)

// barColors tells the sources apart: cyan, magenta, yellow.
var barColors = [...]string{"36", "35", "33"}

// WriteText draws the report for a person: the facts, then both passes on one
// time scale. width is in columns; color allows colours and block characters,
// without it everything but the sources' own text is ASCII.
func (r *Report) WriteText(w io.Writer, width int, color bool) error {
	p := &printer{width: min(max(width, minWidth), maxWidth), color: color}
	question, parts, _ := strings.Cut(r.Question, "? ")
	p.line(cell{question + "?", bold})
	p.line(cell{parts, dim})
	p.blank()
	p.answer(r)
	p.blank()
	scale := max(r.Serial.Wall, r.Parallel.Wall)
	p.waterfall("One by one", r.Serial, scale)
	p.blank()
	p.waterfall("At once", r.Parallel, scale)
	p.renewal(r)
	p.blank()
	p.verdict(r)
	_, err := io.WriteString(w, p.out.String())
	return err
}

// answer prints the facts, so that a newcomer sees what the calls brought.
func (p *printer) answer(r *Report) {
	a := r.Answer
	p.line(cell{r.Customer, bold}, cell{"  " + r.CustomerID, dim})
	if c := a.Record; c != nil {
		p.line(cell{text: fmt.Sprintf("  %s, %s plan, %s, since %s", words(c.Segment), c.Plan, words(c.Region), c.Since)})
		health := cell{text: words(c.Health)}
		if c.Health == "churn_risk" {
			health.sgr = red
		}
		p.line(cell{text: fmt.Sprintf("  MRR %s %s, health ", amount(c.MRR), c.Currency)}, health, cell{text: ", owner " + c.Owner})
	} else {
		p.missing("CRM record")
	}
	p.blank()
	if o := a.Orders; o != nil {
		p.line(cell{fmt.Sprintf("Last %d of %s", len(o.Latest), plural(o.Found, "order")), bold})
		for _, k := range o.Latest {
			p.order(k, o.Currency)
		}
	} else {
		p.missing("recent orders")
	}
	p.blank()
	if t := a.Tickets; t != nil {
		p.line(cell{plural(t.Open, "open ticket"), bold}, cell{inAll(t), dim})
		for _, k := range t.List[:min(len(t.List), shownTickets)] {
			urgency := cell{text: fmt.Sprintf("%-7s", k.Priority)}
			if k.Priority == "urgent" {
				urgency.sgr = red
			}
			p.line(cell{"  " + k.ID + "  ", dim}, urgency, cell{text: fmt.Sprintf(" %3d d  %s", k.AgeDays, k.Subject)})
		}
		if more := t.Open - shownTickets; more > 0 {
			p.line(cell{fmt.Sprintf("  and %d more", more), dim})
		}
	} else {
		p.missing("open tickets")
	}
}

func inAll(t *Tickets) string {
	if t.Ever < t.Open {
		return ""
	}
	return fmt.Sprintf(", %d in all", t.Ever)
}

func (p *printer) order(o Order, currency string) {
	text := fmt.Sprintf("%s  %-10s  %10s %s", o.Placed.Format(time.DateOnly), o.Status, amount(o.Total), currency)
	if p.width >= 72 { // below that, too little of the summary would be left
		text += "  " + o.Summary
	}
	p.line(cell{"  " + o.ID + "  ", dim}, cell{text: text})
}

func (p *printer) missing(what string) {
	p.line(cell{"No " + what + ": the source failed or answered in another form.", red})
}

const timeColumn = 8 // "12,345 ms" is rare enough to move the margin

// waterfall draws a pass; scale is the time that the whole line stands for.
func (p *printer) waterfall(title string, pass Pass, scale time.Duration) {
	p.line(cell{title, bold})
	source, tool := 0, 0
	for _, s := range pass.Calls {
		source, tool = max(source, len(s.Source)), max(tool, len(s.Tool))
	}
	for _, s := range pass.Calls {
		name := fmt.Sprintf("  %-*s  %-*s  ", source, s.Source, tool, s.Tool)
		first := slices.IndexFunc(pass.Calls, func(o Span) bool { return o.Source == s.Source })
		bar := cell{sgr: barColors[first%len(barColors)]}
		if s.Error != "" {
			bar.sgr = red
		}
		bar.text = p.bar(s, scale, p.width-len(name)-1-timeColumn)
		p.line(cell{text: name}, bar, cell{text: fmt.Sprintf(" %*s", timeColumn, duration(s.Duration()))})
		if s.Error != "" {
			p.line(cell{"    failed: " + s.Error, red})
		}
	}
	p.line(cell{fmt.Sprintf("  wall %s   sum %s   slowest %s", duration(pass.Wall), duration(pass.Sum), duration(pass.Slowest)), dim})
}

// bar draws a span on a line of that many columns, which stands for scale.
func (p *printer) bar(s Span, scale time.Duration, columns int) string {
	if columns < 1 {
		return ""
	}
	eighth := func(d time.Duration) int { // d in eighths of a column
		return int(float64(d) / float64(max(scale, 1)) * float64(columns*8))
	}
	start := min((eighth(s.Start)+4)/8, columns-1)
	end := min(max(eighth(s.End), start*8+1), columns*8)
	full, rest := end/8-start, end%8
	glyph, tip := "█", ""
	if rest > 0 {
		tip = []string{"▏", "▎", "▍", "▌", "▋", "▊", "▉"}[rest-1]
	}
	if !p.color {
		full, tip, glyph = max((end+4)/8-start, 1), "", "#"
		if s.Error != "" {
			glyph = "x"
		}
	}
	b := strings.Repeat(" ", start) + strings.Repeat(glyph, full) + tip
	return b + strings.Repeat(" ", columns-len([]rune(b)))
}

// renewal says what became of a token that ended between the passes.
func (p *printer) renewal(r *Report) {
	calls := 0
	for _, s := range r.Parallel.Calls {
		if s.Source == r.TokensOf && s.Error == "" {
			calls++
		}
	}
	if r.Parallel.Tokens == 0 || calls == 0 {
		return
	}
	renewed := "once"
	if n := r.Parallel.Tokens; n > 1 {
		renewed = plural(n, "time")
	}
	p.line(cell{fmt.Sprintf("  the token of %s ended; renewed %s for %s", r.TokensOf, renewed, plural(calls, "call")), dim})
}

// verdict says in the last lines what the two drawings show.
func (p *printer) verdict(r *Report) {
	var failed []string
	answered := false
	for i, s := range r.Parallel.Calls {
		if s.Error != "" || r.Serial.Calls[i].Error != "" {
			failed = append(failed, s.Source)
		}
		answered = answered || s.Error == ""
	}
	slices.Sort(failed)
	failed = slices.Compact(failed)
	if !answered {
		p.line(cell{"No source answered.", red})
		return
	}
	if failed != nil {
		p.line(cell{"Failed: " + strings.Join(failed, ", ") + ". The other sources answered all the same.", red})
	}
	times := "x"
	if p.color {
		times = "×"
	}
	if n := r.Speedup(); n >= 1.05 {
		p.line(cell{fmt.Sprintf("%.1f%s faster: the time of the slowest, not the sum.", n, times), green})
	} else {
		p.line(cell{text: fmt.Sprintf("No faster this time: %s at once, %s one by one.", duration(r.Parallel.Wall), duration(r.Serial.Wall))})
	}
}
