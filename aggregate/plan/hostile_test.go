package plan_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
)

// cost returns how many bytes f takes in all, and how long.
func cost(f func()) (bytes int, took time.Duration) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	f()
	took = time.Since(began)
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc), took
}

func repeated(n int, each func(int) string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(each(i))
	}
	return b.String()
}

// TestHostilePlans: whatever is written in a plan, to read it takes memory and time
// as for its text, and the answer stays short.
func TestHostilePlans(t *testing.T) {
	same := func(s string) func(int) string { return func(int) string { return s } }
	nested := func(open, in, end string, depth int) string {
		return strings.Repeat(open, depth) + in + strings.Repeat(end, depth)
	}
	long := strings.Repeat("x", 1<<20)
	for name, calls := range map[string]string{
		"a million calls":   "[" + repeated(1e6, same("{}")) + "]",
		"a million numbers": "[" + repeated(1e6, same("1")) + "]",
		"many members":      `[{` + repeated(1e5, func(i int) string { return fmt.Sprintf(`"m%d":1`, i) }) + `}]`,
		"many ids":          `[{"id":"a","tool":"crm_read","after":[` + repeated(3e5, same(`"b"`)) + `]}]`,
		"after everything": "[" + repeated(64, func(i int) string {
			return fmt.Sprintf(`{"id":"n%d","tool":"crm_read","after":[%s]}`, i, repeated(64, func(j int) string { return fmt.Sprintf(`"n%d"`, j) }))
		}) + "]",
		"references everywhere":     `[{"id":"a","tool":"crm_read"},{"id":"b","tool":"crm_read","arguments":{"x":[` + repeated(5e4, same(`{"$ref":"#/a"}`)) + `]}}]`,
		"bad references everywhere": `[{"id":"b","tool":"crm_read","arguments":{"x":[` + repeated(5e4, same(`{"$ref":"a"}`)) + `]}}]`,
		"references forward": "[" + repeated(64, func(i int) string {
			return fmt.Sprintf(`{"id":"n%d","tool":"crm_read","arguments":{"x":[%s]}}`, i, repeated(4, func(j int) string { return fmt.Sprintf(`{"$ref":"#/n%d"}`, (i*7+j*13)%64) }))
		}) + "]",
		"deep arguments":         `[{"id":"a","tool":"crm_read","arguments":{"x":[` + repeated(5e3, same(nested(`[`, `"$"`, `]`, 100))) + `]}}]`,
		"deep objects":           `[{"id":"a","tool":"crm_read","arguments":` + nested(`{"$literally":`, `"`+long+`"`, `}`, 100) + `}]`,
		"deep literals":          `[{"id":"a","tool":"crm_read","arguments":` + nested(`{"$literal":`, `{"$ref":"#/a"}`, `}`, 100) + `}]`,
		"a long id":              `[{"id":"` + long + `","tool":"crm_read"}]`,
		"a long tool":            `[{"id":"a","tool":"` + long + `"}]`,
		"a long reference":       `[{"id":"a","tool":"crm_read","arguments":{"x":{"$ref":"#/a/` + long + `"}}}]`,
		"a long member":          `[{"id":"a","tool":"crm_read","` + long + `":1}]`,
		"a long on_error":        `[{"id":"a","tool":"crm_read","on_error":"` + long + `"}]`,
		"ids that are the same":  "[" + repeated(64, same(`{"id":"a","tool":"crm_read","arguments":{"x":{"$ref":"#/a"}}}`)) + "]",
		"ids that look the same": `[{"id":"a","tool":"crm_read"},{"id":"а","tool":"crm_read"},{"id":"ａ","tool":"crm_read"},{"id":"a\u200b","tool":"crm_read"},{"id":"a\n","tool":"crm_read"}]`,
	} {
		var err error
		bytes, took := cost(func() { _, err = plan.Parse(json.RawMessage(calls), find, false) })
		if most := 16<<20 + 8*len(calls); bytes > most {
			t.Errorf("%s: %d bytes for a text of %d", name, bytes, len(calls))
		}
		if took > time.Minute {
			t.Errorf("%s: %v", name, took)
		}
		if err == nil && !strings.HasPrefix(name, "deep") {
			t.Errorf("%s is accepted", name)
		}
		if err != nil && len(err.Error()) > 16<<10 {
			t.Errorf("%s: an answer of %d bytes", name, len(err.Error()))
		}
	}
}

// TestBombs: references cannot make of a short text a long one, or of few calls
// many.
func TestBombs(t *testing.T) {
	row := `"` + strings.Repeat("x", 1<<20) + `"`
	rows := "[" + repeated(100, func(int) string { return "0" }) + "]"
	for name, c := range map[string]struct {
		calls string
		most  int // bytes of arguments that arrive
		why   string
	}{
		"a result put into all the others": {`{"id":"a","tool":"a_read"},` + repeated(32, func(i int) string {
			return fmt.Sprintf(`{"id":"n%d","tool":"b_read","arguments":{"x":[%s]}}`, i, repeated(3, func(int) string { return `{"$ref":"#/a/row"}` }))
		}), 40 << 20, "the arguments of all calls are longer than 33554432 bytes together"},
		"a result put into one many times": {`{"id":"a","tool":"a_read"},{"id":"b","tool":"b_read","arguments":{"x":[` + repeated(200, func(int) string { return `{"$ref":"#/a/row"}` }) + `]}}`,
			5 << 20, "the arguments are longer than 4194304 bytes"},
		"for each element": {`{"id":"a","tool":"a_read"},{"id":"b","tool":"b_read","map":{"$ref":"#/a/rows"},"arguments":{"x":[{"$ref":"#/a/row"},{"$ref":"#/a/row"},{"$ref":"#/a/row"}]}}`,
			40 << 20, "the arguments of all calls are longer than"},
		"literals for each element": {`{"id":"a","tool":"a_read"},{"id":"b","tool":"b_read","map":{"$ref":"#/a/rows"},"arguments":{"x":` + row + `}}`,
			40 << 20, "the arguments of all calls are longer than"},
		"each doubled by the next": {`{"id":"n0","tool":"e_read","arguments":{"x":"` + strings.Repeat("x", 1000) + `"}},` + repeated(40, func(i int) string {
			return fmt.Sprintf(`{"id":"n%d","tool":"e_read","arguments":{"x":[{"$ref":"#/n%d"},{"$ref":"#/n%d"}]}}`, i+1, i, i)
		}), 40 << 20, "longer than"},
		"lists of lists": {`{"id":"a","tool":"a_read"},` + repeated(60, func(i int) string { return fmt.Sprintf(`{"id":"n%d","tool":"b_read","map":{"$ref":"#/a/rows"}}`, i) }),
			1 << 20, "a plan may come to 256, and 55 are left"},
		"lists of results of lists": {`{"id":"n0","tool":"a_read"},{"id":"m0","tool":"b_read","map":{"$ref":"#/n0/rows"},"arguments":{"x":{"$ref":"#/n0/row"}}},` + repeated(8, func(i int) string {
			return fmt.Sprintf(`{"id":"m%d","tool":"e_read","map":{"$ref":"#/m%d"},"arguments":{"x":{"$ref":"#/m%d"}}}`, i+1, i, i)
		}), 40 << 20, "longer than"},
	} {
		var arrived, calls atomic.Int64
		var out []plan.Outcome[string]
		used, took := cost(func() {
			out = plan.Run(t.Context(), parse(t, "["+c.calls+"]"), plan.Work[string]{Do: func(_ context.Context, s plan.Step) (json.RawMessage, string, bool) {
				arrived.Add(int64(len(s.Arguments)))
				calls.Add(1)
				if strings.HasPrefix(s.Node.Tool, "e_") {
					return s.Arguments, "", true
				}
				return json.RawMessage(`{"row":` + row + `,"rows":` + rows + `}`), "", true
			}})
		})
		why := ""
		for _, o := range out {
			why += o.Why
			for _, it := range o.Items {
				why += it.Why
			}
		}
		if arrived.Load() > int64(c.most) || calls.Load() > plan.MaxCalls || !strings.Contains(why, c.why) {
			t.Errorf("%s: %d calls with %d bytes; %.300s", name, calls.Load(), arrived.Load(), why)
		}
		if most := 16*c.most + int(calls.Load())*2<<20; used > most || took > time.Minute {
			t.Errorf("%s: %d bytes, more than %d, in %v", name, used, most, took)
		}
	}
}
