package connectors_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func hubspot(t *testing.T, o vendors.HubSpotOptions) (*connected, *vendors.HubSpot) {
	t.Helper()
	o.Static = "pat-na1-static"
	acc := vendors.NewHubSpot(o)
	return connect(t, "hubspot", acc, nil, always(credentials.Bearer(credentials.NewSecret(o.Static)))), acc
}

// The properties that are asked for where the model names none.
var hubspotProperties = map[string]string{
	"contacts":  "email,firstname,lastname,phone,company,jobtitle,lifecyclestage,hubspot_owner_id,createdate,lastmodifieddate",
	"companies": "name,domain,industry,city,country,phone,lifecyclestage,hubspot_owner_id,createdate,hs_lastmodifieddate",
	"deals":     "dealname,dealstage,pipeline,amount,closedate,hubspot_owner_id,createdate,hs_lastmodifieddate",
	"tickets":   "subject,content,hs_pipeline,hs_pipeline_stage,hs_ticket_priority,hubspot_owner_id,createdate,hs_lastmodifieddate",
}

func TestHubSpotActions(t *testing.T) {
	c, _ := hubspot(t, vendors.HubSpotOptions{Limit: 1000})
	turns := []turn{
		{tool: "list_owners", args: `{"email":"ann@example.com"}`, asks: "GET /crm/owners/2026-03?email=ann@example.com&limit=20", says: []string{`"id":"71"`}},
		{tool: "list_properties", args: `{"object":"deals"}`, asks: "GET /crm/properties/2026-03/deals", says: []string{`"options":[{"label":"Won","value":"won"}]`}},
		{tool: "search_deals", args: `{"filter_groups":[{"filters":[{"propertyName":"dealname","operator":"EQ","value":"deals 2"}]}],"sorts":[{"propertyName":"amount","direction":"DESCENDING"}],"properties":["amount"],"limit":5}`,
			asks: "POST /crm/objects/2026-03/deals/search", body: `{"filterGroups":[{"filters":[{"propertyName":"dealname","operator":"EQ","value":"deals 2"}]}],
				"sorts":[{"propertyName":"amount","direction":"DESCENDING"}],"properties":["amount"],"limit":5}`, says: []string{`"total":1`, `"amount":"12345678901234567.89"`}},
		{tool: "get_contact", args: `{"contact_id":"501","properties":["email"],"associations":["companies","deals"]}`,
			asks: "GET /crm/objects/2026-03/contacts/501?associations=companies,deals&properties=email", says: []string{`"associations":{"companies":{"results":[{"id":"501"`}},
	}
	for object, names := range hubspotProperties {
		one := map[string]string{"contacts": "contact", "companies": "company", "deals": "deal", "tickets": "ticket"}[object]
		path := "/crm/objects/2026-03/" + object
		list := `["` + strings.ReplaceAll(names, ",", `","`) + `"]`
		turns = append(turns,
			turn{tool: "list_" + object, args: `{"limit":2,"archived":false}`, asks: "GET " + path + "?archived=false&limit=2&properties=" + names, says: []string{`"count":2`, `"next_cursor"`}},
			turn{tool: "search_" + object, args: `{"query":"` + object + ` 3"}`, asks: "POST " + path + "/search",
				body: `{"query":"` + object + ` 3","limit":20,"properties":` + list + `}`, says: []string{`"total":1`, `"id":"502"`}},
			turn{tool: "get_" + one, args: `{"` + one + `_id":500}`, asks: "GET " + path + "/500?properties=" + names, says: []string{`"id":"500"`}},
			turn{tool: "create_" + one, args: `{"properties":{"a":"1"}}`, asks: "POST " + path, body: `{"properties":{"a":"1"}}`, says: []string{`"id":"505"`, `"a":"1"`}},
			turn{tool: "update_" + one, args: `{"` + one + `_id":"505","properties":"{\"a\":\"\"}"}`, asks: "PATCH " + path + "/505", body: `{"properties":{"a":""}}`, says: []string{`"a":""`}},
		)
	}
	c.play(t, turns)
}

func TestHubSpotPages(t *testing.T) {
	c, acc := hubspot(t, vendors.HubSpotOptions{Objects: 7})
	for tool, all := range map[string]int{"list_contacts": -1, "search_contacts": 7, "list_deals": -1, "search_tickets": 7} {
		sizes, total := c.pages(t, tool, map[string]any{"limit": 3})
		if !reflect.DeepEqual(sizes, []int{3, 3, 1}) || total != all {
			t.Errorf("%s: pages of %d records, %d in all", tool, sizes, total)
		}
		if last := acc.Last(); strings.HasPrefix(tool, "search") && !strings.Contains(last.Body, `"after":"6"`) {
			t.Errorf("%s went on by %s", tool, last.Body)
		}
	}
	if _, _, err := c.tell(t.Context(), "search_deals", `{"limit":201}`); err == nil || upstream.AsError("", "", err).Kind != upstream.InvalidArguments {
		t.Errorf("more than a page has: %v", err)
	}
}

func TestHubSpotFailures(t *testing.T) {
	c, _ := hubspot(t, vendors.HubSpotOptions{})
	said := func(status int, category, message string, fields ...string) vendors.Answer {
		r := vendors.Answer{Status: status, Header: map[string]string{}, Body: fmt.Sprintf(`{"status":"error","message":%q,"correlationId":"a43683b0","category":%q}`, message, category)}
		for i := 0; i < len(fields); i += 2 {
			r.Header[fields[i]] = fields[i+1]
		}
		return r
	}
	c.fail(t, "get_deal", `{"deal_id":"500"}`, map[string]failing{
		"not found":  {said(404, "OBJECT_NOT_FOUND", "Object not found."), upstream.NotFound, false, 0, "Object not found."},
		"invalid":    {said(400, "VALIDATION_ERROR", "Invalid input JSON"), upstream.InvalidArguments, false, 0, "Invalid input JSON"},
		"scopes":     {said(403, "MISSING_SCOPES", "This app hasn't been granted all required scopes"), upstream.Denied, false, 0, "required scopes"},
		"token":      {said(401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired"), upstream.NeedsLogin, false, 0, "expired"},
		"ten second": {vendors.Answer{Status: 429, Header: map[string]string{"X-HubSpot-RateLimit-Remaining": "0", "X-HubSpot-RateLimit-Interval-Milliseconds": "10000"}, Body: `{"status":"error","message":"You have reached your ten_secondly_rolling limit.","errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"}`}, upstream.RateLimited, false, 10 * time.Second, "ten_secondly_rolling"},
		"search":     {vendors.Answer{Status: 429, Body: `{"status":"error","message":"You have reached your secondly limit.","errorType":"RATE_LIMIT","policyName":"SECONDLY"}`}, upstream.RateLimited, false, 0, "secondly limit"},
		"locked":     {said(423, "LOCKED", "Locked"), upstream.Unavailable, true, 0, "Locked"},
		"moving":     {said(477, "MIGRATION", "Migration in progress", "Retry-After", "600"), upstream.Unavailable, true, 10 * time.Minute, "Migration"},
		"gateway":    {vendors.Answer{Status: 502, Body: "<html>", Header: map[string]string{"Content-Type": "text/html"}}, upstream.Unavailable, true, 0, ""},
		"no JSON":    {vendors.Answer{Status: 200, Body: `{"id":"500"`}, upstream.UpstreamError, true, 0, "JSON"},
	})
	if _, _, err := c.tell(t.Context(), "create_deal", `{"properties":{"nonsense":"1"}}`); err == nil || !strings.Contains(upstream.AsError("", "", err).Public, `"nonsense\" does not exist`) {
		t.Errorf("an unknown property: %v", err)
	}
}

// What is left of ten seconds is told, but not with searches.
func TestHubSpotLimits(t *testing.T) {
	c, _ := hubspot(t, vendors.HubSpotOptions{Limit: 3})
	_, res, err := c.tell(t.Context(), "list_owners", `{}`)
	if err != nil || res.Quota == nil || res.Quota.Remaining != 2 || res.Quota.Reset != 10*time.Second {
		t.Fatalf("%+v %v", res, err)
	}
	if _, res, err = c.tell(t.Context(), "search_deals", `{}`); err != nil || res.Quota != nil {
		t.Fatalf("%+v %v", res, err)
	}
	_, _, _ = c.tell(t.Context(), "list_owners", `{}`)
	_, _, err = c.tell(t.Context(), "list_owners", `{}`)
	if e := upstream.AsError("", "", err); e.Kind != upstream.RateLimited || e.RetryAfter != 10*time.Second || e.Sent {
		t.Errorf("%+v", e)
	}
	c, _ = hubspot(t, vendors.HubSpotOptions{Daily: 2})
	if _, res, err = c.tell(t.Context(), "list_owners", `{}`); err != nil || res.Quota == nil || res.Quota.Remaining != 1 {
		t.Fatalf("the day has less left than ten seconds: %+v %v", res, err)
	}
	_, _, _ = c.tell(t.Context(), "list_owners", `{}`)
	_, _, err = c.tell(t.Context(), "list_owners", `{}`)
	if e := upstream.AsError("", "", err); e.Kind != upstream.RateLimited || !strings.Contains(e.Public, "daily limit") {
		t.Errorf("%+v", e)
	}
}
