package demo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/internal/demo"
)

const msec = time.Millisecond

// fixed is a report with spans that do not fall on whole columns.
func fixed() *demo.Report {
	return &demo.Report{
		Question: "How is Tarnwick Freight doing? CRM record, recent orders, open tickets.",
		Customer: "Tarnwick Freight", CustomerID: "C-1001",
		Serial: pass(
			demo.Span{Source: "crm", Tool: "get_customer", End: 312 * msec, Bytes: 828},
			demo.Span{Source: "warehouse", Tool: "recent_orders", Start: 312 * msec, End: 1216 * msec, Bytes: 1950},
			demo.Span{Source: "tickets", Tool: "open_tickets", Start: 1216 * msec, End: 1224 * msec, Bytes: 1964},
			demo.Span{Source: "tickets", Tool: "search_tickets", Start: 1224 * msec, End: 1236 * msec, Bytes: 2710},
		),
		Parallel: pass(
			demo.Span{Source: "crm", Tool: "get_customer", End: 330 * msec, Bytes: 828},
			demo.Span{Source: "warehouse", Tool: "recent_orders", End: 910*msec + 400*time.Microsecond, Bytes: 1950},
			demo.Span{Source: "tickets", Tool: "open_tickets", End: 7600 * time.Microsecond, Bytes: 1964},
			demo.Span{Source: "tickets", Tool: "search_tickets", End: 11 * msec, Bytes: 2710},
		),
		Answer: demo.Summary{
			Record: &demo.Record{Name: "Tarnwick Freight", Segment: "small_business", Plan: "enterprise", Region: "north_america",
				Owner: "Ruben Askerdale", Health: "churn_risk", MRR: "1017440.00", Currency: "EUR", Since: "2022-11-14"},
			Orders: &demo.Orders{Found: 15, Currency: "EUR", Latest: []demo.Order{
				{ID: "O-103122", Placed: time.Date(2026, 5, 2, 8, 2, 0, 0, time.UTC), Status: "processing", Total: "182837.05", Summary: "33 x Temperature sensor; 5 x RFID tags, roll of 500"},
				{ID: "O-103013", Placed: time.Date(2026, 4, 20, 8, 2, 0, 0, time.UTC), Status: "shipped", Total: "92.90", Summary: "2 x Spare battery"},
			}},
			Tickets: &demo.Tickets{Open: 6, Ever: 14, List: []demo.Ticket{
				{"T-21122", "urgent", 34, "RFID tags are not read in night sorting"},
				{"T-21323", "high", 5, "Handheld scanners lose their pairing in dock 3, again and again and again"},
				{"T-21265", "normal", 114, "Charging dock in dock 3 has two dark bays"},
				{"T-21266", "low", 1, "a"}, {"T-21267", "low", 0, "b"}, {"T-21268", "low", 0, "not shown"},
			}},
		},
	}
}

func pass(calls ...demo.Span) demo.Pass {
	p := demo.Pass{Calls: calls}
	for _, s := range calls {
		p.Wall = max(p.Wall, s.End)
		p.Sum += s.Duration()
		p.Slowest = max(p.Slowest, s.Duration())
	}
	return p
}

// signedIn is fixed with a token that was renewed so many times.
func signedIn(times int) *demo.Report {
	r := fixed()
	r.TokensOf, r.Serial.Tokens, r.Parallel.Tokens = "tickets", 1, times
	return r
}

// broken is fixed with a source that failed both ways.
func broken() *demo.Report {
	r := fixed()
	for _, p := range []demo.Pass{r.Serial, r.Parallel} {
		p.Calls[1].Error = "timeout: warehouse: no answer within 900 ms; retry in 5 s;\nother sources are \x1b[31munaffected."
	}
	r.Answer.Orders = nil
	return r
}

func TestWriteText(t *testing.T) {
	for name, r := range map[string]*demo.Report{"fixed": fixed(), "broken": broken(), "signed-in": signedIn(1)} {
		for _, width := range []int{80, 60} {
			for _, color := range []bool{true, false} {
				look := map[bool]string{true: "color", false: "plain"}[color]
				file := fmt.Sprintf("%s-%d-%s.golden", name, width, look)
				golden(t, file, func(b *bytes.Buffer) error { return r.WriteText(b, width, color) })
			}
		}
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]+m")

func TestWriteTextFits(t *testing.T) {
	for _, r := range []*demo.Report{fixed(), broken(), {}, {Answer: demo.Summary{Record: &demo.Record{}, Orders: &demo.Orders{}, Tickets: &demo.Tickets{Open: 9}}}} {
		for width := 0; width <= 200; width += 5 {
			for _, color := range []bool{true, false} {
				var b bytes.Buffer
				if err := r.WriteText(&b, width, color); err != nil {
					t.Fatal(err)
				}
				text := b.String()
				if color {
					text = sgr.ReplaceAllString(text, "")
				} else if i := strings.IndexFunc(text, func(c rune) bool { return c >= utf8.RuneSelf }); i >= 0 {
					t.Errorf("width %d: plain text is not ASCII at %q", width, text[i:])
				}
				if strings.Contains(text, "\x1b") {
					t.Errorf("a source controls the terminal: %q", text)
				}
				for line := range strings.Lines(text) {
					n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n"))
					if n > min(max(width, 60), 100) || strings.TrimRight(line, " \n")+"\n" != line && !color {
						t.Errorf("width %d, color %t: %q has %d columns", width, color, line, n)
					}
				}
			}
		}
	}
}

// TestLastLine holds the sentence that the drawing is for, and what stands in
// its place where it would not be true.
func TestLastLine(t *testing.T) {
	same := fixed()
	same.Parallel = same.Serial
	dead := fixed()
	for _, p := range []demo.Pass{dead.Serial, dead.Parallel} {
		for i := range p.Calls {
			p.Calls[i].Error = "unavailable"
		}
	}
	for want, r := range map[string]*demo.Report{
		"1.4x faster: the time of the slowest, not the sum.":          fixed(),
		"No faster this time: 1,236 ms at once, 1,236 ms one by one.": same,
		"No source answered.": dead,
	} {
		var b bytes.Buffer
		if err := r.WriteText(&b, 80, false); err != nil || !strings.HasSuffix(b.String(), "\n"+want+"\n") {
			t.Errorf("want %q, got %v:\n%s", want, err, b.String())
		}
	}
}

// TestRenewalIsToldAsItWas: it is not told where nothing came of it.
func TestRenewalIsToldAsItWas(t *testing.T) {
	failed := signedIn(1)
	for _, i := range []int{2, 3} {
		failed.Parallel.Calls[i].Error = "needs_login"
	}
	one := signedIn(2)
	one.Parallel.Calls[3].Error = "timeout"
	for want, r := range map[string]*demo.Report{
		"\n  the token of tickets ended; renewed once for 2 calls\n":   signedIn(1),
		"\n  the token of tickets ended; renewed 2 times for 1 call\n": one,
		"": failed,
	} {
		var b bytes.Buffer
		if err := r.WriteText(&b, 80, false); err != nil || !strings.Contains(b.String(), want) || want == "" && strings.Contains(b.String(), "renewed") {
			t.Errorf("want %q, got %v:\n%s", want, err, b.String())
		}
	}
	for _, r := range []*demo.Report{signedIn(0), fixed()} {
		var b bytes.Buffer
		if err := r.WriteText(&b, 80, false); err != nil || strings.Contains(b.String(), "token") {
			t.Errorf("%v:\n%s", err, b.String())
		}
	}
}

func TestWriteJSON(t *testing.T) {
	golden(t, "fixed.json", func(b *bytes.Buffer) error { return fixed().WriteJSON(b) })
	golden(t, "signed-in.json", func(b *bytes.Buffer) error { return signedIn(1).WriteJSON(b) })
	golden(t, "broken.json", func(b *bytes.Buffer) error { return broken().WriteJSON(b) })
}

// TestSandboxLooks shows what a newcomer sees, with the real sample data.
func TestSandboxLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := demo.Run(t.Context(), overSandbox(t), demo.Options{})
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "sandbox-80-plain.golden", func(b *bytes.Buffer) error { return r.WriteText(b, 80, false) })
	})
}

// TestOddAnswers: the sources may be the user's own, with other shapes.
func TestOddAnswers(t *testing.T) {
	for _, odd := range []string{`{}`, `{"customer":7,"orders":8,"tickets":9}`, `{"customer":null}`, `[]`, `{"mrr":"x","found":-1,"orders":[{}],"tickets":[{}]}`} {
		r, err := demo.Run(t.Context(), func(_ context.Context, tool string, _ any) (json.RawMessage, error) {
			if tool == "crm_find_customers" {
				return json.RawMessage(`{"structuredContent":{"records":[{"customer_id":"1","name":"One"}]}}`), nil
			}
			return json.RawMessage(`{"structuredContent":` + odd + `}`), nil
		}, demo.Options{})
		if err != nil || r.Failed() {
			t.Fatalf("%s: %v", odd, err)
		}
		var text, machine bytes.Buffer
		if err := errors.Join(r.WriteText(&text, 80, false), r.WriteJSON(&machine)); err != nil || !json.Valid(machine.Bytes()) {
			t.Errorf("%s: %v\n%s", odd, err, machine.String())
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWriteErrorsAreTold(t *testing.T) {
	if fixed().WriteText(full{}, 80, false) == nil || fixed().WriteJSON(full{}) == nil {
		t.Error("a write error is swallowed")
	}
}
