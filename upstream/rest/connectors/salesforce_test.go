package connectors_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest/connectors"
)

func salesforce(t *testing.T, o vendors.SalesforceOptions) (*connected, *vendors.Salesforce) {
	t.Helper()
	acc := vendors.NewSalesforce(o)
	token, _ := acc.SignIn("api")
	return connect(t, "salesforce", acc, map[string]string{"domain": "acme"}, always(credentials.Bearer(credentials.NewSecret(token)))), acc
}

func TestSalesforceActions(t *testing.T) {
	c, acc := salesforce(t, vendors.SalesforceOptions{})
	const root = "/services/data/v67.0"
	c.play(t, []turn{
		{tool: "query_records", args: `{"soql":"SELECT Id, Name FROM Account WHERE Name = 'O\\'Neill & Co+'"}`, asks: "GET " + root + `/query?q=SELECT Id, Name FROM Account WHERE Name = 'O\'Neill %26 Co%2B'`,
			says: []string{`"total":5`, `"AnnualRevenue":12345678901234567.89`}},
		{tool: "search_records", args: `{"text":"Acme","object":"Account","in":"NAME","columns":["Name","Industry"],"most":2}`,
			asks: "GET " + root + "/parameterizedSearch?fields=Name,Industry&in=NAME&overallLimit=2&q=Acme&sobject=Account", says: []string{`"count":2`, `"Industry":"Energy"`}},
		{tool: "get_record", args: `{"object":"Account","id":"001000000000002AAA","columns":["Name"]}`, asks: "GET " + root + "/sobjects/Account/001000000000002AAA?fields=Name", says: []string{`"Name":"Acme 2"`}},
		{tool: "get_record_by_key", args: `{"object":"Account","field":"Customer_No__c","value":"1003"}`, asks: "GET " + root + "/sobjects/Account/Customer_No__c/1003", says: []string{`"Name":"Acme 4"`}},
		{tool: "list_objects", args: `{}`, asks: "GET " + root + "/sobjects", says: []string{`"count":2`, `"keyPrefix":"001"`}},
		{tool: "get_object", args: `{"object":"Account"}`, asks: "GET " + root + "/sobjects/Account/describe", says: []string{`"fields":[{`, `"relationshipName":"Contacts"`}},
		{tool: "list_recent_records", args: `{"most":3}`, asks: "GET " + root + "/recent?limit=3", says: []string{`"count":3`}},
		{tool: "list_updated_records", args: `{"object":"Account","start":"2026-11-01T00:00:00Z","end":"2026-11-02T00:00:00+01:00"}`,
			asks: "GET " + root + "/sobjects/Account/updated?end=2026-11-02T00:00:00%2B01:00&start=2026-11-01T00:00:00Z", says: []string{`"count":5`, `"001000000000001AAA"`}},
		{tool: "get_limits", args: `{}`, asks: "GET " + root + "/limits", says: []string{`"DailyApiRequests":{"Max":100000`}},
		{tool: "create_record", args: `{"object":"Account","record":{"Name":"New","Employees__c":9007199254740993}}`, asks: "POST " + root + "/sobjects/Account",
			body: `{"Name":"New","Employees__c":9007199254740993}`, says: []string{`"id":"001000000000006AAA"`, `"success":true`}},
		{tool: "update_record", args: `{"object":"Account","id":"001000000000006AAA","record":{"Industry":null}}`, asks: "PATCH " + root + "/sobjects/Account/001000000000006AAA",
			body: `{"Industry":null}`, says: []string{`{}`}},
		{tool: "upsert_record", args: `{"object":"Account","field":"Customer_No__c","value":"7 / 7","record":{"Name":"Seven"}}`, asks: "PATCH " + root + "/sobjects/Account/Customer_No__c/7%20%2F%207",
			body: `{"Name":"Seven"}`, says: []string{`"created":true`}},
		{tool: "delete_record", args: `{"object":"Account","id":"001000000000006AAA"}`, asks: "DELETE " + root + "/sobjects/Account/001000000000006AAA", says: []string{`{}`}},
	})
	if got := acc.Requests()[0].Header.Get("Sforce-Query-Options"); got != "batchSize=200" {
		t.Errorf("a query has the options %q", got)
	}
}

func TestSalesforcePages(t *testing.T) {
	c, acc := salesforce(t, vendors.SalesforceOptions{Accounts: 450})
	sizes, total := c.pages(t, "query_records", map[string]any{"soql": "SELECT Id FROM Account"})
	if !reflect.DeepEqual(sizes, []int{200, 200, 50}) || total != 450 {
		t.Errorf("pages of %d records, %d in all", sizes, total)
	}
	if last := acc.Last(); last.Path != "/services/data/v67.0/query/01g0Account-400" || last.Header.Get("Sforce-Query-Options") != "batchSize=200" {
		t.Errorf("the last page is at %s, with %q", last.Path, last.Header.Get("Sforce-Query-Options"))
	}
}

func TestSalesforceFailures(t *testing.T) {
	c, acc := salesforce(t, vendors.SalesforceOptions{})
	said := func(status int, code, message string) vendors.Answer {
		return vendors.Answer{Status: status, Body: `[{"message":"` + message + `","errorCode":"` + code + `"}]`}
	}
	c.fail(t, "get_record", `{"object":"Account","id":"001000000000001AAA"}`, map[string]failing{
		"query":     {said(400, "MALFORMED_QUERY", "unexpected token: FORM"), upstream.InvalidArguments, false, 0, "unexpected token: FORM"},
		"field":     {said(400, "INVALID_FIELD", "No such column"), upstream.InvalidArguments, false, 0, "No such column"},
		"not found": {said(404, "NOT_FOUND", "Provided external ID field does not exist"), upstream.NotFound, false, 0, "external ID"},
		"deleted":   {said(404, "ENTITY_IS_DELETED", "entity is deleted"), upstream.NotFound, false, 0, "entity is deleted"},
		"denied":    {said(400, "INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id"), upstream.Denied, false, 0, "insufficient access"},
		"forbidden": {said(403, "INSUFFICIENT_ACCESS", "nope"), upstream.Denied, false, 0, "nope"},
		"session":   {said(401, "INVALID_SESSION_ID", "Session expired or invalid"), upstream.NeedsLogin, false, 0, "Session expired"},
		"limit":     {said(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."), upstream.RateLimited, false, 0, "TotalRequests"},
		"lock":      {said(400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access"), upstream.Unavailable, true, 0, "exclusive access"},
		"busy":      {said(503, "SERVER_UNAVAILABLE", "Too many requests waiting for connections"), upstream.Unavailable, true, 0, "waiting"},
		"several":   {vendors.Answer{Status: 300, Body: `["/services/data/v67.0/sobjects/Account/1","/services/data/v67.0/sobjects/Account/2"]`}, upstream.InvalidArguments, false, 0, ""},
		"maintenance": {vendors.Answer{Status: 200, Header: map[string]string{"Content-Type": "text/html;charset=UTF-8"}, Body: "<html>down for maintenance"},
			upstream.UpstreamError, true, 0, "HTML"},
	})
	if _, _, err := c.tell(t.Context(), "query_records", `{"soql":"SELECT Id FORM Account"}`); err == nil || !strings.Contains(upstream.AsError("", "", err).Public, "unexpected token") {
		t.Errorf("a query that is none: %v", err)
	}
	for _, id := range []string{"..", "%2e%2e", "a/../../limits"} {
		if _, _, err := c.tell(t.Context(), "get_record", `{"object":"Account","id":"`+id+`"}`); err == nil || upstream.AsError("", "", err).Kind != upstream.InvalidArguments {
			t.Errorf("%s: %v, asked %s", id, err, acc.Last().Path)
		}
	}
}

// Each answer tells what of the day is used, by all of the organization.
func TestSalesforceLimits(t *testing.T) {
	c, _ := salesforce(t, vendors.SalesforceOptions{Limit: 2})
	_, res, err := c.tell(t.Context(), "list_objects", `{}`)
	if err != nil || res.Quota == nil || res.Quota.Remaining != 1 {
		t.Fatalf("%+v %v", res, err)
	}
	_, _, _ = c.tell(t.Context(), "list_objects", `{}`)
	_, _, err = c.tell(t.Context(), "list_objects", `{}`)
	if e := upstream.AsError("", "", err); e.Kind != upstream.RateLimited || e.Sent || !strings.Contains(e.Public, "TotalRequests Limit exceeded.") {
		t.Errorf("%+v", e)
	}
	c, acc := salesforce(t, vendors.SalesforceOptions{})
	acc.Exceed("ConcurrentRequests (Concurrent API Requests) Limit exceeded.")
	_, _, err = c.tell(t.Context(), "list_objects", `{}`)
	if e := upstream.AsError("", "", err); e.Kind != upstream.RateLimited || !strings.Contains(e.Public, "Concurrent API Requests") {
		t.Errorf("%+v", e)
	}
	acc.Exceed("")
	if _, _, err = c.tell(t.Context(), "list_objects", `{}`); err != nil {
		t.Error(err)
	}
}

type rerouted func(*http.Request) (*http.Response, error)

func (f rerouted) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The organization is where the sign-in says, if that is at Salesforce.
func TestSalesforceInstance(t *testing.T) {
	acc := vendors.NewSalesforce(vendors.SalesforceOptions{})
	token, _ := acc.SignIn("api")
	server := httptest.NewServer(acc)
	defer server.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	asked := ""
	hc := &http.Client{Transport: rerouted(func(r *http.Request) (*http.Response, error) {
		asked = r.URL.Scheme + "://" + r.URL.Host
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(server.URL, "http://")
		r.Header.Set("Authorization", "Bearer "+token)
		return tr.RoundTrip(r)
	})}
	def, err := connectors.Load("salesforce")
	if err != nil {
		t.Fatal(err)
	}
	for instance, good := range map[string]bool{
		"https://acme.my.salesforce.com": true, "https://acme--uat.sandbox.my.salesforce.com/": true,
		"http://acme.my.salesforce.com": false, "https://acme.my.salesforce.com.evil.example": false, "https://evilsalesforce.com": false,
		"https://acme.my.salesforce.com@evil.example": false, "https://evil.example/.salesforce.com": false, "": false,
	} {
		asked = ""
		a, err := rest.New(rest.Options{ID: "src", Definition: def, Values: map[string]string{"domain": "acme"},
			TokenValue: func(_ context.Context, _ *upstream.Call, member string) (string, error) {
				if member != "instance_url" {
					return "", errors.New(member)
				}
				return instance, nil
			}}, hc)
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&connected{Adapter: a}).called(t, "list_objects")
		if good && (err != nil || asked != strings.TrimSuffix(instance, "/")) || !good && (err == nil || asked != "" || upstream.AsError("", "", err).Kind != upstream.Denied) {
			t.Errorf("%q: %v, asked %s", instance, err, asked)
		}
		_ = a.Close()
	}
}
