package connectors_test

import (
	"time"

	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func all() map[string]saas {
	return map[string]saas{"github": github(), "stripe": stripe(), "slack": slack(), "jira": jira(), "notion": notion(), "linear": linear(), "shopify": shopify(), "bigquery": bigquery()}
}

func github() saas {
	const repo = `"owner":"acme","repo":"shop"`
	return saas{
		start: vendors.GitHub, quota: true, probe: 3,
		steps: []step{
			{"search_issues", `{"q":"repo:acme/shop is:issue timeout","sort":"updated","order":"desc"}`, "GET /search/issues?q=repo:acme/shop is:issue timeout&sort=updated&order=desc&per_page=30", "", `"total":7`},
			{"search_repositories", `{"q":"org:acme"}`, "GET /search/repositories?q=org:acme&per_page=30", "", `"full_name":"acme/shop1"`},
			{"search_code", `{"q":"repo:acme/shop NewClient","limit":5}`, "GET /search/code?q=repo:acme/shop NewClient&per_page=5", "", `"path":"cmd/1/main.go"`},
			{"list_issues", `{` + repo + `,"state":"all","labels":["bug","needs: triage"],"since":"2026-11-01T00:00:00Z"}`, "GET /repos/acme/shop/issues?state=all&labels=bug,needs: triage&since=2026-11-01T00:00:00Z&per_page=30", "", `"login":"ada"`},
			{"get_issue", `{` + repo + `,"number":2}`, "GET /repos/acme/shop/issues/2", "", `"body":"It fails."`},
			{"list_comments", `{` + repo + `,"number":2}`, "GET /repos/acme/shop/issues/2/comments?per_page=30", "", `"Seen here too."`},
			{"list_pull_requests", `{` + repo + `,"base":"main"}`, "GET /repos/acme/shop/pulls?base=main&per_page=30", "", `"ref":"fix"`},
			{"get_pull_request", `{` + repo + `,"number":1}`, "GET /repos/acme/shop/pulls/1", "", `"mergeable_state":"clean"`},
			{"list_commits", `{` + repo + `,"path":"cmd/main.go","sha":"release/1"}`, "GET /repos/acme/shop/commits?path=cmd/main.go&sha=release/1&per_page=30", "", `"message":"Mend it"`},
			{"get_file", `{` + repo + `,"path":"cmd/shop/main.go","ref":"main"}`, "GET /repos/acme/shop/contents/cmd%2Fshop%2Fmain.go?ref=main", "", `package main`},
			{"create_issue", `{` + repo + `,"title":"It fails","labels":["bug"]}`, "POST /repos/acme/shop/issues", `{"title":"It fails","labels":["bug"]}`, `"number":8`},
			{"update_issue", `{` + repo + `,"number":2,"state":"closed","state_reason":"completed"}`, "PATCH /repos/acme/shop/issues/2", `{"state":"closed","state_reason":"completed"}`, `"state":"closed"`},
			{"create_comment", `{` + repo + `,"number":2,"body":"On it."}`, "POST /repos/acme/shop/issues/2/comments", `{"body":"On it."}`, `"id":8`},
		},
		failures: map[string]refusal{
			"primary 403":            {kind: upstream.RateLimited, least: 86 * time.Second, says: "API rate limit exceeded"},
			"primary 429":            {kind: upstream.RateLimited, least: 86 * time.Second, says: "API rate limit exceeded"},
			"secondary 403":          {kind: upstream.RateLimited, least: time.Minute, says: "secondary rate limit"},
			"secondary 429":          {kind: upstream.RateLimited, least: time.Minute, says: "secondary rate limit"},
			"secondary without time": {kind: upstream.RateLimited, says: "secondary rate limit"},
			"forbidden":              {kind: upstream.Denied, says: "not accessible"},
			"not found":              {kind: upstream.NotFound, says: "Not Found"},
			"gone":                   {kind: upstream.NotFound, says: "disabled"},
			"validation":             {kind: upstream.InvalidArguments, says: "Validation Failed"},
			"taken down":             {kind: upstream.Denied, says: "blocked"},
			"bad gateway":            {kind: upstream.Unavailable, sent: true},
		},
	}
}

func stripe() saas {
	return saas{
		start: vendors.Stripe, probe: 1,
		steps: []step{
			{"search_customers", `{"query":"email:'ada@example.com'"}`, "GET /v1/customers/search?query=email:'ada@example.com'&limit=10", "", `"id":"cus_1"`},
			{"list_customers", `{"email":"ada@example.com","created":{"gte":1761990000,"lt":1761999999}}`, "GET /v1/customers?email=ada@example.com&created[gte]=1761990000&created[lt]=1761999999&limit=10", "", `"plan":"pro"`},
			{"get_customer", `{"customer":"cus_2"}`, "GET /v1/customers/cus_2", "", `"id":"cus_2"`},
			{"list_subscriptions", `{"customer":"cus_1","status":"all"}`, "GET /v1/subscriptions?customer=cus_1&status=all&limit=10", "", `"id":"sub_1"`},
			{"get_subscription", `{"subscription":"sub_1"}`, "GET /v1/subscriptions/sub_1", "", `"id":"sub_1"`},
			{"list_invoices", `{"status":"open"}`, "GET /v1/invoices?status=open&limit=10", "", `"total":4200`},
			{"get_invoice", `{"invoice":"in_1"}`, "GET /v1/invoices/in_1", "", `"id":"in_1"`},
			{"list_payment_intents", `{"customer":"cus_1"}`, "GET /v1/payment_intents?customer=cus_1&limit=10", "", `"id":"pi_1"`},
			{"list_refunds", `{"payment_intent":"pi_1"}`, "GET /v1/refunds?payment_intent=pi_1&limit=10", "", `"id":"re_1"`},
			{"get_balance", `{}`, "GET /v1/balance", "", `"available":[{"amount":100,"currency":"usd"}]`},
			{"create_customer", `{"name":"Ada & Co","address":{"city":"London","country":"GB"},"metadata":{"plan":"pro"}}`, "POST /v1/customers", "name=Ada %26 Co&address[city]=London&address[country]=GB&metadata[plan]=pro", `"id":"cus_8"`},
			{"update_customer", `{"customer":"cus_2","metadata":{"plan":""}}`, "POST /v1/customers/cus_2", "metadata[plan]=", `"id":"cus_8"`},
			{"create_refund", `{"payment_intent":"pi_1","amount":500,"reason":"duplicate"}`, "POST /v1/refunds", "payment_intent=pi_1&amount=500&reason=duplicate", `"id":"re_8"`},
		},
		failures: map[string]refusal{
			"global rate":       {kind: upstream.RateLimited, says: "Request rate limit exceeded"},
			"endpoint rate":     {kind: upstream.RateLimited},
			"concurrency":       {kind: upstream.RateLimited},
			"resource specific": {kind: upstream.RateLimited, least: 9 * time.Second, final: true},
			"lock timeout":      {kind: upstream.RateLimited, says: "cannot be accessed right now"},
			"key in use":        {kind: upstream.Unavailable, sent: true, says: "in-progress"},
			"other parameters":  {kind: upstream.InvalidArguments, says: "same parameters", final: true},
			"missing":           {kind: upstream.NotFound, says: "No such customer"},
			"missing parameter": {kind: upstream.InvalidArguments, says: "query"},
			"missing reference": {kind: upstream.NotFound, says: "No such customer"},
			"declined":          {kind: upstream.Denied, says: "declined"},
			"permissions":       {kind: upstream.Denied, says: "permissions"},
			"third party":       {kind: upstream.Unavailable, sent: true, says: "dependency"},
			"server":            {kind: upstream.Unavailable, sent: true, says: "unknown error"}, // which it asks to repeat
			"unavailable":       {kind: upstream.Unavailable, sent: true, says: "temporarily"},
		},
	}
}

func slack() saas {
	return saas{
		start: vendors.Slack, probe: 3,
		steps: []step{
			{"list_channels", `{"types":["public_channel","private_channel"]}`, "GET /api/conversations.list?types=public_channel,private_channel&exclude_archived=true&limit=100", "", `"name":"team-1"`},
			{"get_channel", `{"channel":"C1"}`, "GET /api/conversations.info?channel=C1&include_num_members=true", "", `"num_members":4`},
			{"list_members", `{"channel":"C1"}`, "GET /api/conversations.members?channel=C1&limit=100", "", `"records":["U1",`},
			{"list_messages", `{"channel":"C1","oldest":"1761990000.000100"}`, "GET /api/conversations.history?channel=C1&oldest=1761990000.000100&limit=100", "", `"text":"Message 1"`},
			{"list_replies", `{"channel":"C1","ts":"1761990001.000100"}`, "GET /api/conversations.replies?channel=C1&ts=1761990001.000100&limit=100", "", `"thread_ts"`},
			{"search_messages", `{"query":"invoice in:#billing","sort":"timestamp"}`, "GET /api/search.messages?query=invoice in:%23billing&sort=timestamp&count=20", "", `"permalink"`},
			{"list_users", `{}`, "GET /api/users.list?limit=100", "", `"email":"ada@example.com"`},
			{"get_user", `{"user":"U1"}`, "GET /api/users.info?user=U1", "", `"title":"Engineer"`},
			{"search_users", `{"email":"ada@example.com"}`, "GET /api/users.lookupByEmail?email=ada@example.com", "", `"id":"U1"`},
			{"create_message", `{"channel":"C1","text":"Done: <https://x.y|z>","thread_ts":"1761990001.000100"}`, "POST /api/chat.postMessage", `{"channel":"C1","text":"Done: <https://x.y|z>","thread_ts":"1761990001.000100"}`, `"ts":"1761990009.000100"`},
			{"update_message", `{"channel":"C1","ts":"1761990009.000100","text":"Done"}`, "POST /api/chat.update", `{"channel":"C1","ts":"1761990009.000100","text":"Done"}`, `"text":"Done"`},
			{"create_reaction", `{"channel":"C1","timestamp":"1761990009.000100","name":"tada"}`, "POST /api/reactions.add", `{"channel":"C1","timestamp":"1761990009.000100","name":"tada"}`, `"ok":true`},
		},
		failures: map[string]refusal{
			"429":                 {kind: upstream.RateLimited, least: 30 * time.Second},
			"429 without body":    {kind: upstream.RateLimited, least: 30 * time.Second},
			"200 limited":         {kind: upstream.RateLimited, least: 12 * time.Second, says: "ratelimited"},
			"token_expired":       {kind: upstream.NeedsLogin, says: "token_expired"},
			"token_revoked":       {kind: upstream.NeedsLogin},
			"account_inactive":    {kind: upstream.NeedsLogin},
			"missing_scope":       {kind: upstream.Denied, says: "missing_scope"},
			"not_in_channel":      {kind: upstream.Denied},
			"channel_not_found":   {kind: upstream.NotFound, says: "channel_not_found"},
			"user_not_found":      {kind: upstream.NotFound},
			"thread_not_found":    {kind: upstream.NotFound},
			"invalid_cursor":      {kind: upstream.InvalidArguments},
			"invalid_arguments":   {kind: upstream.InvalidArguments, says: "missing required field: channel"},
			"msg_too_long":        {kind: upstream.InvalidArguments},
			"internal_error":      {kind: upstream.Unavailable, sent: true},
			"service_unavailable": {kind: upstream.Unavailable, sent: true},
			"fatal_error":         {kind: upstream.UpstreamError, sent: true},
			"something_new":       {plain: true, says: "something_new"},
			"outage":              {kind: upstream.Unavailable, sent: true},
		},
	}
}
