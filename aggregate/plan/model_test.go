package plan_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/aggregate/plan"
)

// drawn is one call of a random plan: what it refers to, and how it ends.
type drawn struct {
	id      string
	tool    string
	refs    []int // through arguments
	after   []int
	onError string
	fails   bool
}

func (d drawn) text(all []drawn) string {
	var args, after []string
	for _, j := range d.refs {
		args = append(args, fmt.Sprintf(`{"$ref":"#/%s/v"}`, all[j].id))
	}
	for _, j := range d.after {
		after = append(after, fmt.Sprintf("%q", all[j].id))
	}
	return fmt.Sprintf(`{"id":%q,"tool":%q,"on_error":%q,"after":[%s],"arguments":{"fail":%v,"in":[%s]}}`,
		d.id, d.tool, d.onError, strings.Join(after, ","), d.fails, strings.Join(args, ","))
}

func drawPlan(t *rapid.T) []drawn {
	n := rapid.IntRange(1, 12).Draw(t, "calls")
	all := make([]drawn, n)
	for i := range all {
		earlier := func(what string) (out []int) {
			if i == 0 {
				return nil
			}
			return rapid.SliceOfN(rapid.IntRange(0, i-1), 0, 3).Draw(t, what)
		}
		all[i] = drawn{
			id:      fmt.Sprintf("n%d", i),
			tool:    rapid.SampledFrom([]string{"a_read", "a_write", "b_read", "b_write", "c_read"}).Draw(t, "tool"),
			refs:    earlier("refs"),
			after:   earlier("after"),
			onError: rapid.SampledFrom([]string{"skip", "skip", "null"}).Draw(t, "on_error"),
			fails:   rapid.IntRange(0, 4).Draw(t, "fails") == 0,
		}
	}
	return all
}

// expected carries a plan out one call after another, as written.
func expected(all []drawn) []string {
	status, value := make([]string, len(all)), make([]string, len(all))
	for i, d := range all {
		status[i], value[i] = "ok", "null"
		for _, j := range slices.Concat(d.refs, d.after) {
			if status[j] != "ok" && all[j].onError != "null" {
				status[i] = "skipped"
			}
		}
		switch {
		case status[i] == "skipped":
		case d.fails:
			status[i] = "error"
		default:
			var in []string
			for _, j := range d.refs {
				in = append(in, value[j])
			}
			value[i] = fmt.Sprintf("[%q,%s]", d.id, strings.Join(append(in, "0"), ","))
		}
	}
	out := make([]string, len(all))
	for i := range all {
		out[i] = status[i] + " " + value[i]
	}
	return out
}

// TestAsOneAfterAnother: however calls overlap, a plan comes out as if its calls
// were made one by one, each once at most, and what changes something at a source
// overlaps with nothing there.
func TestAsOneAfterAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := drawPlan(t)
		var texts []string
		for _, d := range all {
			texts = append(texts, d.text(all))
		}
		p, err := plan.Parse(json.RawMessage("["+strings.Join(texts, ",")+"]"), find, false)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		made, active, writing := map[string]int{}, map[string]int{}, map[string]int{}
		do := func(_ context.Context, s plan.Step) (json.RawMessage, string, bool) {
			write := strings.HasSuffix(s.Node.Tool, "write")
			mu.Lock()
			made[s.Node.ID]++
			if writing[s.Node.Source] > 0 || write && active[s.Node.Source] > 0 {
				t.Errorf("%s overlaps with a write, or it is one and overlaps", s.Node.ID)
			}
			active[s.Node.Source]++
			if write {
				writing[s.Node.Source]++
			}
			mu.Unlock()
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				active[s.Node.Source]--
				if write {
					writing[s.Node.Source]--
				}
			}()
			var a struct {
				Fail bool
				In   []json.RawMessage
			}
			if err := json.Unmarshal(s.Arguments, &a); err != nil {
				t.Errorf("%s: %v", s.Arguments, err)
			}
			if a.Fail {
				return nil, "", false
			}
			in := ""
			for _, v := range a.In {
				in += string(v) + ","
			}
			return json.RawMessage(fmt.Sprintf(`{"v":[%q,%s0]}`, s.Node.ID, in)), "", true
		}
		out := plan.Run(context.WithoutCancel(t.Context()), p, do, func(int, *plan.Outcome[string]) {})
		for i, want := range expected(all) {
			value := "null"
			if out[i].Status == plan.OK {
				value = strings.TrimSuffix(strings.TrimPrefix(string(out[i].Value), `{"v":`), "}")
			}
			if got := string(out[i].Status) + " " + value; got != want {
				t.Errorf("%s: %s, want %s\n%s", all[i].id, got, want, strings.Join(texts, "\n"))
			}
			if n := made[all[i].id]; n > 1 || n == 0 && out[i].Status != plan.Skipped {
				t.Errorf("%s is made %d times", all[i].id, n)
			}
		}
	})
}
