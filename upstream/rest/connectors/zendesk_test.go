package connectors_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func zendesk(t *testing.T, o vendors.ZendeskOptions) (*connected, *vendors.Zendesk) {
	t.Helper()
	o.User, o.APIToken = "ann@example.com", "zendesk-api-token"
	acc := vendors.NewZendesk(o)
	login := credentials.Basic("ann@example.com/token", credentials.NewSecret(o.APIToken))
	return connect(t, "zendesk", acc, map[string]string{"subdomain": "acme"}, always(login)), acc
}

func TestZendeskActions(t *testing.T) {
	c, acc := zendesk(t, vendors.ZendeskOptions{})
	c.play(t, []turn{
		{tool: "list_tickets", args: `{}`, asks: "GET /api/v2/tickets?page[size]=25", says: []string{`"count":5`, `"requester_id":9007199254740993`}},
		{tool: "list_tickets", args: `{"sort":"-updated_at","limit":2}`, asks: "GET /api/v2/tickets?page[size]=2&sort=-updated_at", says: []string{`"count":2`, `"next_cursor":`}},
		{tool: "search_tickets", args: `{"query":"status<solved fire & smoke"}`,
			asks: "GET /api/v2/search/export?filter[type]=ticket&page[size]=25&query=status%3Csolved fire %26 smoke", says: []string{`"count":5`}},
		{tool: "search_records", args: `{"query":"type:user","sort_by":"created_at","sort_order":"asc"}`,
			asks: "GET /api/v2/search?per_page=25&query=type:user&sort_by=created_at&sort_order=asc", says: []string{`"total":8`, `"result_type":"organization"`}},
		{tool: "get_ticket", args: `{"ticket_id":"2"}`, asks: "GET /api/v2/tickets/2", says: []string{`"description":"It burns."`, `"via":{"channel":"email"}`}},
		{tool: "list_ticket_comments", args: `{"ticket_id":2,"sort":"created_at"}`, asks: "GET /api/v2/tickets/2/comments?page[size]=25&sort=created_at",
			says: []string{`"attachments":[{"file_name":"fire.jpg","size":1234}]`, `"public":false`}},
		{tool: "list_ticket_comments", args: `{"ticket_id":3}`, asks: "GET /api/v2/tickets/3/comments?page[size]=25", says: []string{`"attachments":[]`}},
		{tool: "list_user_tickets", args: `{"user_id":9007199254740993}`, asks: "GET /api/v2/users/9007199254740993/tickets/requested?page[size]=25", says: []string{`"count":5`}},
		{tool: "search_users", args: `{"query":"jo"}`, asks: "GET /api/v2/users/search?per_page=25&query=jo", says: []string{`"email":"jo@example.com"`, `"total":2`}},
		{tool: "get_user", args: `{"user_id":21}`, asks: "GET /api/v2/users/21", says: []string{`"name":"Jo Doe"`}},
		{tool: "list_organizations", args: `{}`, asks: "GET /api/v2/organizations?page[size]=25", says: []string{`"name":"Acme"`}},
		{tool: "get_organization", args: `{"organization_id":31}`, asks: "GET /api/v2/organizations/31", says: []string{`"domain_names":["example.com"]`}},
		{tool: "create_ticket", args: `{"subject":"Smoke","comment":"Much.","public":false,"priority":"low","tags":["a"]}`, asks: "POST /api/v2/tickets",
			body: `{"ticket":{"subject":"Smoke","comment":{"body":"Much.","public":false},"priority":"low","tags":["a"]}}`, says: []string{`"id":6`, `"subject":"Smoke"`}},
		{tool: "update_ticket", args: `{"ticket_id":6,"status":"solved"}`, asks: "PUT /api/v2/tickets/6", body: `{"ticket":{"status":"solved"}}`, says: []string{`"status":"solved"`}},
		{tool: "create_ticket_comment", args: `{"ticket_id":6,"body":"Done."}`, asks: "PUT /api/v2/tickets/6",
			body: `{"ticket":{"comment":{"body":"Done.","public":false}}}`, says: []string{`"id":6`}},
		{tool: "delete_ticket", args: `{"ticket_id":6}`, asks: "DELETE /api/v2/tickets/6", says: []string{`{}`}},
	})
	if n := acc.Created(); n != 5 {
		t.Errorf("there are %d tickets", n)
	}
}

func TestZendeskPages(t *testing.T) {
	c, _ := zendesk(t, vendors.ZendeskOptions{Tickets: 7})
	for tool, want := range map[string][]int{"list_tickets": {3, 3, 1}, "search_tickets": {3, 3, 1}, "search_records": {3, 3, 3, 1}} {
		args := map[string]any{"limit": 3}
		if tool != "list_tickets" {
			args["query"] = "fire"
		}
		sizes, total := c.pages(t, tool, args)
		if !reflect.DeepEqual(sizes, want) || tool == "search_records" && total != 10 {
			t.Errorf("%s: pages of %d records, %d in all", tool, sizes, total)
		}
	}
}

func TestZendeskFailures(t *testing.T) {
	c, _ := zendesk(t, vendors.ZendeskOptions{})
	reply := func(status int, body string) vendors.Answer { return vendors.Answer{Status: status, Body: body} }
	plain := func(status int, body string, fields ...string) vendors.Answer {
		r := vendors.Answer{Status: status, Body: body, Header: map[string]string{"Content-Type": "text/html; charset=utf-8"}}
		for i := 0; i < len(fields); i += 2 {
			r.Header[fields[i]] = fields[i+1]
		}
		return r
	}
	c.fail(t, "get_ticket", `{"ticket_id":1}`, map[string]failing{
		"not found":  {reply(404, `{"error":"RecordNotFound","description":"Not found"}`), upstream.NotFound, false, 0, "Not found"},
		"invalid":    {reply(422, `{"error":"RecordInvalid","description":"Record validation errors","details":{}}`), upstream.InvalidArguments, false, 0, "Record validation errors"},
		"forbidden":  {reply(403, `{"error":{"title":"Forbidden","message":"You do not have access to this page."}}`), upstream.Denied, false, 0, "You do not have access"},
		"conflict":   {reply(409, `{"error":"DatabaseConflict","description":"Database collision"}`), upstream.InvalidArguments, false, 0, "Database collision"},
		"text":       {plain(400, "Bad Request"), upstream.InvalidArguments, false, 0, "HTTP 400"},
		"endpoint":   {plain(429, "Rate limit for ticket updates exceeded, please wait before updating this ticket again", "Retry-After", "93", "ratelimit-remaining", "600"), upstream.RateLimited, false, 93 * time.Second, "wait"},
		"down":       {plain(503, "<html>down</html>", "Retry-After", "30"), upstream.RateLimited, true, 30 * time.Second, ""},
		"gateway":    {plain(502, "<html>bad gateway</html>"), upstream.Unavailable, true, 0, ""},
		"HTML as OK": {plain(200, "<html>sign in</html>"), upstream.UpstreamError, true, 0, "HTML"},
	})
	if _, _, err := c.tell(t.Context(), "list_tickets", `{"sort":"subject"}`); err == nil || !strings.Contains(err.Error(), "updated_at") {
		t.Errorf("an order that there is not: %v", err)
	}
	if _, _, err := c.tell(t.Context(), "list_tickets", `{"limit":101}`); err == nil || upstream.AsError("", "", err).Kind != upstream.InvalidArguments {
		t.Errorf("more than a page has: %v", err)
	}
}

// What is left of the minute is told with each answer, and so is its end.
func TestZendeskLimits(t *testing.T) {
	c, _ := zendesk(t, vendors.ZendeskOptions{Limit: 2})
	_, res, err := c.tell(t.Context(), "list_tickets", `{}`)
	if err != nil || res.Quota == nil || res.Quota.Remaining != 1 || res.Quota.Reset != 41*time.Second {
		t.Fatalf("%+v %v", res, err)
	}
	_, _, _ = c.tell(t.Context(), "get_user", `{"user_id":21}`)
	_, _, err = c.tell(t.Context(), "get_user", `{"user_id":21}`)
	if e := upstream.AsError("", "", err); e.Kind != upstream.RateLimited || e.RetryAfter != 41*time.Second || e.Sent {
		t.Errorf("%+v", e)
	}
}

// A ticket is made once, however often the call is.
func TestZendeskIdempotency(t *testing.T) {
	c, acc := zendesk(t, vendors.ZendeskOptions{})
	for range 2 {
		if _, _, err := c.tell(t.Context(), "create_ticket", `{"subject":"Smoke","comment":"Much."}`); err != nil {
			t.Fatal(err)
		}
	}
	if n := acc.Created(); n != 6 {
		t.Errorf("%d tickets", n)
	}
	if _, _, err := c.tell(t.Context(), "create_ticket", `{"subject":"Other smoke","comment":"Much."}`); err != nil || acc.Created() != 7 {
		t.Errorf("%v, %d tickets", err, acc.Created())
	}
	if key := acc.Last().Header.Get("Idempotency-Key"); len(key) != 36 {
		t.Errorf("the key is %q", key)
	}
}

// After the last day of API tokens the refusal says what to do.
func TestZendeskWithoutAPITokens(t *testing.T) {
	acc := vendors.NewZendesk(vendors.ZendeskOptions{User: "ann@example.com"})
	c := connect(t, "zendesk", acc, map[string]string{"subdomain": "acme"}, always(credentials.Basic("ann@example.com/token", credentials.NewSecret("zendesk-api-token"))))
	_, _, err := c.tell(t.Context(), "list_tickets", `{}`)
	if e := upstream.AsError("", "", err); e.Kind != upstream.NeedsLogin || !strings.Contains(e.Public, "Couldn't authenticate you") || acc.Last().Method != http.MethodGet {
		t.Errorf("%+v", e)
	}
}
