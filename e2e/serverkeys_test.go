package e2e_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Names are prefixed or flat, a prefix can be chosen, and only what is enabled
// and allowed is there.
func TestNames(t *testing.T) {
	t.Parallel()
	const own = "bulkhead_batch bulkhead_batch_read bulkhead_read_more bulkhead_sources"
	crm := func(more ...string) string { return sandboxUpstream("crm", "crm", 0, more...) }
	for name, c := range map[string]struct{ config, want string }{
		"prefix": {crm(), "crm_add_note crm_find_customers crm_get_customer crm_list_contacts " + own},
		"flat":   {"[server]\nnames = 'flat'\n" + crm(), "add_note find_customers get_customer list_contacts " + own},
		"chosen": {crm("prefix = 'kunden'"), "kunden_add_note kunden_find_customers kunden_get_customer kunden_list_contacts " + own},
		"none":   {crm("prefix = ''"), "add_note find_customers get_customer list_contacts " + own},
		"disabled": {crm("enabled = false") + sandboxUpstream("t", "tickets", 0, "tools.allow = ['get_*']"),
			"t_get_ticket " + own},
		"filtered": {crm("tools.allow = ['*_c*', 'add_note']", "tools.deny = ['find_*']"),
			"crm_add_note crm_get_customer crm_list_contacts " + own},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, log, code := run(t, c.config, nil, "tools", "--json")
			var tools []struct{ Name string }
			if err := json.Unmarshal([]byte(out), &tools); err != nil || code != 0 {
				t.Fatal(err, code, log)
			}
			var got []string
			for _, tool := range tools {
				got = append(got, tool.Name)
			}
			if want := strings.Fields(c.want); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// A filtered tool is not only hidden, and two of the same name both answer.
func TestNamesThatAreNotThere(t *testing.T) {
	t.Parallel()
	p := start(t, "[server]\nnames = 'flat'\n"+fakeUpstream(t, "one", "healthy", "tools.deny = ['about']")+
		fakeUpstream(t, "two", "healthy", "tools.allow = ['echo']"), nil)
	c := p.stdio(false)
	c.ready()
	names := c.tools()
	if slices.Contains(names, "about") {
		t.Errorf("%q", names)
	}
	if _, err := c.call("about", nil); err == nil || !strings.Contains(err.Error(), "unknown tool") {
		t.Errorf("a denied tool: %v", err)
	}
	echoes := 0
	for _, name := range names {
		if strings.HasPrefix(name, "echo") {
			echoes++
			if r := c.mustCall(name, map[string]string{"text": name}); r.text() != name {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	if echoes != 2 {
		t.Errorf("%q", names)
	}
}

// The deadline bounds a call in all, the timeout one attempt at a source.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	p := start(t, "[server]\ndeadline = '700ms'\n"+fakeUpstream(t, "one", "healthy")+
		fakeUpstream(t, "two", "healthy", "timeout = '100ms'"), nil)
	c := p.stdio(false)
	c.ready()
	for name, want := range map[string]string{"one": "no answer within 700ms", "two": "100ms"} {
		r := c.mustCall(name+"_sleep", map[string]int{"ms": 60_000})
		if r.Meta.Error.Code != "timeout" || r.Meta.Error.Source != name || !strings.Contains(r.text(), want) {
			t.Errorf("%s: %+v", name, r)
		}
		revives(t, c, name)
	}
	if !eventually(func() bool { return c.mustCall("one_sleep", map[string]int{"ms": 200}).text() == "slept" }) {
		t.Error("what takes 200ms is not answered")
	}
}

// A long result comes in pieces that together are the whole.
func TestMaxResult(t *testing.T) {
	t.Parallel()
	p := start(t, "[server]\nmax_result = '2KiB'\n"+fakeUpstream(t, "one", "healthy"), nil)
	c := p.stdio(false)
	c.ready()
	text := strings.Repeat("0123456789", 500)
	r := c.mustCall("one_echo", map[string]string{"text": text})
	got := r.Content[0].Text
	handle := regexp.MustCompile(`\{"handle":"([A-Z0-9]+)"\}`).FindStringSubmatch(r.text())
	if handle == nil || len(got) > 2<<10 || len(r.Content) != 2 {
		t.Fatalf("%+v", r)
	}
	for page := 1; page < 10 && len(got) < len(text); page++ {
		more := c.mustCall("bulkhead_read_more", map[string]any{"handle": handle[1], "page": page})
		if more.IsError {
			t.Fatalf("page %d: %s", page, more.text())
		}
		got += more.Content[0].Text
	}
	if got != text {
		t.Errorf("%d bytes of %d", len(got), len(text))
	}
}

// The first list after a cold start waits for a slow source as long as it is
// told to.
func TestListWait(t *testing.T) {
	t.Parallel()
	for wait, want := range map[string]bool{"0s": false, "1m": true} {
		t.Run(wait, func(t *testing.T) {
			t.Parallel()
			p := start(t, "[server]\nlist_wait = '"+wait+"'\n"+fakeUpstream(t, "one", "starts slowly"), nil)
			c := p.stdio(false)
			began := time.Now()
			if got := slices.Contains(c.tools(), "one_echo"); got != want {
				t.Errorf("its tools are listed: %v", got)
			}
			if took := time.Since(began); !want && took >= 2*time.Second {
				t.Errorf("the list took %v, as long as the default", took)
			}
			if !eventually(func() bool { return slices.Contains(c.tools(), "one_echo") }) {
				t.Error("its tools never come")
			}
		})
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ level, format, want, not string }{
		{"info", "text", `level=INFO msg="upstream connected" upstream=one`, "level=DEBUG"},
		{"info", "json", `"level":"INFO","msg":"upstream connected","upstream":"one"`, "level="},
		{"warn", "text", `level=WARN msg="upstream is down" upstream=two`, "level=INFO"},
		{"error", "json", "", "level"},
	} {
		t.Run(c.level+" "+c.format, func(t *testing.T) {
			t.Parallel()
			p := start(t, "[server]\nlog_level = '"+c.level+"'\nlog_format = '"+c.format+"'\n"+
				fakeUpstream(t, "one", "healthy")+fakeUpstream(t, "two", "dies at start"), nil)
			client := p.stdio(false)
			client.ready()
			if c.want != "" {
				p.logged(regexp.MustCompile(regexp.QuoteMeta(c.want)))
			}
			if log := p.log.String(); strings.Contains(log, c.not) {
				t.Errorf("%q is in the log:\n%s", c.not, log)
			}
		})
	}
}

// A required upstream that does not answer fails check. serve goes on with the
// others: a host does not start a server again that has ended.
func TestRequired(t *testing.T) {
	t.Parallel()
	for required, want := range map[string]int{"required = true": 1, "required = false": 0} {
		p := start(t, fakeUpstream(t, "one", "healthy")+fakeUpstream(t, "two", "dies at start", required), nil, "check")
		if code := p.wait(); code != want {
			t.Errorf("%s: exit status %d: %s", required, code, p.log)
		}
	}
	p := start(t, fakeUpstream(t, "one", "healthy")+fakeUpstream(t, "two", "dies at start", "required = true"), nil)
	c := p.stdio(false)
	c.ready()
	eventually(func() bool { return c.source("two").State == "down" })
	time.Sleep(200 * time.Millisecond)
	alive(t, c, "one")
}
