package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// toolPage is an answer to tools/list.
type toolPage struct {
	Tools []struct {
		Name        string
		Annotations json.RawMessage
	}
	NextCursor *string
}

func (c *client) toolPage(params map[string]any) (p toolPage, names []string) {
	c.t.Helper()
	if err := json.Unmarshal(c.must("tools/list", params), &p); err != nil {
		c.t.Fatal(err)
	}
	for _, tool := range p.Tools {
		names = append(names, tool.Name)
	}
	return p, names
}

// A list comes in pages of the size that is set; our own commands read them all.
func TestPageSize(t *testing.T) {
	t.Parallel()
	config := "[server]\npage_size = 4\nlist_wait = '1m'\n" + sandboxUpstream("crm", "crm", 0)
	c := start(t, config, nil).stdio(false)
	page, names := c.toolPage(nil)
	if len(names) != 4 || page.NextCursor == nil {
		t.Fatalf("the first page: %q, next %v", names, page.NextCursor)
	}
	last, more := c.toolPage(map[string]any{"cursor": *page.NextCursor})
	want := []string{"crm_add_note", "crm_find_customers", "crm_get_customer", "crm_list_contacts", "bulkhead_batch", "bulkhead_batch_read", "bulkhead_read_more", "bulkhead_sources"}
	if all := append(names, more...); !slices.Equal(all, want) || last.NextCursor != nil {
		t.Errorf("both pages: %q, next %v", all, last.NextCursor)
	}
	out, log, code := run(t, config, nil, "tools")
	if code != 0 || strings.Count(out, "\n") != len(want) {
		t.Errorf("%d %s%s", code, out, log)
	}
}

// A budget cuts the list, and that is said to the model and to the operator.
func TestListBudget(t *testing.T) {
	t.Parallel()
	config := "[server]\ndiscovery = 'list'\nlist_budget = 7\nlist_wait = '1m'\n" + sandboxUpstream("crm", "crm", 0)
	c := start(t, config, nil).stdio(true)
	want := []string{"crm_add_note", "crm_find_customers", "crm_get_customer", "bulkhead_batch", "bulkhead_batch_read", "bulkhead_read_more", "bulkhead_sources"}
	if _, names := c.toolPage(nil); !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	const said = "1 tool is left out, because the configuration lists 7 at most (server.list_budget)"
	var discovered struct{ Instructions string }
	if err := json.Unmarshal(c.must("server/discover", nil), &discovered); err != nil || !strings.Contains(discovered.Instructions, said) {
		t.Errorf("%v %s", err, discovered.Instructions)
	}
	if text := c.mustCall("bulkhead_sources", nil).text(); !strings.Contains(text, said) {
		t.Error(text)
	}
	out, _, _ := run(t, config, nil, "check")
	if !strings.Contains(out, "\nwarning: 1 tool left out of the list by server.list_budget = 7\n") {
		t.Error(out)
	}
}

// Annotations are relayed unless the source is not to speak for itself; single
// hints can be set.
func TestAnnotations(t *testing.T) {
	t.Parallel()
	sources := map[string]struct {
		lines []string
		want  string
	}{
		"relay":    {nil, `{"readOnlyHint":true,"destructiveHint":false,"idempotentHint":true,"openWorldHint":false}`},
		"cautious": {[]string{"annotations = 'cautious'"}, `{}`},
		"override": {[]string{"annotations = 'cautious'", "tools.override.get_customer = { read_only = true, destructive = false, idempotent = false, open_world = true }"},
			`{"readOnlyHint":true,"destructiveHint":false,"idempotentHint":false,"openWorldHint":true}`},
	}
	config := "[server]\nlist_wait = '1m'\n"
	for name, s := range sources {
		config += sandboxUpstream(name, "crm", 0, s.lines...)
	}
	p := startIn(t, t.TempDir(), config, nil)
	check := func(p *proc) {
		t.Helper()
		page, _ := p.stdio(false).toolPage(nil)
		found := 0
		for _, tool := range page.Tools {
			if source, ok := strings.CutSuffix(tool.Name, "_get_customer"); ok {
				found++
				if want := sources[source].want; string(tool.Annotations) != want {
					t.Errorf("%s: %s, want %s", source, tool.Annotations, want)
				}
			}
		}
		if found != len(sources) {
			t.Errorf("%d of %d sources are there", found, len(sources))
		}
	}
	check(p)
	p.finish()
	check(startIn(t, p.home, config, nil)) // from the list kept on disk
}

// A source that may not ask is told so at once.
func TestAsk(t *testing.T) {
	t.Parallel()
	p := start(t, fakeUpstream(t, "may", "healthy")+fakeUpstream(t, "maynot", "healthy", "ask = 'deny'"), nil)
	c := p.stdio(false)
	c.ready()
	for name, want := range map[string]bool{"may": true, "maynot": false} {
		declared := string(surroundings(t, c, name).Declared)
		for _, capability := range []string{"elicitation", "sampling", "roots"} {
			if strings.Contains(declared, capability) != want {
				t.Errorf("%s: declared to it: %s", name, declared)
			}
		}
	}
}

// A question that nobody answers does not keep a call open for ever.
func TestAskTimeout(t *testing.T) {
	t.Parallel()
	p := start(t, "[server]\nask_timeout = '1s'\nlist_wait = '1m'\n"+fakeUpstream(t, "one", "asks"), nil)
	for _, line := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"form":{}}},"clientInfo":{"name":"e2e","version":"1"}}}`,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"one_act","arguments":{}}}`,
	} {
		if _, err := io.WriteString(p.in, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	answered := make(chan string, 1)
	asked := 0
	p.reader.Go(func() {
		in := bufio.NewReaderSize(p.out, 1<<20)
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				answered <- fmt.Sprint("no answer: ", err)
				return
			}
			var a answer
			if json.Unmarshal(line, &a) == nil && a.Method == "elicitation/create" {
				asked++
			} else if string(a.ID) == "2" {
				answered <- string(line)
				return
			}
		}
	})
	select {
	case line := <-answered:
		if asked != 1 || strings.HasPrefix(line, "no answer") {
			t.Errorf("asked %d times: %s", asked, line)
		}
	case <-time.After(patience):
		t.Error("the call is still open")
	}
}
