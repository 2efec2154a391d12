package mcpserver

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p progress
		n := 0
		token, stop := p.follow(func(json.RawMessage) { n++ })
		msg := fmt.Appendf(nil, `{"method":"notifications/progress","params":{"progressToken":%d}}`, token)
		for second := 1; second <= 3; second++ {
			for range 5 * toldRate {
				p.take(msg)
			}
			if n != second*toldRate {
				t.Errorf("after %d s %d notifications have passed", second, n)
			}
			time.Sleep(time.Second)
		}
		stop()
		p.take(msg)
		if n != 3*toldRate {
			t.Error("one passed after the end")
		}
		if len(p.calls) != 0 {
			t.Errorf("%d calls are still known", len(p.calls))
		}
	})
}

func TestWithToken(t *testing.T) {
	meta := []byte(`"v":1`)
	for _, c := range []struct {
		meta  []byte
		token int64
		want  string
	}{{nil, 0, ""}, {nil, 7, `"progressToken":7`}, {meta, 0, `"v":1`}, {meta[:4:5], 7, `"v":,"progressToken":7`}} {
		if got := string(withToken(c.meta, c.token)); got != c.want {
			t.Errorf("withToken(%s, %d) = %s, want %s", c.meta, c.token, got, c.want)
		}
	}
	if string(meta) != `"v":1` {
		t.Errorf("the shared members have become %s", meta)
	}
}

func TestProgressEndsWithItsCall(t *testing.T) {
	var p progress
	var over bool // the race detector watches it
	token, stop := p.follow(func(json.RawMessage) {
		if over {
			t.Error("told after the end")
		}
	})
	msg := fmt.Appendf(nil, `{"params":{"progressToken":"%d"}}`, token)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				p.take(msg)
			}
		})
	}
	stop()
	over = true
	wg.Wait()
}
