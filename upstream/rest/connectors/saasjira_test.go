package connectors_test

import (
	"net/http"
	"time"

	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func jira() saas {
	const root = "/ex/jira/" + vendors.CloudID + "/rest/api/2"
	return saas{
		start: vendors.Jira, quota: true, probe: 1, values: map[string]string{"cloud_id": vendors.CloudID},
		sign: func(r *http.Request) { r.SetBasicAuth(vendors.Mail, vendors.Token) },
		steps: []step{
			{"search_issues", `{"jql":"project = SHOP AND text ~ \"it's\" ORDER BY updated","issue_fields":["summary","customfield_10016"],"fields":["key","fields.customfield_10016"]}`,
				"GET " + root + `/search/jql?jql=project = SHOP AND text ~ "it's" ORDER BY updated&fields=summary,customfield_10016&maxResults=50`, "", `{"fields":{"customfield_10016":3},"key":"SHOP-1"}`},
			{"get_issue", `{"issue":"SHOP-2"}`, "GET " + root + "/issue/SHOP-2", "", `"description":"h2. It fails"`},
			{"list_comments", `{"issue":"SHOP-2","order":"-created"}`, "GET " + root + "/issue/SHOP-2/comment?orderBy=-created&maxResults=50", "", `"total":7`},
			{"list_changes", `{"issue":"SHOP-2"}`, "GET " + root + "/issue/SHOP-2/changelog?maxResults=50", "", `"toString":"Done"`},
			{"list_transitions", `{"issue":"SHOP-2"}`, "GET " + root + "/issue/SHOP-2/transitions", "", `"id":"31"`},
			{"search_projects", `{"query":"shop"}`, "GET " + root + "/project/search?query=shop&expand=lead&maxResults=50", "", `"key":"P1"`},
			{"get_project", `{"project":"SHOP"}`, "GET " + root + "/project/SHOP", "", `"issueTypes":[{"id":"1","name":"Bug","subtask":false}]`},
			{"search_users", `{"query":"ada"}`, "GET " + root + "/user/search?query=ada&maxResults=50", "", `"accountId":"5b1"`},
			{"list_fields", `{}`, "GET " + root + "/field", "", `"customfield_10016"`},
			{"create_issue", `{"project":"SHOP","type":"Bug","summary":"It fails","assignee":"5b1","labels":["a"],"due":"2026-12-01"}`, "POST " + root + "/issue",
				`{"fields":{"project":{"key":"SHOP"},"issuetype":{"name":"Bug"},"summary":"It fails","assignee":{"accountId":"5b1"},"labels":["a"],"duedate":"2026-12-01"}}`, `"key":"SHOP-8"`},
			{"update_issue", `{"issue":"SHOP-2","summary":"It works"}`, "PUT " + root + "/issue/SHOP-2", `{"fields":{"summary":"It works"}}`, `{}`},
			{"update_issue_status", `{"issue":"SHOP-2","transition":"31"}`, "POST " + root + "/issue/SHOP-2/transitions", `{"transition":{"id":"31"}}`, `{}`},
			{"create_comment", `{"issue":"SHOP-2","body":"On it"}`, "POST " + root + "/issue/SHOP-2/comment", `{"body":"On it"}`, `"id":"9"`},
		},
		failures: map[string]refusal{
			"burst":       {kind: upstream.RateLimited, least: 5 * time.Second, says: "Rate limit exceeded."},
			"hour":        {kind: upstream.RateLimited, least: 847 * time.Second},
			"hour, no ra": {kind: upstream.RateLimited, least: 3 * time.Minute},
			"issue":       {kind: upstream.RateLimited, least: 2 * time.Second},
			"no resource": {kind: upstream.RateLimited, sent: true, least: 3 * time.Second},
			"forbidden":   {kind: upstream.Denied, says: "permission"},
			"missing":     {kind: upstream.NotFound, says: "does not exist"},
			"jql":         {kind: upstream.InvalidArguments, says: "Error in the JQL"},
			"unbounded":   {kind: upstream.InvalidArguments, says: "Unbounded JQL"},
			"field":       {kind: upstream.InvalidArguments, says: "You must specify a summary"},
			"conflict":    {kind: upstream.Unavailable, sent: true, says: "changed meanwhile"},
			"server":      {kind: upstream.UpstreamError, sent: true},
		},
	}
}

func notion() saas {
	return saas{
		start: vendors.Notion, probe: 1,
		steps: []step{
			{"search_pages", `{"query":"plan","object":"page"}`, "POST /v1/search", `{"query":"plan","filter":{"property":"object","value":"page"},"sort":{"timestamp":"last_edited_time","direction":"descending"},"page_size":50}`, `"plain_text":"Plan"`},
			{"get_page", `{"page":"id-1"}`, "GET /v1/pages/id-1", "", `"in_trash":false`},
			{"get_page_content", `{"page":"id-1","include_transcript":true}`, "GET /v1/pages/id-1/markdown?include_transcript=true", "", `"markdown":"# Plan\n"`},
			{"list_blocks", `{"block":"id-1"}`, "GET /v1/blocks/id-1/children?page_size=50", "", `"type":"paragraph"`},
			{"get_database", `{"database":"d1"}`, "GET /v1/databases/d1", "", `"data_sources":[{"id":"ds1","name":"Tasks"}]`},
			{"get_data_source", `{"data_source":"ds1"}`, "GET /v1/data_sources/ds1", "", `"type":"status"`},
			{"query_data_source", `{"data_source":"ds1","filter":{"property":"Status","status":{"equals":"Done"}},"sorts":[{"property":"Due","direction":"ascending"}],"filter_properties":["title","a%3D"]}`,
				"POST /v1/data_sources/ds1/query?filter_properties[]=title&filter_properties[]=a%253D", `{"filter":{"property":"Status","status":{"equals":"Done"}},"sorts":[{"property":"Due","direction":"ascending"}],"page_size":50}`, `"id":"id-1"`},
			{"list_comments", `{"block_id":"id-1"}`, "GET /v1/comments?block_id=id-1&page_size=50", "", `"discussion_id":"d1"`},
			{"list_users", `{}`, "GET /v1/users?page_size=50", "", `"email":"ada@example.com"`},
			{"create_page", `{"parent_page":"id-1","markdown":"# Plan"}`, "POST /v1/pages", `{"parent":{"page_id":"id-1"},"markdown":"# Plan"}`, `"id":"p1"`},
			{"update_page", `{"page":"id-1","in_trash":true}`, "PATCH /v1/pages/id-1", `{"in_trash":true}`, `"in_trash"`},
			{"create_comment", `{"page":"id-1","text":"Fine"}`, "POST /v1/comments", `{"parent":{"page_id":"id-1"},"markdown":"Fine"}`, `"id":"c1"`},
		},
		failures: map[string]refusal{
			"connection": {kind: upstream.RateLimited, least: 41 * time.Second, says: "rate limited"},
			"workspace":  {kind: upstream.RateLimited, least: 130 * time.Second},
			"overload":   {kind: upstream.RateLimited, sent: true, least: 7 * time.Second},
			"missing":    {kind: upstream.NotFound, says: "Could not find page"},
			"restricted": {kind: upstream.Denied, says: "Insufficient permissions"},
			"conflict":   {kind: upstream.Unavailable, sent: true, says: "try again"},
			"validation": {kind: upstream.InvalidArguments, says: "body.properties"},
			"internal":   {kind: upstream.UpstreamError, sent: true},
			"database":   {kind: upstream.Unavailable, sent: true},
			"gateway":    {kind: upstream.Unavailable, sent: true},
			"proxy":      {kind: upstream.Unavailable, sent: true},
		},
	}
}

func linear() saas {
	return saas{
		start: vendors.Linear, quota: true, probe: 1,
		sign: func(r *http.Request) { r.Header.Set("Authorization", vendors.Token) },
		steps: []step{
			{"search_issues", `{"term":"timeout","include_comments":true}`, "POST /graphql", `{"variables":{"term":"timeout","comments":true,"first":25}}`, `"total":7`},
			{"list_issues", `{"filter":{"team":{"key":{"eq":"ENG"}}},"limit":10}`, "POST /graphql", `{"variables":{"filter":{"team":{"key":{"eq":"ENG"}}},"first":10}}`, `"identifier":"ENG-1"`},
			{"get_issue", `{"issue":"ENG-2"}`, "POST /graphql", `{"variables":{"id":"ENG-2"}}`, `"description":"It fails."`},
			{"list_comments", `{"issue":"ENG-2"}`, "POST /graphql", `{"variables":{"id":"ENG-2","first":25}}`, `"body":"Seen here."`},
			{"list_projects", `{}`, "POST /graphql", `{"variables":{"first":25}}`, `"health":"onTrack"`},
			{"list_teams", `{}`, "POST /graphql", `{"variables":{"first":25}}`, `"key":"ENG"`},
			{"list_users", `{}`, "POST /graphql", `{"variables":{"first":25}}`, `"displayName":"ada"`},
			{"list_cycles", `{}`, "POST /graphql", `{"variables":{"first":25}}`, `"progress":0.5`},
			{"list_states", `{}`, "POST /graphql", `{"variables":{"first":25}}`, `"type":"unstarted"`},
			{"create_issue", `{"team":"t1","title":"It fails","priority":1,"due":"2026-12-01"}`, "POST /graphql", `{"variables":{"input":{"teamId":"t1","title":"It fails","priority":1,"dueDate":"2026-12-01"}}}`, `"identifier":"ENG-8"`},
			{"update_issue", `{"issue":"ENG-1","state":"s2"}`, "POST /graphql", `{"variables":{"id":"ENG-1","input":{"stateId":"s2"}}}`, `"success":true`},
			{"create_comment", `{"issue":"ENG-1","body":"On it"}`, "POST /graphql", `{"variables":{"input":{"issueId":"ENG-1","body":"On it"}}}`, `"id":"c1"`},
		},
		failures: map[string]refusal{
			"requests":   {kind: upstream.RateLimited, least: 67 * time.Second, says: "Rate limit exceeded."},
			"complexity": {kind: upstream.RateLimited, least: 37 * time.Second},
			"limited":    {kind: upstream.RateLimited},
			"forbidden":  {kind: upstream.Denied, says: "access to this team"},
			"expired":    {kind: upstream.NeedsLogin, says: "session"},
			"input":      {kind: upstream.InvalidArguments, says: "Entity not found"},
			"too costly": {kind: upstream.InvalidArguments, says: "too complex"},
			"document":   {kind: upstream.InvalidArguments, says: "Cannot query field"},
			"partial":    {kind: upstream.UpstreamError, sent: true, says: "The team is gone."},
			"gateway":    {kind: upstream.Unavailable, sent: true},
		},
	}
}

func shopify() saas {
	const path = "POST /admin/api/2026-10/graphql.json"
	return saas{
		start: vendors.Shopify, probe: 0, quota: true, values: map[string]string{"shop": "acme"},
		sign: func(r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				r.Header.Set("X-Shopify-Access-Token", vendors.Token)
			}
		},
		steps: []step{
			{"list_orders", `{"query":"financial_status:paid","sort":"CREATED_AT","reverse":true}`, path, `{"variables":{"query":"financial_status:paid","sort":"CREATED_AT","reverse":true,"first":20}}`, `"displayFinancialStatus":"PAID"`},
			{"get_order", `{"order":"gid://shopify/Order/2"}`, path, `{"variables":{"id":"gid://shopify/Order/2"}}`, `"shippingAddress"`},
			{"list_products", `{}`, path, `{"variables":{"first":20}}`, `"totalInventory":9`},
			{"get_product", `{"product":"gid://shopify/Product/2"}`, path, `{"variables":{"id":"gid://shopify/Product/2"}}`, `"sku":"T1"`},
			{"list_customers", `{"query":"country:GB"}`, path, `{"variables":{"query":"country:GB","first":20}}`, `"numberOfOrders":"18446744073709551615"`},
			{"get_customer", `{"customer":"gid://shopify/Customer/2"}`, path, `{"variables":{"id":"gid://shopify/Customer/2"}}`, `"emailAddress":"ada@example.com"`},
			{"list_draft_orders", `{}`, path, `{"variables":{"first":20}}`, `"invoiceUrl"`},
			{"list_locations", `{}`, path, `{"variables":{"first":20}}`, `"isActive":true`},
			{"get_shop", `{}`, path, `{}`, `"currencyCode":"EUR"`},
			{"update_order", `{"order":"gid://shopify/Order/2","note":"fine"}`, path, `{"variables":{"input":{"id":"gid://shopify/Order/2","note":"fine"}}}`, `"userErrors":[]`},
			{"update_product", `{"product":"gid://shopify/Product/2","status":"ARCHIVED"}`, path, `{"variables":{"product":{"id":"gid://shopify/Product/2","status":"ARCHIVED"}}}`, `"userErrors":[]`},
			{"create_draft_order", `{"line_items":[{"variantId":"gid://shopify/ProductVariant/1","quantity":2}],"customer":"gid://shopify/Customer/1"}`, path,
				`{"variables":{"input":{"lineItems":[{"variantId":"gid://shopify/ProductVariant/1","quantity":2}],"purchasingEntity":{"customerId":"gid://shopify/Customer/1"}}}}`, `"id":"gid://shopify/DraftOrder/8"`},
		},
		failures: map[string]refusal{
			"throttled":  {kind: upstream.RateLimited, least: 590 * time.Millisecond, says: "Throttled"},
			"too many":   {kind: upstream.RateLimited, least: 2 * time.Second, says: "Exceeded 2 calls"},
			"too costly": {kind: upstream.InvalidArguments, says: "single query max cost"},
			"access":     {kind: upstream.Denied, says: "read_orders"},
			"inactive":   {kind: upstream.Denied},
			"internal":   {kind: upstream.UpstreamError, sent: true, says: "Internal error"},
			"variable":   {kind: upstream.InvalidArguments, says: "invalid value"},
			"frozen":     {kind: upstream.Denied, says: "Unavailable Shop"},
			"forbidden":  {kind: upstream.Denied, says: "merchant approval"},
			"locked":     {kind: upstream.Denied},
			"security":   {kind: upstream.Denied},
			"gateway":    {kind: upstream.Unavailable, sent: true},
		},
	}
}

func bigquery() saas {
	const root = "/bigquery/v2/projects/" + vendors.Project
	const iso = "formatOptions.timestampOutputFormat=ISO8601_STRING"
	return saas{
		start: vendors.BigQuery, probe: 1, values: map[string]string{"project": vendors.Project},
		steps: []step{
			{"query_rows", "{\"sql\":\"SELECT id FROM `crm.accounts` WHERE name = @name\",\"max_rows\":2,\"location\":\"EU\",\"parameters\":[{\"name\":\"name\",\"parameterType\":{\"type\":\"STRING\"},\"parameterValue\":{\"value\":\"Acme\"}}]}", "POST " + root + "/queries",
				"{\"query\":\"SELECT id FROM `crm.accounts` WHERE name = @name\",\"maxResults\":2,\"location\":\"EU\",\"useLegacySql\":false,\"timeoutMs\":25000,\"formatOptions\":{\"timestampOutputFormat\":\"ISO8601_STRING\"},\"queryParameters\":[{\"name\":\"name\",\"parameterType\":{\"type\":\"STRING\"},\"parameterValue\":{\"value\":\"Acme\"}}]}", `"v":"9007199254740992"`},
			{"list_results", `{"job":"job_1","location":"EU"}`, "GET " + root + "/queries/job_1?location=EU&timeoutMs=25000&maxResults=100&" + iso, "", `"total":7`},
			{"get_results", `{"job":"job_1"}`, "GET " + root + "/queries/job_1?timeoutMs=25000&maxResults=0", "", `"jobComplete":true`},
			{"list_datasets", `{}`, "GET " + root + "/datasets?maxResults=50", "", `"datasetId":"crm1"`},
			{"list_tables", `{"dataset":"crm"}`, "GET " + root + "/datasets/crm/tables?maxResults=50", "", `"tableId":"t1"`},
			{"get_table", `{"dataset":"crm","table":"accounts"}`, "GET " + root + "/datasets/crm/tables/accounts", "", `"numRows":"9007199254740993"`},
			{"list_rows", `{"dataset":"crm","table":"accounts","columns":["id","name"]}`, "GET " + root + "/datasets/crm/tables/accounts/data?selectedFields=id,name&maxResults=100&" + iso, "", `"Account 1"`},
			{"list_jobs", `{"state":"done"}`, "GET " + root + "/jobs?stateFilter=done&projection=full&maxResults=50", "", `"query":"SELECT 1"`},
			{"get_job", `{"job":"job_1"}`, "GET " + root + "/jobs/job_1", "", `"statementType":"SELECT"`},
			{"update_rows", `{"sql":"UPDATE crm.accounts SET name = 'x' WHERE id = 1"}`, "POST " + root + "/queries", `{"query":"UPDATE crm.accounts SET name = 'x' WHERE id = 1","useLegacySql":false,"timeoutMs":25000}`, `"numDmlAffectedRows":"3"`},
			{"delete_job", `{"job":"job_1","location":"EU"}`, "POST " + root + "/jobs/job_1/cancel?location=EU", "", `"state":"DONE"`},
			{"query_rows", `{"sql":"SELECT slow()"}`, "POST " + root + "/queries", `{"query":"SELECT slow()","maxResults":100,"useLegacySql":false,"timeoutMs":25000,"formatOptions":{"timestampOutputFormat":"ISO8601_STRING"}}`, `{"jobComplete":false,"jobReference":{"jobId":"job_1","location":"EU"}}`},
		},
		failures: map[string]refusal{
			"rate":      {kind: upstream.RateLimited, says: "too many api requests"},
			"rate 429":  {kind: upstream.RateLimited},
			"user rate": {kind: upstream.RateLimited},
			"quota":     {kind: upstream.RateLimited, says: "Quota exceeded"},
			"job rate":  {kind: upstream.RateLimited, says: "concurrent queries"},
			"denied":    {kind: upstream.Denied, says: "Access Denied"},
			"missing":   {kind: upstream.NotFound, says: "Not found"},
			"query":     {kind: upstream.InvalidArguments, says: "Syntax error"},
			"bytes":     {kind: upstream.InvalidArguments},
			"resources": {kind: upstream.InvalidArguments},
			"too large": {kind: upstream.InvalidArguments},
			"backend":   {kind: upstream.Unavailable, sent: true},
			"internal":  {kind: upstream.Unavailable, sent: true},
		},
	}
}
