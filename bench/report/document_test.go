package report_test

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

func document() *report.Document {
	return &report.Document{
		Machine: "A processor, 2 cores", Go: "go1.26", Settings: "-rounds 5", Taken: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
		Sections: []report.Section{
			{
				Title: "Small calls", Text: "Many at once.",
				Tables: []report.Table{{Title: "16 callers:", Head: []string{"through", "CPU"}, Rows: [][]string{{"proxy|x", "80"}}}},
				Goals: []report.Goal{
					{Figure: "CPU a call", Limit: 1.25, Unit: " × proxy", Got: report.Of([]float64{1.2, 1.3, 1.1})},
					{Figure: "1 MB", Limit: 4, Got: report.Of([]float64{4.2})},
				},
				Charts: []report.Chart{{Title: "CPU", Unit: "× proxy", Bars: []report.Bar{{Label: "calls", Value: report.Of([]float64{1.2}), Limit: 1.25, Ours: true}}}},
			},
			{Title: "Lists", Text: "One.", Charts: []report.Chart{
				{Title: "CPU", Bars: []report.Bar{{Label: "<list> & more", Value: report.Of([]float64{0.5, 0.7}), Ours: true}}},
				{Title: "Wall", Unit: "ms", Bars: []report.Bar{{Label: "start", Value: report.Of([]float64{7})}}},
			}},
		},
	}
}

func TestMarkdown(t *testing.T) {
	got := document().Markdown(func(n int) string { return string(rune('a'+n)) + ".svg" })
	for _, want := range []string{
		"# Performance\n", "22 November 2026, on A processor, 2 cores, go1.26, with `go run ./bench -rounds 5`",
		"| CPU a call | 1.25 × proxy | 1.20 (1.10–1.30) × proxy | yes |\n", "| 1 MB | 4.00 | 4.20 (4.20–4.20) | **no** |\n",
		"![CPU](a.svg)\n\n![Wall](b.svg)\n", "## Small calls\n\nMany at once.\n\n16 callers:\n\n| through | CPU |\n|---|---|\n| proxy\\|x | 80 |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "c.svg") || strings.HasSuffix(got, "\n\n") {
		t.Errorf("a third picture, or an empty line at the end:\n%s", got)
	}
}

func TestText(t *testing.T) {
	var b strings.Builder
	if err := document().Sections[0].WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := `
Small calls

  16 callers:
  through  CPU
  proxy|x  80

  goals
  figure      at most       measured                  met
  CPU a call  1.25 × proxy  1.20 (1.10–1.30) × proxy  yes
  1 MB        4.00          4.20 (4.20–4.20)          no
`
	if b.String() != want {
		t.Errorf("got %s\nwant %s", b.String(), want)
	}
}

func TestAGoalWithoutAFigureIsNotMet(t *testing.T) {
	if (report.Goal{Limit: 1, Got: report.Of(nil)}).Met() {
		t.Error("met")
	}
}

func TestChartsOfOneTitleAreOnePicture(t *testing.T) {
	charts := document().Charts()
	if len(charts) != 2 || charts[0].Title != "CPU" || len(charts[0].Bars) != 2 || charts[0].Unit != "× proxy" {
		t.Errorf("got %+v", charts)
	}
}

func TestSVGIsWellFormedAndStaysInside(t *testing.T) {
	wild := report.Chart{Title: `"<&>"`, Unit: "x", Bars: []report.Bar{
		{Label: "none", Value: report.Of(nil), Ours: true}, {Label: "zero", Value: report.Of([]float64{0}), Ours: true},
		{Label: "below", Value: report.Of([]float64{-3, 2}), Limit: 1, Ours: true},
		{Label: "endless", Value: report.Of([]float64{math.Inf(1)})}, {Label: "long", Value: report.Of([]float64{1e9})},
	}}
	for _, c := range append(document().Charts(), wild, report.Chart{}) {
		svg := c.SVG()
		for dec := xml.NewDecoder(strings.NewReader(svg)); ; {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in\n%s", err, svg)
			}
		}
		for _, bad := range []string{"NaN", "Inf", `width="-`, "e+"} {
			if strings.Contains(svg, bad) {
				t.Errorf("%q in\n%s", bad, svg)
			}
		}
		if strings.Count(svg, "<rect") != len(c.Bars) {
			t.Errorf("%d bars drawn of %d", strings.Count(svg, "<rect"), len(c.Bars))
		}
		if !strings.Contains(svg, "prefers-color-scheme: dark") {
			t.Error("nothing for a dark page")
		}
	}
}
