package mcpserver_test

import (
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// How long a list stays good is what a modern server says; else it depends on
// whether changes are announced.
func TestFreshness(t *testing.T) {
	_, modern := reference() // its lists say ttlMs 0
	for name, c := range map[string]struct {
		list func(t *testing.T) upstream.Dater
		want int64
	}{
		"a modern server's word": {func(t *testing.T) upstream.Dater {
			a := newHTTP(t, serve(t, modern).URL, quickly())
			watch(t, a)
			if _, err := a.Tools(t.Context()); err != nil {
				t.Fatal(err)
			}
			return a
		}, 0},
		"a legacy server that announces changes": {func(t *testing.T) upstream.Dater {
			a := startHTTP(t, &legacy{})
			if _, err := a.Tools(t.Context()); err != nil {
				t.Fatal(err)
			}
			return a
		}, int64(upstream.Announced)},
	} {
		if got := c.list(t).Fresh(upstream.Tools); int64(got) != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
