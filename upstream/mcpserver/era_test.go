package mcpserver_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestEras(t *testing.T) {
	for mode, want := range map[string]string{
		"good": "2025-11-25", "empty success to discover": "2025-11-25", "ignores discover": "2025-11-25",
		"dies of discover": "2025-11-25", "modern only": "2026-07-28", "modern, slow start": "2026-07-28", "both, slow start": "2026-07-28",
		"refuses once": "2026-07-28", "modern, slow and silent": "2026-07-28",
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			o := quickly()
			if mode == "refuses once" {
				o.ProbeTimeout = hanging // it answers: only a busy machine makes it late
			}
			var remembered atomic.Value
			o.Remember = func(era string) { remembered.Store(era) }
			a := newFake(t, mode, o)
			watch(t, a)
			if mode == "dies of discover" {
				for a.Health().State != upstream.Up {
					time.Sleep(10 * time.Millisecond)
				}
			}
			wantText(t, a, "hi", "hi")
			if h := a.Health(); h.Protocol != want || h.State != upstream.Up {
				t.Errorf("health is %+v, want protocol %s", h, want)
			}
			era := map[string]string{"2025-11-25": "legacy", "2026-07-28": "modern"}[want]
			if remembered.Load() != era {
				t.Errorf("remembered %v, want %s", remembered.Load(), era)
			}
		})
	}
}

func TestWrongMemoryIsCorrected(t *testing.T) {
	for mode, memory := range map[string]string{"good": "modern", "modern only": "legacy"} {
		t.Run(memory, func(t *testing.T) {
			o := quickly()
			o.Remembered = memory
			a := newFake(t, mode, o)
			watch(t, a)
			wantText(t, a, "hi", "hi")
		})
	}
}

func TestResultTypeIsModern(t *testing.T) {
	a := start(t, "own resultType")
	if r, err := call(t.Context(), a, "echo", `{}`); err != nil || !strings.Contains(string(r.Raw), "resultType") {
		t.Errorf("a member of a legacy server's own is not relayed: %v, %v", r, err)
	}
}

// TestSilenceIsTriedTheOtherWay holds that no memory and no order of questions
// keeps a working server away for ever.
func TestSilenceIsTriedTheOtherWay(t *testing.T) {
	t.Parallel()
	for mode, memory := range map[string]string{"silent on initialize": "legacy", "dumb after discover": ""} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			o := quickly()
			o.Remembered, o.ConnectTimeout = memory, 2*time.Second
			a := newFake(t, mode, o)
			watch(t, a)
			for limit := time.Now().Add(hanging); a.Health().State != upstream.Up; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(limit) {
					t.Fatalf("health is %+v", a.Health())
				}
			}
			wantText(t, a, "hi", "hi")
		})
	}
}

// TestHangsUpOnTheProbe: a legacy server that ends the connection on an unknown
// method is still found to be one.
func TestHangsUpOnTheProbe(t *testing.T) {
	l := &legacy{}
	a := startHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Method") != "" {
			if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
				_ = c.Close()
			}
			return
		}
		l.ServeHTTP(w, r)
	}))
	wantText(t, a, "hi", "hi")
}
