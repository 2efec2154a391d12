package aggregate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// world is an aggregate over sources with policies, and all that is to be seen of
// the calls that are made in it.
type world struct {
	v     *aggregate.View
	mu    sync.Mutex
	asked []string       // what reached the sources
	lines []string       // of the log, for each call
	kept  int            // answers
	ids   map[string]int // of the calls that reached the sources
}

// Enabled implements slog.Handler, as do the next ones.
func (*world) Enabled(context.Context, slog.Level) bool { return true }
func (w *world) WithAttrs([]slog.Attr) slog.Handler     { return w }
func (w *world) WithGroup(string) slog.Handler          { return w }
func (w *world) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "call" {
		return nil
	}
	line, own, size, shared := r.Level.String(), false, "", false
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case a.Key == "call", strings.HasSuffix(a.Key, "_ms"):
			return true
		case a.Key == "memory": // from memory, or together with the one that was to be in it
			a.Value, shared = slog.StringValue("shared"), true
		case a.Key == "bytes":
			size = " " + a.String()
			return true
		case a.Key == "attempts" && a.Value.Int64() == 0:
			return true
		}
		own = own || a.Key == "tool" && strings.HasPrefix(a.Value.String(), "bulkhead_")
		line += " " + a.String()
		return true
	})
	if !shared { // what is kept says how old it is
		line += size
	}
	if w.mu.Lock(); !own {
		w.lines = append(w.lines, line)
	}
	w.mu.Unlock()
	return nil
}

// answer is what each source of the world does with a call.
func (w *world) answer(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	w.mu.Lock()
	w.asked = append(w.asked, fmt.Sprintf("%s %s %s %s %s %s %s %v", c.Upstream, c.Name, c.Params, c.Arguments, c.Principal.Key(), c.Session, c.Client, c.Back.Ask != nil))
	w.ids[c.ID]++
	w.mu.Unlock()
	time.Sleep(30 * time.Millisecond)
	fail, _ := rawjson.GetString(c.Arguments, "fail")
	switch {
	case c.Upstream == "desk" && c.Principal != anna:
		return nil, &upstream.Error{Upstream: c.Upstream, Tool: c.Name, Kind: upstream.Denied, Public: "it is not yours"}
	case fail == "tool":
		return upstream.TextResult("no such customer", true), nil
	case fail == "lost":
		return nil, &upstream.Error{Kind: upstream.Unavailable, Sent: true, Err: errors.New("lost")}
	case fail == "rpc":
		return nil, &upstream.Error{Kind: upstream.UpstreamError, Sent: true, RPC: &upstream.RPCError{Code: -32000, Message: "it is broken"}}
	case fail == "text":
		return upstream.TextResult(`{"v": `+c.Principal.Key()+`}`, false), nil
	}
	return upstream.StructuredResult(map[string]json.RawMessage{"v": c.Arguments, "of": json.RawMessage(fmt.Sprintf("%q", c.Principal.Key()))})
}

func newWorld(t *testing.T) (w *world, stop func()) {
	w = &world{ids: map[string]int{}}
	var members []aggregate.Member
	for _, id := range []upstream.ID{"crm", "erp", "desk"} {
		s := newShop(t, id)
		s.call = w.answer
		m := member(s.fake)
		m.Limits = aggregate.Limits{Concurrency: 2, Queue: 100, Rate: 1e-9, Burst: 1000, Costs: map[string]float64{"write": 3}}
		m.Fingerprint = "key of " + string(id)
		switch id {
		case "crm":
			m.Limits.TrustAnnotations, m.Limits.Attempts = true, 2
			m.Cache = aggregate.Cache{TTL: time.Hour}
			m.Limits.Unannotated = aggregate.Serial // or else it depends on the hour which answers they drop
		case "erp":
			m.Limits.Writes = aggregate.Deny
			m.CheckSchema = true
		case "desk":
			m.Keep = func(tool string) bool { return tool != "plain" }
			m.Limits.Per = aggregate.PerUser
			m.Requires = map[string][]string{"write": {"read"}}
		}
		members = append(members, m)
	}
	a, err := aggregate.New(members, aggregate.Options{Log: slog.New(w)})
	if err != nil {
		t.Fatal(err)
	}
	w.v, stop = run(t, a)
	if err := a.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w, stop
}

// seen is everything that is to be seen of what was done.
func (w *world) seen(t *testing.T) string {
	slices.Sort(w.asked)
	slices.Sort(w.lines)
	left := ""
	for _, id := range []string{"crm", "desk", "erp"} {
		var st struct {
			Sources []struct{ Load aggregate.LoadStatus }
		}
		a := callAs(t, w.v, &aggregate.Request{Principal: anna}, "bulkhead_sources", fmt.Sprintf(`{"source":%q}`, id))
		if err := json.Unmarshal(a.Structured, &st); err != nil || len(st.Sources) != 1 {
			t.Fatalf("%v: %s", err, a.Structured)
		}
		l := st.Sources[0].Load
		left += fmt.Sprintf("%s: %.3f tokens left", id, l.Quota.Left)
		if l.Cache != nil {
			left += fmt.Sprintf(", %d answers of %d bytes kept", l.Cache.Entries, l.Cache.Bytes)
			w.kept += l.Cache.Entries
		}
		left += "\n"
	}
	return strings.Join(w.asked, "\n") + "\n" + strings.Join(w.lines, "\n") + "\n" + left
}

// planned is one call of a random plan.
type planned struct {
	id, tool, fail, onError string
	refs, after             []int
	twin                    bool // it asks what others ask
	control                 bool // with what a host has put there for itself
}

// arguments returns them with a value for each reference.
func (p planned) arguments(value func(int) string) string {
	var in []string
	for _, j := range p.refs {
		in = append(in, value(j))
	}
	id := p.id
	if p.twin {
		id = "twin"
	}
	out := fmt.Sprintf(`{"id": %q,"fail":%q, "\u0069n":[%s]`, id, p.fail, strings.Join(in, " , "))
	if p.control {
		out += `,"wait_for_previous":true`
	}
	return out + "}"
}

func drawCalls(t *rapid.T) []planned {
	all := make([]planned, rapid.IntRange(1, 10).Draw(t, "calls"))
	for i := range all {
		p := planned{
			id:      fmt.Sprintf("n%d", i),
			tool:    rapid.SampledFrom([]string{"crm_read", "crm_read", "crm_write", "crm_plain", "erp_read", "erp_write", "desk_read", "desk_write"}).Draw(t, "tool"),
			fail:    rapid.SampledFrom([]string{"", "", "", "", "tool", "lost", "rpc", "text"}).Draw(t, "fail"),
			onError: rapid.SampledFrom([]string{"skip", "null"}).Draw(t, "on_error"),
			control: rapid.IntRange(0, 5).Draw(t, "control") == 0,
		}
		if i > 0 {
			p.refs = rapid.SliceOfN(rapid.IntRange(0, i-1), 0, 2).Draw(t, "refs")
			p.after = rapid.SliceOfN(rapid.IntRange(0, i-1), 0, 2).Draw(t, "after")
		}
		p.twin = p.tool == "crm_read" && p.fail == "" && len(p.refs) == 0 && rapid.Bool().Draw(t, "twin")
		p.control = p.control && !p.twin // which of them is made is chance
		if p.tool == "desk_write" {
			j := slices.IndexFunc(all[:i], func(q planned) bool { return q.tool == "desk_read" })
			if j < 0 {
				p.tool = "desk_read"
			} else {
				p.after = append(p.after, j)
			}
		}
		if p.tool == "desk_read" { // nothing that requires it may go on without
			p.onError = "skip"
		}
		all[i] = p
	}
	return all
}

// asBatch sends the calls as one plan and returns what became of each.
func (w *world) asBatch(t *testing.T, r aggregate.Request, all []planned) []string {
	var calls []string
	for _, p := range all {
		var after []string
		for _, j := range p.after {
			after = append(after, fmt.Sprintf("%q", all[j].id))
		}
		calls = append(calls, fmt.Sprintf(`{"id":%q,"tool":%q,"on_error":%q,"after":[%s],"arguments":%s}`, p.id, p.tool, p.onError, strings.Join(after, ","),
			p.arguments(func(j int) string { return fmt.Sprintf(`{"$ref":"#/%s/v"}`, all[j].id) })))
	}
	a := callAs(t, w.v, &r, "bulkhead_batch", `{"calls":[`+strings.Join(calls, ",")+`]}`)
	var b batched
	if err := json.Unmarshal(a.Structured, &b); err != nil || a.IsError {
		t.Fatalf("%v: %s", err, a.text())
	}
	var out []string
	for _, r := range b.Results {
		out = append(out, fmt.Sprintf("%s %s %s", r.Status, r.Code, r.Result))
		if r.Code == "tool_error" {
			out[len(out)-1] += r.Error
		}
	}
	return out
}

// oneByOne makes the calls themselves, one after another, with what the earlier
// ones have answered.
func (w *world) oneByOne(t *testing.T, r aggregate.Request, all []planned) []string {
	out, values := make([]string, len(all)), make([]string, len(all))
	for i, p := range all {
		values[i] = "null"
		if slices.ContainsFunc(slices.Concat(p.refs, p.after), func(j int) bool { return !strings.HasPrefix(out[j], "ok") && all[j].onError != "null" }) {
			out[i] = "skipped  "
			continue
		}
		missing := false
		arguments := p.arguments(func(j int) string {
			missing = missing || values[j] == ""
			return values[j]
		})
		if missing {
			out[i] = "error invalid_arguments "
			continue
		}
		a := callAs(t, w.v, &r, p.tool, arguments)
		value := a.Structured
		if value == nil {
			value = compact(a.text())
		}
		switch code, _, ok := strings.Cut(a.text(), ": "); {
		case !a.IsError:
			v, _ := rawjson.Get(value, "v")
			out[i], values[i] = "ok  "+string(value), string(v)
		case ok:
			out[i] = "error " + code + " "
		default:
			out[i] = "error tool_error " + a.text()
		}
	}
	return out
}

func compact(text string) json.RawMessage {
	if !json.Valid([]byte(text)) {
		return rawjson.Quote(text)
	}
	raw, _ := json.Marshal(json.RawMessage(text))
	return raw
}

// TestBatchIsItsCalls: what reaches the sources, with which arguments and for whom,
// what is written into the log, what is left of each quota, what is kept, and what
// comes back are the same for a plan and for its calls made one by one.
func TestBatchIsItsCalls(t *testing.T) {
	outcomes, kept := map[string]bool{}, 0
	rapid.Check(t, func(rt *rapid.T) {
		all, other := drawCalls(rt), drawCalls(rt)
		difference := ""
		synctest.Test(t, func(t *testing.T) {
			many, stopMany := newWorld(t)
			single, stopSingle := newWorld(t)
			defer stopMany()
			defer stopSingle()
			for i, s := range []struct {
				by    upstream.Principal
				calls []planned
			}{{anna, all}, {ben, all}, {anna, other}} {
				r := aggregate.Request{Principal: s.by, Session: fmt.Sprint("s", i), Client: "host"} // it may be the same plan
				got, want := many.asBatch(t, r, s.calls), single.oneByOne(t, r, s.calls)
				if !slices.Equal(got, want) {
					difference = fmt.Sprintf("%s: the plan\n%+v\nanswers\n%s\nand its calls\n%s", s.by, s.calls, strings.Join(got, "\n"), strings.Join(want, "\n"))
					return
				}
				for _, w := range want {
					outcomes[strings.Join(strings.SplitN(w, " ", 3)[:2], " ")] = true
				}
			}
			if got, want := many.seen(t), single.seen(t); got != want {
				difference = fmt.Sprintf("of the plans\n%+v\n%+v\nis seen\n%s\nof their calls\n%s", all, other, got, want)
			}
			for id, n := range many.ids { // what tells a source that it is the same call again
				if base, _, _ := strings.Cut(id, "."); base == id || n > 2 {
					difference = fmt.Sprintf("call %s was made %d times", id, n)
				}
			}
			kept += many.kept
		})
		if difference != "" {
			rt.Fatal(difference)
		}
	})
	if testing.Short() {
		return // twenty draws need not show all that there is
	}
	if kept == 0 {
		t.Error("nothing was kept")
	}
	for _, kind := range []string{"error denied", "error tool_error", "error unavailable", "error write_outcome_unknown", "error upstream_error", "skipped ", "error invalid_arguments"} {
		if !outcomes[kind] {
			t.Errorf("there was no %s among %v", kind, outcomes)
		}
	}
}

var anna, ben = upstream.NewPrincipal("issuer", "anna"), upstream.NewPrincipal("issuer", "ben")
