package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// An upstream that goes away in the middle of a call fails this call. When it is
// back, its clients go on as if nothing had been, subscriptions included.
func rowRestart(t *testing.T, program string) {
	for _, upstream := range []way{{"http", "legacy"}, {"http", "modern"}, {"sse", "legacy"}} {
		t.Run(upstream.String()+" upstream", func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			fixture := listening(t, program, port, upstream)
			path := map[string]string{"http": "/mcp", "sse": "/sse"}[upstream.transport]
			s := before(t, flatNames+upstreamTable("fixture", fmt.Sprintf("url = 'http://127.0.0.1:%d%s'", port, path)))
			var all []*subscriber
			for _, w := range ways {
				if w.transport != "stdio" {
					all = append(all, s.subscriber(w))
				}
			}
			for range 2 {
				brokenOff(t, all[0].wire)
				<-fixture.exited
				for _, b := range all {
					if r := b.call("test_simple_text", `{}`); at(r.answer, "_meta", "io.github.bulkhead-mcp/error", "code") != `"unavailable"` {
						t.Errorf("%s: while it is away: %.300s", b.w, r.answer)
					}
				}
				fixture = listening(t, program, port, upstream)
				for _, b := range all {
					back(t, b.wire)
				}
				if !eventually(func() bool { return all[0].says("odd_subscribers", `{}`) == "1" }) {
					t.Error("the subscriptions are not renewed")
				}
				for _, b := range all {
					b.updated() // something may have been missed
				}
				all[0].begin(t.Context(), "tools/call", tool("odd_update", `{}`), "")
				for _, b := range all {
					b.updated()
				}
			}
		})
	}
	for _, era := range []string{"legacy", "modern"} {
		t.Run(era+" stdio upstream", func(t *testing.T) {
			t.Parallel()
			s := before(t, flatNames+upstreamBy(t, program, way{"stdio", era}))
			for _, w := range ways {
				c := s.join(w)
				brokenOff(t, c)
				back(t, c)
			}
		})
	}
}

// brokenOff has the upstream end in the middle of a call.
func brokenOff(t *testing.T, c *wire) {
	t.Helper()
	r := c.call("odd_exit", `{}`)
	if r.failed || at(r.answer, "isError") != "true" || at(r.answer, "_meta", "io.github.bulkhead-mcp/error", "code") != `"unavailable"` {
		t.Errorf("a call broken off: %.500s", r.answer)
	}
}

// back waits until the upstream answers; until then it is said to be away.
func back(t *testing.T, c *wire) {
	t.Helper()
	if !eventually(func() bool {
		result, err := c.begin(t.Context(), "tools/call", tool("test_simple_text", `{}`), "").result()
		code := at(result, "_meta", "io.github.bulkhead-mcp/error", "code")
		if err != nil || code != "" && code != `"unavailable"` {
			t.Errorf("until it is back: %v %.500s", err, result)
		}
		return err == nil && code == ""
	}) {
		t.Error("it does not come back")
	}
}

// A session that a legacy upstream has forgotten is replaced, and no client
// notices. The next time soon after there is a pause.
func rowForgotten(t *testing.T, program string) {
	for _, w := range ways {
		t.Run(w.String()+" client", func(t *testing.T) {
			t.Parallel()
			upstream := upstreamBy(t, program, way{"http", "legacy"})
			b := before(t, flatNames+upstream).subscriber(w)
			if got := b.says("odd_forget", `{}`); !strings.HasSuffix(got, "forgotten") || strings.HasPrefix(got, "0 ") {
				t.Error(got)
			}
			if got := b.says("test_simple_text", `{}`); got != "This is a simple text response for testing." {
				t.Error(got)
			}
			renewed := func() {
				t.Helper()
				if !eventually(func() bool { return b.says("odd_subscribers", `{}`) == "1" }) {
					t.Error("the subscription is not renewed")
				}
				b.updated() // something may have been missed
				b.begin(t.Context(), "tools/call", tool("odd_update", `{}`), "")
				b.updated()
			}
			renewed()
			b.says("odd_forget", `{}`)
			back(t, b.wire)
			renewed()
			b.leave()
		})
	}
}
