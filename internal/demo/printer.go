package demo

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// cell is a piece of a line; sgr is how it looks where colours are allowed, ""
// for plain.
type cell struct{ text, sgr string }

// printer collects lines that fit a terminal.
type printer struct {
	out   strings.Builder
	width int
	color bool
}

func (p *printer) blank() { p.out.WriteByte('\n') }

// line writes the cells as one line, cut off at the width. Text of a source
// cannot control the terminal: what is not printable becomes a question mark.
func (p *printer) line(cells ...cell) {
	var all int
	for i := range cells {
		cells[i].text = strings.Map(printable, cells[i].text)
		all += len([]rune(cells[i].text))
	}
	left, more := p.width, ""
	if all > p.width {
		more = "..."
		if p.color {
			more = "…"
		}
		left -= len([]rune(more))
	}
	for i, c := range cells {
		text := []rune(c.text)
		cut := len(text) > left
		if cut {
			text = text[:left]
		}
		left -= len(text)
		s := string(text)
		if cut {
			s = strings.TrimRight(s, " ") + more
		} else if i == len(cells)-1 {
			s = strings.TrimRight(s, " ")
		}
		if p.color && c.sgr != "" && s != "" {
			s = "\x1b[" + c.sgr + "m" + s + "\x1b[0m"
		}
		p.out.WriteString(s)
		if cut {
			break
		}
	}
	p.out.WriteByte('\n')
}

func printable(c rune) rune {
	switch {
	case unicode.IsPrint(c):
		return c
	case unicode.IsSpace(c):
		return ' '
	}
	return '?'
}

// words makes "churn_risk" readable.
func words(s string) string { return strings.ReplaceAll(s, "_", " ") }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// amount is a sum of money with two decimals and thousands set apart.
func amount(n json.Number) string {
	f, err := n.Float64()
	if err != nil {
		return "?"
	}
	return group(strconv.FormatFloat(f, 'f', 2, 64))
}

// duration is in milliseconds, with a decimal where it is short.
func duration(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", ms(d))
	}
	return group(strconv.FormatInt(d.Round(time.Millisecond).Milliseconds(), 10)) + " ms"
}

// group puts commas between the thousands of a decimal number.
func group(s string) string {
	whole, frac, _ := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if frac != "" {
		frac = "." + frac
	}
	return sign + whole + frac
}
