package e2e_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

// badDays are upstreams that misbehave in a call of their tool act. The caller
// is told, and nobody else notices.
var badDays = []struct {
	mode string
	more string // configuration
	code string // of the failure; "" is a result
	text string // part of what the caller reads
	last string // part of the last failure that bulkhead_sources tells
}{
	{mode: "dies mid-call", code: "unavailable", text: "may have been carried out", last: "unavailable: bad: "},
	{mode: "closes", code: "unavailable", last: "unavailable: bad: "},
	{mode: "garbage", code: "upstream_error", last: "upstream_error: bad: "},
	{mode: "too large", more: "max_message = '1MiB'", code: "upstream_error", last: "upstream_error: bad: "},
	{mode: "answers after cancel", more: "timeout = '500ms'", code: "timeout", last: "timeout: bad: "},
	{mode: "answers twice", text: "first"},
	{mode: "floods", text: "flooded"},
	{mode: "list changes", text: "changed"},
	{mode: "50 MB", text: "[truncated: bad: "},
}

func TestBadDays(t *testing.T) {
	for _, day := range badDays {
		t.Run(strings.ReplaceAll(day.mode, " ", "-"), func(t *testing.T) {
			p := start(t, fakeUpstream(t, "good", "healthy")+fakeUpstream(t, "bad", day.mode, day.more), nil)
			c := p.stdio(false)
			c.ready()
			alive(t, c, "bad")
			before, open := median(t, c, 50), handles(t, p.cmd.Process.Pid)

			var got result
			done := make(chan error, 1)
			go func() {
				var err error
				got, err = c.call("bad_act", nil)
				done <- err
			}()
			during := median(t, c, 50)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			t.Logf("median of the other source: %v before, %v during", before, during)
			undisturbed(t, c, before, during)
			if got.IsError != (day.code != "") || got.Meta.Error.Code != day.code || !strings.Contains(got.text(), day.text) ||
				!strings.HasPrefix(got.text(), day.code) {
				t.Errorf("got %.300q, code %q", got.text(), got.Meta.Error.Code)
			}
			if day.code != "" && got.Meta.Error.Source != "bad" {
				t.Errorf("the failure is said to be of %q", got.Meta.Error.Source)
			}

			// It is back soon, and says what was.
			if !within(30*time.Second, func() bool {
				r, err := c.call("bad_echo", map[string]string{"text": "back"})
				return err == nil && r.text() == "back"
			}) {
				t.Errorf("it does not come back: %+v", c.source("bad"))
			}
			s := c.source("bad")
			if s.State != "up" || s.Error != "" || (day.last != "") != (s.LastFailure != nil) ||
				s.LastFailure != nil && !strings.HasPrefix(s.LastFailure.Text, day.last) {
				t.Errorf("bulkhead_sources: %+v %+v", s, s.LastFailure)
			}
			nothingLeft(t, p, open)
		})
	}
}

// median returns the median time of calls to the good source.
func median(t *testing.T, c *client, calls int) time.Duration {
	t.Helper()
	took := make([]time.Duration, calls)
	for i := range took {
		began := time.Now()
		alive(t, c, "good")
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[calls/2]
}

// undisturbed fails the test if calls of the good source took much longer while
// another was in trouble than before, and than they take now: the machine may have
// become busy meanwhile.
func undisturbed(t *testing.T, c *client, before, during time.Duration) {
	t.Helper()
	much := func(than time.Duration) bool { return during > 5*than+20*time.Millisecond }
	if much(before) {
		if after := median(t, c, 50); much(after) {
			t.Errorf("the other source took %v instead of %v, and %v afterwards", during, before, after)
		}
	}
}

// nothingLeft ends a program whose handles were counted before the bad day:
// there must be no more of them now, and no process afterwards.
func nothingLeft(t *testing.T, p *proc, open int) {
	t.Helper()
	pid := p.cmd.Process.Pid
	now := 0
	if !eventually(func() bool {
		now = handles(t, pid)
		return now <= open
	}) {
		t.Errorf("%d handles are open, before the bad day it were %d", now, open)
	}
	children := family(t, p, 3) // two upstreams and the process guard
	_ = p.in.Close()
	if code := p.wait(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	mustBeGone(t, children)
}

// An upstream that never says a word delays neither the list nor anybody.
func TestHangsAtStart(t *testing.T) {
	t.Parallel()
	p := start(t, "[server]\nlist_wait = '500ms'\n"+fakeUpstream(t, "good", "healthy")+fakeUpstream(t, "bad", "hangs at start"), nil)
	c := p.stdio(false)
	began := time.Now()
	c.tools()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the first list took %v", took)
	}
	if !eventually(func() bool { return slices.Contains(c.tools(), "good_echo") }) {
		t.Error("the other source is not listed")
	}
	alive(t, c, "good")
	if s := c.source("bad"); s.State != "connecting" || s.Tools != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := c.call("bad_act", nil); err == nil || !strings.Contains(err.Error(), "not known yet") {
		t.Errorf("calling what is not known yet: %v", err)
	}
	children := family(t, p, 3)
	_ = p.in.Close()
	p.wait()
	mustBeGone(t, children)
}

func TestTenThousandTools(t *testing.T) {
	t.Parallel()
	p := start(t, "[server]\ndiscovery = 'list'\n"+fakeUpstream(t, "good", "healthy")+fakeUpstream(t, "bad", "10,000 tools"), nil)
	c := p.stdio(false)
	var names []string
	eventually(func() bool {
		names = c.tools()
		return len(names) >= 10_000
	})
	if len(names) != 10_000+6+4 || !slices.Contains(names, "bad_tool_9999") {
		t.Errorf("%d tools", len(names))
	}
	alive(t, c, "good")
	if s := c.source("bad"); s.Tools != 10_000 || s.State != "up" {
		t.Errorf("%+v", s)
	}
}

// A caller that gives up gets no answer, and the upstream's late one reaches
// nobody.
func TestAnswerAfterCancel(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "bad", "answers after cancel"), nil)
	c := p.stdio(false)
	c.ready()
	alive(t, c, "bad")
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		a, err := c.doContext(ctx, "tools/call", map[string]any{"name": "bad_act", "arguments": struct{}{}})
		cancel()
		if err == nil {
			t.Fatalf("answered: %s", a.Result)
		}
		id := 1000 + c.next.Load()
		c.notify("notifications/cancelled", map[string]any{"requestId": id})
		alive(t, c, "bad")
	}
	if s := c.source("bad"); s.State != "up" || s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
}
