package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Document is one run.
type Document struct {
	Machine  string // processor and cores
	Go       string
	Taken    time.Time
	Settings string // of the run, as on its command line
	Sections []Section
}

// Section is what one probe found.
type Section struct {
	Title  string
	Text   string // what was done; Markdown
	Tables []Table
	Goals  []Goal
	Charts []Chart
}

// Table is rows under a head, all of the same length.
type Table struct {
	Title string // "" for none
	Head  []string
	Rows  [][]string
}

// Goal is a figure, how large it may be and what it came to.
type Goal struct {
	Figure string
	Limit  float64
	Unit   string // after both numbers, "" or with its own space before it
	Got    Spread
}

// Met reports whether the median keeps the limit.
func (g Goal) Met() bool { return g.Got.Median <= g.Limit }

func (g Goal) cells() []string {
	return []string{g.Figure, Number(g.Limit) + g.Unit, g.Got.String() + g.Unit, map[bool]string{true: "yes", false: "**no**"}[g.Met()]}
}

func goalTable(goals []Goal) Table {
	t := Table{Head: []string{"figure", "at most", "measured", "met"}}
	for _, g := range goals {
		t.Rows = append(t.Rows, g.cells())
	}
	return t
}

// WriteText writes a section for a terminal.
func (s Section) WriteText(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "\n%s\n", s.Title); err != nil {
		return err
	}
	tables := s.Tables
	if len(s.Goals) > 0 {
		goals := goalTable(s.Goals)
		goals.Title = "goals"
		tables = append(slices.Clip(tables), goals)
	}
	for _, t := range tables {
		if err := t.text(w); err != nil {
			return err
		}
	}
	return nil
}

func (t Table) text(w io.Writer) error {
	if t.Title != "" {
		if _, err := fmt.Fprintf(w, "\n  %s\n", t.Title); err != nil {
			return err
		}
	}
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		_, _ = fmt.Fprintf(tab, "  %s\n", strings.ReplaceAll(strings.Join(row, "\t"), "**", "")) // an error stays until Flush
	}
	return tab.Flush()
}

// markdown writes the table.
func (t Table) markdown(b *strings.Builder) {
	if t.Title != "" {
		fmt.Fprintf(b, "%s\n\n", t.Title)
	}
	row := func(cells []string) {
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
	row(t.Head)
	fmt.Fprintf(b, "|%s\n", strings.Repeat("---|", len(t.Head)))
	for _, cells := range t.Rows {
		escaped := make([]string, len(cells))
		for i, c := range cells {
			escaped[i] = strings.ReplaceAll(c, "|", `\|`)
		}
		row(escaped)
	}
	b.WriteString("\n")
}

// Charts are the pictures of all sections.
func (d *Document) Charts() []Chart {
	var parts []Chart
	for _, s := range d.Sections {
		parts = append(parts, s.Charts...)
	}
	return merged(parts)
}

// Markdown is the page. picture names the file of a chart by its number, as a
// path from the page.
func (d *Document) Markdown(picture func(n int) string) string {
	var b strings.Builder
	b.WriteString("<!-- Written by go run ./bench -write. Do not edit. -->\n\n# Performance\n\n")
	b.WriteString(method)
	fmt.Fprintf(&b, "This page: %s, on %s, %s, with `go run ./bench %s`.\n\n", d.Taken.Format("2 January 2006"), d.Machine, d.Go, d.Settings)
	b.WriteString("## Targets\n\nEach measured value is the median over the rounds, with the smallest and the largest behind it. A target is met if the median keeps it.\n\n")
	var goals []Goal
	for _, s := range d.Sections {
		goals = append(goals, s.Goals...)
	}
	goalTable(goals).markdown(&b)
	for i, c := range d.Charts() {
		fmt.Fprintf(&b, "![%s](%s)\n\n", c.Title, picture(i))
	}
	for _, s := range d.Sections {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", s.Title, s.Text)
		for _, t := range s.Tables {
			t.markdown(&b)
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

const method = `What Bulkhead costs, measured beside what it is compared with:

- **direct**: the upstream alone, which does as little as an MCP server can;
- **proxy**: a plain ` + "`net/http`" + ` reverse proxy that reads each request whole before it passes it on, the floor over HTTP;
- **mcp-go relay**: the least that relays tools with mcp-go's own transports and types, no features;
- **mux**: a loop that rewrites ids between two pipes and looks at nothing else, the floor over stdio;
- **Bulkhead**: the real binary as configured by default, a log line for each call included. Over stdio it is shown without that line too.

REST actions, SQL statements and searches are compared within one process, as their sections say. Otherwise each is a process of its own; all speak over loopback or pipes. A probe goes round its targets once in each round, so that noise hits all alike, and a ratio is taken within its round. Processor time is that of the one process under measurement, as the kernel counts it. Read the ratios: absolute figures are the machine's, and on a shared machine only processor time is steady.

To repeat it, on Linux: ` + "`go run ./bench`" + `, which takes about nine minutes. ` + "`-write`" + ` writes this page and its pictures.

`
