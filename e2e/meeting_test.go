package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/peer"
)

// meeting stands before a server whose calls have a key, and lets those that are to
// meet through only once they are all there: calls that are made one after another
// never are. That takes no clock.
type meeting struct {
	http.Handler
	mu     sync.Mutex
	groups map[string]*group // by key
}

// group is calls that are to meet.
type group struct {
	missing int
	all     chan struct{} // closed when none is
}

// meetWithin is how long a call waits for the others before it fails.
const meetWithin = 20 * time.Second

// newMeeting starts the server of the benchmark's plans and a meeting before it.
func newMeeting(t *testing.T) (m *meeting, endpoint string) {
	in, stop := io.Pipe()
	out, says := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- peer.Run(t.Context(), []string{"http"}, in, says) }()
	t.Cleanup(func() {
		stop.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	to := &url.URL{Scheme: "http", Host: strings.TrimSpace(address)}
	m = &meeting{Handler: httputil.NewSingleHostReverseProxy(to)}
	m.reset()
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return m, s.URL + "/work/mcp"
}

// reset lets every call through.
func (m *meeting) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.groups = map[string]*group{}
}

// expect holds calls with any of the keys until n of them are there.
func (m *meeting) expect(n int, keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := &group{n, make(chan struct{})}
	for _, key := range keys {
		m.groups[key] = g
	}
}

// missing is how many calls have not come.
func (m *meeting) missing() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, g := range m.groups {
		n = max(n, g.missing)
	}
	return n
}

func (m *meeting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	var call struct {
		Params struct{ Arguments struct{ Key string } }
	}
	_ = json.Unmarshal(body, &call) // whatever else it is has no key
	if g := m.enter(call.Params.Arguments.Key); g != nil {
		late := time.NewTimer(meetWithin)
		defer late.Stop()
		select {
		case <-g.all:
		case <-r.Context().Done():
			return
		case <-late.C:
			http.Error(w, "the others did not come", http.StatusInternalServerError)
			return
		}
	}
	m.Handler.ServeHTTP(w, r)
}

func (m *meeting) enter(key string) *group {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.groups[key]
	if g == nil {
		return nil
	}
	if g.missing > 0 {
		if g.missing--; g.missing == 0 {
			close(g.all)
		}
	}
	return g
}

// TestBatchAtOnce: what does not depend on each other is there at once, over sources
// and elements of a list; and a call is begun as soon as what it needs is there, not
// when a whole level of the plan has ended: late needs first, and meets other, which
// needs nothing.
func TestBatchAtOnce(t *testing.T) {
	server, endpoint := newMeeting(t)
	url := fmt.Sprintf("url = %q", endpoint)
	_, address := serveHTTP(t, upstreamTable("crm", url)+upstreamTable("shop", url)+upstreamTable("desk", url))
	const plan = `{"calls":[{"id":"first","tool":"crm_read","arguments":{"run":%d,"key":"first","ms":5,"rows":[5,5,5,5]}},` +
		`{"id":"other","tool":"shop_read","arguments":{"run":%[1]d,"key":"other","ms":5}},` +
		`{"id":"late","tool":"desk_read","arguments":{"run":%[1]d,"key":"late","ms":5,"of":[{"$ref":"#/first/value"}]}},` +
		`{"id":"each","tool":"crm_read","map":{"$ref":"#/first/rows"},"arguments":{"run":%[1]d,"key":"each","ms":{"$ref":"#/item/ms"},"of":[{"$ref":"#/item/value"}]}},` +
		`{"id":"w","tool":"shop_write","arguments":{"run":%[1]d,"key":"w","ms":5}},{"id":"x","tool":"desk_write","arguments":{"run":%[1]d,"key":"x","ms":5}}]}`
	for i, modern := range []bool{false, true} {
		t.Run(fmt.Sprint("modern ", modern), func(t *testing.T) {
			c := overHTTP(t, address, modern)
			c.ready()
			server.reset()
			server.expect(2, []string{"other", "late"})
			server.expect(4, []string{"each"})
			server.expect(2, []string{"w", "x"}) // writes at two sources
			var args map[string]any
			if err := json.Unmarshal(fmt.Appendf(nil, plan, i), &args); err != nil {
				t.Fatal(err)
			}
			r := c.mustCall("bulkhead_batch", args)
			b := decoded(t, r.Structured)
			if b.Summary != "6 of 6 calls succeeded." || server.missing() > 0 || at(b.Results[2].Result, "value") != `"late(first())"` {
				t.Errorf("%d are missing: %s", server.missing(), r.text())
			}
			var timing struct{ Wall, Critical, Sum int }
			for name, into := range map[string]*int{"wall_ms": &timing.Wall, "critical_path_ms": &timing.Critical, "sum_ms": &timing.Sum} {
				if err := json.Unmarshal([]byte(at(r.Structured, "timing", name)), into); err != nil {
					t.Fatal(err)
				}
			}
			// No chain is longer than first, late and x; of nine calls of 5 ms six are not in it.
			if timing.Critical < 3*5 || timing.Wall < timing.Critical || timing.Sum < timing.Critical+6*5-1 {
				t.Errorf("%+v", timing)
			}
		})
	}
}
