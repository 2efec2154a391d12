package e2e_test

import (
	"bufio"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// madeUp is what secrets and tokens of the sample ticket system look like.
var madeUp = regexp.MustCompile(`[A-Z2-7]{26}`)

const comment = "seen by the end-to-end tests"

// A configured ticket system demands a sign-in and gets one, in both eras, and
// nothing of it is to be seen from outside.
func TestTicketSystem(t *testing.T) {
	t.Parallel()
	for _, era := range []string{"modern", "legacy"} {
		t.Run(era, func(t *testing.T) {
			t.Parallel()
			p := start(t, "[server]\nlog_level = 'debug'\n"+sandboxUpstream("tickets", "tickets", 0, "era = '"+era+"'"), nil, "serve")
			c := p.stdio(false)
			c.ready()
			if tools := c.tools(); !slices.Contains(tools, "tickets_open_tickets") || !slices.Contains(tools, "tickets_create_ticket") {
				t.Fatal(tools)
			}
			ticket := map[string]any{"ticket_id": "T-21122"}
			for _, call := range []struct {
				tool      string
				arguments any
			}{
				{"get_ticket", ticket},
				{"add_comment", map[string]any{"ticket_id": "T-21122", "text": comment}},
				{"search_tickets", map[string]any{"query": comment}},
			} {
				if text := c.mustCall("tickets_"+call.tool, call.arguments).text(); madeUp.MatchString(text) {
					t.Errorf("%s tells a secret: %s", call.tool, text)
				}
			}
			if text := c.mustCall("tickets_get_ticket", ticket).text(); !strings.Contains(text, comment) {
				t.Error("what was written is not there: ", text)
			}
			said := says(p, "sources", "--json") + says(p, "sources") + c.mustCall("bulkhead_sources", nil).text()
			if !strings.Contains(said, "tickets.write") {
				t.Error("the scopes are not told: ", said)
			}
			_ = p.in.Close()
			if code := p.wait(); code != 0 {
				t.Error(code)
			}
			if all := said + p.log.String() + contents(t, p.home); madeUp.MatchString(all) {
				t.Error("a secret is told: ", madeUp.FindString(all))
			}
		})
	}
}

// contents returns all files below dir.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return all.String()
}

// ticketSystem serves the ticket system on its own and returns what it prints: a
// configuration.
func ticketSystem(t *testing.T, env ...string) (p *proc, config string) {
	t.Helper()
	p = start(t, "", env, "sandbox", "tickets", "--listen", "127.0.0.1:0")
	var text strings.Builder
	for lines := bufio.NewScanner(p.out); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "revocation_url") {
			break
		}
	}
	return p, text.String()
}

func TestTicketSystemOnItsOwn(t *testing.T) {
	t.Parallel()
	const secret = "canary of the/client+secret"
	p, config := ticketSystem(t, "BULKHEAD_SANDBOX_SECRET="+secret)
	var told strings.Builder
	call := func(secret, tool, arguments string) (string, int) {
		out, log, code := run(t, config, []string{"BULKHEAD_SANDBOX_SECRET=" + secret}, "call", "tickets_"+tool, arguments)
		told.WriteString(out + log)
		return out + log, code
	}
	if said, code := call(secret, "add_comment", `{"ticket_id":"T-21122","text":"`+comment+`"}`); code != 0 {
		t.Error(said)
	}
	if said, code := call(secret, "get_ticket", `{"ticket_id":"T-21122"}`); code != 0 || !strings.Contains(said, comment) {
		t.Error(said)
	}
	if said, code := call("another", "get_ticket", `{"ticket_id":"T-21122"}`); code != 1 || strings.Contains(said, "another") {
		t.Error("with another secret: ", said)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(address.FindString(config))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if said := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(said, "resource_metadata=") {
		t.Error("without a token: ", resp.Status, said)
	}
	if all := config + told.String() + p.log.String(); strings.Contains(all, secret) || madeUp.MatchString(all) {
		t.Error("a secret is told: ", all)
	}
}

// A person can sign in there too, as the configuration says in its comments; the
// secret is the one that it makes up.
func TestTicketSystemForAPerson(t *testing.T) {
	t.Parallel()
	p, config := ticketSystem(t)
	machine, person, _ := strings.Cut(config, "# To sign in as a person, with bulkhead login tickets:\n")
	machine = strings.Replace(machine, "type = \"client_credentials\"\n", "", 1)
	config = machine + strings.ReplaceAll(person, "# ", "")
	home := shortHome(t)
	secret := madeUp.FindString(p.logged(madeUp))
	env := []string{"BULKHEAD_SANDBOX_SECRET=" + secret, browserIn(t, home)}
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(args ...string) (string, int) {
		out, log, code := command(t, home, env, args...)
		return out + log, code
	}
	if said, code := at("login", "tickets"); code != 0 || !strings.Contains(said, "tickets answers, 5 tools") || strings.Contains(said, secret) {
		t.Fatal(said)
	}
	if said, code := at("call", "tickets_add_comment", `{"ticket_id":"T-21122","text":"`+comment+`"}`); code != 0 || !strings.Contains(said, comment) {
		t.Error(said)
	}
}
