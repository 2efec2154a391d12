package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const ticketsDefinition = `
title = "Tickets"
base_url = "https://{subdomain}.tickets.invalid/api"
headers = { X-Version = "2026-11" }
[values.subdomain]
doc = "The first part of your address."
pattern = "[a-z]+"
[preset]
limit = { rate = "500/1m" }
[auth.bearer]
[errors]
message = ["/error/message"]
[paging.page]
kind = "cursor"
param = "after"
next = "/after"
size = "per_page"
default = 2
most = 5
[action.list_tickets]
method = "GET"
path = "/tickets"
records = "/tickets"
fields = ["id", "requester.name"]
paging = "page"
params.status = { enum = ["open", "solved"] }
[action.get_ticket]
method = "GET"
path = "/tickets/{id}"
params.id = { type = "integer" }
[action.create_ticket]
method = "POST"
path = "/tickets"
idempotency = "Idempotency-Key"
params.subject = { name = "/ticket/subject", required = true }
`

// ticketService is a REST service that notes what it is asked.
type ticketService struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func newTicketService(t *testing.T) *ticketService {
	s := &ticketService{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *ticketService) answer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	line := strings.TrimSpace(r.Method + " " + r.RequestURI + " " + r.Header.Get("Authorization") + " " + r.Header.Get("X-Version") + " " + string(body))
	s.mu.Lock()
	s.seen = append(s.seen, line)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.Method == http.MethodPost && r.Header.Get("Idempotency-Key") != "":
		_, _ = io.WriteString(w, `{"id":9007199254740993}`)
	case r.URL.Path == "/api/tickets" && r.Method == http.MethodGet:
		from, _ := strconv.Atoi(r.FormValue("after"))
		next := "null"
		if from == 0 {
			next = "2"
		}
		_, _ = fmt.Fprintf(w, `{"tickets":[{"id":%d,"requester":{"name":"A","mail":"a@example.com"}}],"after":%s}`, from+1, next)
	case r.URL.Path == "/api/tickets/7":
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"error":{"message":"this one is locked"}}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *ticketService) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// A REST source is described in a file; it is asked as that says, with its
// credential and at its address.
func TestREST(t *testing.T) {
	t.Parallel()
	s := newTicketService(t)
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "tickets.toml"), []byte(ticketsDefinition), 0o600); err != nil {
		t.Fatal(err)
	}
	table := func(name string, more ...string) string {
		return upstreamTable(name, append([]string{"kind = 'rest'", "definition = 'tickets.toml'", "values.subdomain = 'acme'",
			"url = '" + s.URL + "/api'", "auth.token = { env = 'TICKETS_TOKEN' }"}, more...)...)
	}
	p := startIn(t, home, table("shut")+table("open", "writes = 'serial'"), []string{"TICKETS_TOKEN=t0ken"})
	c := p.stdio(false)
	c.ready()
	tools := slices.DeleteFunc(c.tools(), func(name string) bool { return strings.HasPrefix(name, "bulkhead_") })
	slices.Sort(tools)
	if want := []string{"open_create_ticket", "open_get_ticket", "open_list_tickets", "shut_get_ticket", "shut_list_tickets"}; !slices.Equal(tools, want) {
		t.Errorf("there are %v, want %v", tools, want)
	}
	var first struct {
		Next string `json:"next_cursor"`
	}
	r := c.mustCall("shut_list_tickets", map[string]any{"status": "open"})
	if err := json.Unmarshal(r.Structured, &first); err != nil || !strings.HasPrefix(string(r.Structured), `{"records":[{"id":1,"requester":{"name":"A"}}],"count":1,"next_cursor":"`) {
		t.Errorf("the first page: %s", r.Structured)
	}
	r = c.mustCall("shut_list_tickets", map[string]any{"status": "open", "cursor": first.Next})
	if string(r.Structured) != `{"records":[{"id":3,"requester":{"name":"A"}}],"count":1}` {
		t.Errorf("the last page: %s", r.Structured)
	}
	if r = c.mustCall("open_list_tickets", map[string]any{"status": "open", "cursor": first.Next}); r.Meta.Error.Code != "invalid_arguments" {
		t.Errorf("another source takes the cursor: %s", r.text())
	}
	if r = c.mustCall("shut_get_ticket", map[string]any{"id": 7}); !r.IsError || r.Meta.Error.Code != "invalid_arguments" || !strings.Contains(r.text(), "this one is locked") {
		t.Errorf("an error: %s", r.text())
	}
	if r = c.mustCall("shut_get_ticket", map[string]any{"id": "../tickets"}); r.Meta.Error.Code != "invalid_arguments" {
		t.Errorf("an argument that is none: %s", r.text())
	}
	if r = c.mustCall("open_create_ticket", map[string]any{"subject": "a b"}); string(r.Structured) != `{"id":9007199254740993}` {
		t.Errorf("a write: %s", r.text())
	}
	if _, err := c.call("shut_create_ticket", map[string]any{"subject": "x"}); err == nil {
		t.Error("a write that is not allowed was made")
	}
	want := []string{
		"GET /api/tickets?status=open&per_page=2 Bearer t0ken 2026-11",
		"GET /api/tickets?status=open&after=2&per_page=2 Bearer t0ken 2026-11",
		"GET /api/tickets/7 Bearer t0ken 2026-11",
		`POST /api/tickets Bearer t0ken 2026-11 {"ticket":{"subject":"a b"}}`,
	}
	if got := s.requests(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// What a connector, a definition or its values lack is said before anything runs.
func TestRESTFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.toml"), filepath.Join(dir, "bad.toml")
	for file, text := range map[string]string{good: ticketsDefinition, bad: "titel = 'x'\n[action.a]\nmethod = 'FETCH'\npath = '/'"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, stderr, code := run(t, upstreamTable("a", "connector = 'nothing-like-it'")+
		upstreamTable("b", "kind = 'rest'", "definition = '"+bad+"'")+
		upstreamTable("c", "kind = 'rest'", "definition = '"+good+"'", "auth.type = 'none'")+
		upstreamTable("d", "kind = 'rest'", "definition = '"+good+"'", "values = { subdomain = 'A/b', tenant = 'x' }", "auth.type = 'none'")+
		upstreamTable("e", "kind = 'rest'", "definition = '"+filepath.Join(dir, "none.toml")+"'")+
		upstreamTable("f", "kind = 'rest'", "definition = '"+good+"'", "values.subdomain = 'acme'"), nil, "check")
	if code != 2 {
		t.Errorf("exits %d", code)
	}
	for _, want := range []string{
		`upstream.a.connector: there is no connector "nothing-like-it"`,
		"upstream.b.definition: titel: unknown key",
		"upstream.c.values.subdomain: is missing: The first part of your address.",
		`upstream.d.values.subdomain: "A/b" does not look like one`,
		"upstream.d.values.tenant: there is no such value",
		"upstream.e.definition: open ",
		"upstream.f.auth.token: is missing",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not said", want)
		}
	}
	if t.Failed() {
		t.Log(stderr)
	}
}
