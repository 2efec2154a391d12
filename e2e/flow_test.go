package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// crowd connects clients in every way, two where they share one Bulkhead.
func crowd(s *site) []*wire {
	var all []*wire
	for _, w := range ways {
		all = append(all, s.join(w))
		if w.transport != "stdio" {
			all = append(all, s.join(w))
		}
	}
	return all
}

// steps returns the progress told under a token, in order.
func steps(x exchange, token string) (told []string) {
	for _, h := range x.before {
		if params, _ := rawjson.Get(h.text, "params"); h.method == "notifications/progress" && at(params, "progressToken") == token {
			told = append(told, at(params, "progress")+"/"+at(params, "total"))
		}
	}
	return told
}

// Under load, and with the same tokens in use by all, every client hears of
// each step of its own calls once, in order, before the result.
func rowProgress(t *testing.T, program string) {
	eachUpstream(t, program, ways, func(t *testing.T, s *site, _ way) {
		var all sync.WaitGroup
		for i, c := range crowd(s) {
			for call := range 4 {
				count := 20 + 10*i + call // tells whose it is
				token := fmt.Sprintf(`"t-%d"`, call)
				f := c.begin(t.Context(), "tools/call", tool("odd_progress", fmt.Sprintf(`{"count":%d}`, count)), `"progressToken":`+token)
				all.Go(func() {
					x, err := f.wait(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					var want []string
					for n := range count {
						want = append(want, fmt.Sprintf("%d/%d", n+1, count))
					}
					if got := steps(x, token); !slices.Equal(got, want) {
						t.Errorf("client %d, token %s: told %v before %.200s", i, token, got, x.answer)
					}
				})
			}
		}
		all.Wait()
	})
}

// Clients whose ids and tokens are the same get the answers to their own
// requests.
func rowCrossing(t *testing.T, program string) {
	eachUpstream(t, program, ways, func(t *testing.T, s *site, _ way) {
		var all sync.WaitGroup
		for i, c := range crowd(s) {
			for call := range 40 {
				arguments := fmt.Sprintf(`{"client":%d,"call":%d}`, i, call)
				f := c.begin(t.Context(), "tools/call", tool("odd_arguments", arguments), `"progressToken":1`)
				all.Go(func() {
					result, err := f.result()
					if err != nil || firstText(result) != arguments {
						t.Errorf("%s: %v %.300s", arguments, err, result)
					}
				})
			}
		}
		all.Wait()
	})
}

// A cancelled call is cancelled at the upstream, and no other.
func rowCancel(t *testing.T, program string) {
	eachUpstream(t, program, ways, func(t *testing.T, s *site, _ way) {
		for _, w := range ways {
			t.Run(w.String()+" client", func(t *testing.T) { cancelOne(t, s, w) })
		}
	})
}

func cancelOne(t *testing.T, s *site, w way) {
	c, bystander := s.join(w), s.join(way{"http", "legacy"})
	if w.transport == "stdio" {
		bystander = c // nobody else is connected there
	}
	reports := func(key string) string {
		return at([]byte(c.says("odd_slow_report", `{}`)), key)
	}
	slow := func(ctx context.Context, by *wire, key string, ms int) *flight {
		return by.begin(ctx, "tools/call", tool("odd_slow", fmt.Sprintf(`{"ms":%d,"key":%q}`, ms, key)), "")
	}
	key := strings.ReplaceAll(w.String(), " ", "-")
	ctx, closeStream := context.WithCancel(t.Context())
	defer closeStream()
	doomed := slow(ctx, c, key, 60_000)
	same := slow(t.Context(), c, key+"-same", 1000)
	other := slow(t.Context(), bystander, key+"-other", 1000)
	for _, k := range []string{key, key + "-same"} {
		if !eventually(func() bool { return reports(k) == `"running"` }) {
			t.Fatalf("%s is %s", k, reports(k))
		}
	}
	began := time.Now()
	if w.modern() && w.transport == "http" {
		closeStream()
	} else if err := c.put(t.Context(), fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s,"reason":"enough"}}`, doomed.id), nil); err != nil {
		t.Fatal(err)
	}
	if !within(5*time.Second, func() bool { return reports(key) == `"cancelled"` }) {
		t.Errorf("%s is %s", key, reports(key))
	}
	t.Logf("cancelled and told of it within %s", time.Since(began))
	for _, f := range []*flight{same, other} {
		if result, err := f.result(); err != nil || firstText(result) != "took its time" {
			t.Errorf("a call beside it: %v %.300s", err, result)
		}
	}
	// Whatever the transport, the answer of a cancelled call is not sent.
	select {
	case x := <-doomed.answer:
		t.Errorf("the cancelled call is answered: %.300s", x.answer)
	default:
	}
}

// A client hears of what its own calls log, from its level upwards and before
// the result: a legacy one from the level of its session, a modern one from that
// of each request and of nothing if there is none.
func rowLogging(t *testing.T, program string) {
	eachUpstream(t, program, ways, func(t *testing.T, s *site, _ way) {
		for _, w := range ways {
			wanting, other := s.join(w), s.join(w)
			setLevel(wanting, "warning")
			if !w.modern() {
				setLevel(other, "emergency")
			}
			for level, told := range map[string]bool{"debug": false, "notice": false, "warning": true, "error": true} {
				data := fmt.Sprintf(`{"of":%q,"n":9007199254740993}`, level)
				r := wanting.call("odd_log", fmt.Sprintf(`{"level":%q,"data":%s}`, level, data))
				want := []string{}
				if told {
					want = append(want, "notifications/message "+fmt.Sprintf(`{"level":%q,"logger":"fixture","data":%s}`, level, data))
				}
				if !slices.Equal(r.notes, want) {
					t.Errorf("%s, %s: told %q", w, level, r.notes)
				}
				if r := other.call("odd_log", fmt.Sprintf(`{"level":%q}`, level)); len(r.notes) > 0 {
					t.Errorf("%s, who wants none: told %q", w, r.notes)
				}
			}
		}
	})
}

func setLevel(c *wire, level string) {
	c.t.Helper()
	if c.modern {
		c.level = level
		return
	}
	if x := c.ask("logging/setLevel", fmt.Sprintf(`"level":%q`, level), ""); at(x.answer, "result") == "" {
		c.t.Errorf("logging/setLevel: %s", x.answer)
	}
}
