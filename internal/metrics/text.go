package metrics

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The types of families.
const (
	counter    = "counter"
	gauge      = "gauge"
	histograms = "histogram"
)

// page is an exposition being written.
type page struct{ out bytes.Buffer }

func (p *page) family(name, typ, help string) {
	p.out.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + typ + "\n")
}

// escaped is how a label's value is written.
var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// sample writes one value; labels are names and values in turn.
func (p *page) sample(name string, value float64, labels ...string) {
	p.out.WriteString(name)
	before := "{"
	for pair := range slices.Chunk(labels, 2) {
		p.out.WriteString(before + pair[0] + `="` + escaped.Replace(pair[1]) + `"`)
		before = ","
	}
	if len(labels) > 0 {
		p.out.WriteByte('}')
	}
	p.out.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

func (p *page) histogram(name string, h *histogram, labels ...string) {
	upTo, all := h.counted()
	labels = append(slices.Clip(labels), "le", "")
	for i, n := range upTo {
		labels[len(labels)-1] = strconv.FormatFloat(bounds[i].Seconds(), 'g', -1, 64)
		p.sample(name+"_bucket", float64(n), labels...)
	}
	labels[len(labels)-1] = "+Inf"
	p.sample(name+"_bucket", float64(all), labels...)
	labels = labels[:len(labels)-2]
	p.sample(name+"_sum", time.Duration(h.sum.Load()).Seconds(), labels...)
	p.sample(name+"_count", float64(all), labels...)
}
