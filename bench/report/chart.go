package report

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// Chart is a picture of bars that lie below one another. Charts of the same
// title are parts of one picture.
type Chart struct {
	Title string
	Unit  string // of the values, for the line below the title
	Bars  []Bar
}

// Bar is one value.
type Bar struct {
	Label string
	Value Spread
	Limit float64 // marked; 0 for none
	Ours  bool    // drawn in the strong colour
}

// merged joins charts of the same title, in the order in which the titles
// come first.
func merged(charts []Chart) []Chart {
	var out []Chart
	at := make(map[string]int)
	for _, c := range charts {
		i, known := at[c.Title]
		if !known {
			at[c.Title] = len(out)
			out = append(out, Chart{c.Title, c.Unit, append([]Bar(nil), c.Bars...)})
			continue
		}
		out[i].Bars = append(out[i].Bars, c.Bars...)
	}
	return out
}

// The measures of a picture, in pixels.
const (
	chartWidth = 860
	labelWidth = 300
	barsWidth  = 440 // the rest is for the numbers
	rowHeight  = 24
	barHeight  = 14
	topHeight  = 64
	footHeight = 34
)

// The picture takes the reader's light or dark scheme; where that is not passed
// on to pictures it stays light. The page's own background shows through.
const chartStyle = `<style>
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 16px; font-weight: 600; }
.soft { fill: #57606a; }
.other { fill: #a8b3c0; }
.ours { fill: #0969da; }
.range { stroke: #24292f; stroke-width: 1.2; }
.limit { stroke: #cf222e; stroke-width: 2; }
.axis { stroke: #d0d7de; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.soft { fill: #9198a1; }
.other { fill: #57606a; }
.ours { fill: #4493f8; }
.range { stroke: #e6edf3; }
.limit { stroke: #ff7b72; }
.axis { stroke: #3d444d; }
}
</style>
`

// SVG draws the picture. Bars that reach far beyond the others are cut off and
// say so by their number.
func (c Chart) SVG() string {
	height := topHeight + rowHeight*len(c.Bars) + footHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n",
		chartWidth, height, chartWidth, height, escape(c.Title))
	b.WriteString(chartStyle)
	fmt.Fprintf(&b, `<text class="title" x="16" y="26">%s</text>`+"\n", escape(c.Title))
	fmt.Fprintf(&b, `<text class="soft" x="16" y="46">%s; lower is better; the thin line is the range over the rounds, the red one the target</text>`+"\n", escape(c.Unit))
	end := c.scale()
	for i, bar := range c.Bars {
		bar.draw(&b, topHeight+rowHeight*i, end)
	}
	bottom := topHeight + rowHeight*len(c.Bars)
	fmt.Fprintf(&b, `<line class="axis" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", labelWidth, topHeight-6, labelWidth, bottom)
	for _, v := range []float64{0, end / 2, end} {
		fmt.Fprintf(&b, `<text class="soft" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", place(v, end), bottom+18, Number(v))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// scale returns the value at the right end: enough for all limits and for our
// own bars, but not for others' that are much longer.
func (c Chart) scale() float64 {
	ours, all := 0.0, 0.0
	for _, bar := range c.Bars {
		v := math.Max(finite(bar.Value.High), bar.Limit)
		all = math.Max(all, v)
		if bar.Ours || bar.Limit > 0 {
			ours = math.Max(ours, v)
		}
	}
	if ours > 0 {
		all = math.Min(all, 1.2*ours)
	}
	if all <= 0 {
		return 1
	}
	step := math.Pow(10, math.Floor(math.Log10(all)))
	return math.Ceil(all/step*2) / 2 * step
}

func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return 0
	}
	return v
}

// place returns where a value is drawn.
func place(v, end float64) float64 {
	return labelWidth + barsWidth*math.Min(finite(v)/end, 1)
}

func (bar Bar) draw(b *strings.Builder, y int, end float64) {
	class := map[bool]string{true: "ours", false: "other"}[bar.Ours]
	middle := y + barHeight/2
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", labelWidth-10, y+barHeight-2, escape(bar.Label))
	at := place(bar.Value.Median, end)
	fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`+"\n", class, labelWidth, y, at-labelWidth, barHeight)
	low, high := place(bar.Value.Low, end), place(bar.Value.High, end)
	if high > low {
		fmt.Fprintf(b, `<line class="range" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", low, middle, high, middle)
	}
	right := math.Max(at, high)
	if bar.Limit > 0 {
		x := place(bar.Limit, end)
		fmt.Fprintf(b, `<line class="limit" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", x, y-3, x, y+barHeight+3)
		right = math.Max(right, x)
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", right+8, y+barHeight-2, Number(bar.Value.Median))
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
