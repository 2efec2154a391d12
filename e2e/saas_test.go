package e2e_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
)

// serveVendor starts a vendor's stand-in; whatever it did not understand fails the
// test.
func serveVendor(t *testing.T, v *vendors.Server) (url string) {
	t.Helper()
	s := httptest.NewServer(v)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		for _, c := range v.Complaints() {
			t.Errorf("the vendor does not know this: %s", c)
		}
	})
	return s.URL
}

// otherwise are answers of vendors of another form than they document, and what is
// told of them.
var otherwise = map[string][]string{
	"linear": {`{"data":{"issues":{"nodes":[{"id":"1","identifier":7}],"pageInfo":{"hasNextPage":false}}}}`,
		"list_issues records[].identifier is a number, not a string", "list_issues records[].title is gone"},
	"shopify": {`{"data":{"orders":{"nodes":[{"id":"gid://shopify/Order/1","tags":"vip"}],"pageInfo":{"hasNextPage":false}}}}`,
		"list_orders records[].tags is a string, not an array", "list_orders records[].name is gone"},
	"github": {`[{"number":"1"}]`, "list_issues records[].number is a string, not a number", "list_issues records[].title is gone"},
}

// A connector, a few values and a credential are a whole upstream: it signs in as
// the vendor wants it, reads, is held up by the vendor's limits, and changes
// something where that is allowed.
func TestConnectors(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := keyFile(t, key)
	const at, client = "VENDOR", "client_id = '" + vendors.ID + "', client_secret = { env = 'SECRET' }"
	for name, c := range map[string]struct {
		start     func() *vendors.Server
		config    []string
		auth      string // the members of auth
		tool      string
		args      map[string]any
		says      string
		limit     string // the failure that is a limit
		wait      time.Duration
		write     string
		writeArgs map[string]any
	}{
		"github": {vendors.GitHub, []string{"url = '" + at + "'"}, "type = 'github_app', api_url = '" + at + "', client_id = '" + vendors.App + "', installation = 42, key = { file = '" + file + "' }",
			"list_issues", map[string]any{"owner": "acme", "repo": "shop", "limit": 2}, `"title":"Issue 2"`, "secondary 403", time.Minute,
			"create_comment", map[string]any{"owner": "acme", "repo": "shop", "number": 2, "body": "On it"}},
		"stripe": {vendors.Stripe, []string{"url = '" + at + "'"}, "type = 'bearer', token = { env = 'TOKEN' }",
			"list_invoices", map[string]any{"status": "open"}, `"total":4200`, "resource specific", 9 * time.Second,
			"create_refund", map[string]any{"payment_intent": "pi_1"}},
		"slack": {vendors.Slack, []string{"url = '" + at + "/api'"}, "token = { env = 'TOKEN' }",
			"list_messages", map[string]any{"channel": "C1"}, `"text":"Message 7"`, "200 limited", 12 * time.Second,
			"create_message", map[string]any{"channel": "C1", "text": "Done"}},
		"jira": {vendors.Jira, []string{"url = '" + at + "/ex/jira/" + vendors.CloudID + "'", "values.cloud_id = '" + vendors.CloudID + "'"}, "user = '" + vendors.Mail + "', password = { env = 'TOKEN' }",
			"search_issues", map[string]any{"jql": "project = SHOP"}, `"key":"SHOP-7"`, "hour", 847 * time.Second,
			"create_issue", map[string]any{"project": "SHOP", "type": "Bug", "summary": "It fails"}},
		"notion": {vendors.Notion, []string{"url = '" + at + "'"}, "token = { env = 'TOKEN' }",
			"get_page_content", map[string]any{"page": "id-1"}, `# Plan`, "workspace", 130 * time.Second,
			"create_page", map[string]any{"parent_page": "id-1", "markdown": "# Plan"}},
		"linear": {vendors.Linear, []string{"url = '" + at + "'"}, "type = 'client_credentials', token_url = '" + at + "/oauth/token', " + client,
			"list_issues", map[string]any{"limit": 3}, `"identifier":"ENG-3"`, "requests", 60 * time.Second,
			"create_comment", map[string]any{"issue": "ENG-1", "body": "On it"}},
		"shopify": {vendors.Shopify, []string{"url = '" + at + "/admin/api/2026-10'", "values.shop = 'acme'"}, "token_url = '" + at + "/admin/oauth/access_token', " + client,
			"list_orders", map[string]any{"limit": 3}, `"name":"#1003"`, "too many", 2 * time.Second,
			"update_order", map[string]any{"order": "gid://shopify/Order/2", "note": "fine"}},
		"bigquery": {vendors.BigQuery, []string{"url = '" + at + "/bigquery/v2/projects/" + vendors.Project + "'", "values.project = '" + vendors.Project + "'"},
			"token_url = '" + at + "/token', issuer = 'bulkhead@acme-warehouse.iam.gserviceaccount.com', key = { file = '" + file + "' }",
			"query_rows", map[string]any{"sql": "SELECT 1", "max_rows": 2}, `9007199254740992`, "quota", 0,
			"update_rows", map[string]any{"sql": "DELETE FROM crm.accounts WHERE id = 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := c.start()
			url := serveVendor(t, v)
			lines := append(slices.Clone(c.config), "connector = '"+name+"'", "auth = { "+c.auth+" }", "retry.attempts = 1")
			config := strings.ReplaceAll(upstreamTable("shut", lines...)+upstreamTable("open", append(lines, "writes = 'serial'")...), at, url)
			p := start(t, config, []string{"TOKEN=" + vendors.Token, "SECRET=" + vendors.Secret})
			cl := p.stdio(false)
			cl.ready()
			if r := cl.mustCall("shut_"+c.tool, c.args); r.IsError || !strings.Contains(string(r.Structured), c.says) {
				t.Fatalf("%s: %s", c.tool, r.text())
			}
			if changed, ok := otherwise[name]; ok {
				v.Plan(vendors.Answer{Body: changed[0]})
				cl.tells("shut", c.tool, c.args, changed[1:]...)
			}
			if slices.Contains(cl.tools(), "shut_"+c.write) {
				t.Errorf("%s is offered though it writes", c.write)
			}
			if r := cl.mustCall("open_"+c.write, c.writeArgs); r.IsError || v.Writes() != 1 {
				t.Errorf("%s: %s, %d writes", c.write, r.text(), v.Writes())
			}
			v.Fail(c.limit)
			r := cl.mustCall("shut_"+c.tool, c.args)
			if r.Meta.Error.Code != "rate_limited" {
				t.Errorf("over the limit: %s", r.text())
			}
			asked := len(v.Requests())
			if c.wait > 30*time.Second { // longer than a call may take, so that it is refused at once
				if r = cl.mustCall("shut_"+c.tool, c.args); r.Meta.Error.Code != "rate_limited" || len(v.Requests()) != asked {
					t.Errorf("again within the wait of %s: %s, asked %d times", c.wait, r.text(), len(v.Requests())-asked)
				}
			}
			for _, secret := range []string{vendors.Token, vendors.Secret} {
				if strings.Contains(p.log.String(), secret) {
					t.Error("a secret is in the log")
				}
			}
		})
	}
}

// A person signs in to Notion, which takes JSON, to Slack, which has users' tokens
// in a place of its own, and to GitHub, where a token need not end.
func TestTokenInside(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		start  func() *vendors.Server
		path   string
		auth   []string
		tool   string
		member string // of the token request
		args   map[string]any
	}{
		"slack": {vendors.Slack, "/api", []string{"authorization_url = 'VENDOR/oauth/v2/authorize'", "token_url = 'VENDOR/api/oauth.v2.access'", "token_member = 'authed_user'",
			"params = { user_scope = 'search:read' }", "scopes = []", "write_scopes = []"}, "list_users", "user_scope", nil},
		"github": {vendors.GitHubOAuthApp, "", []string{"authorization_url = 'VENDOR/login/oauth/authorize'", "token_url = 'VENDOR/login/oauth/access_token'", "lifetime = '1s'", "scopes = ['repo', 'read:org']"}, "search_code", "client_secret", map[string]any{"q": "x"}},
		"notion": {vendors.Notion, "", []string{"authorization_url = 'VENDOR/v1/oauth/authorize'", "token_url = 'VENDOR/v1/oauth/token'"}, "list_users", "code", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := shortHome(t)
			v := c.start()
			url := serveVendor(t, v)
			table := upstreamTable(name, "connector = '"+name+"'", "url = 'VENDOR"+c.path+"'") + "[upstream." + name + ".auth]\ntype = 'authorization_code'\nclient_id = " + strconv.Quote(vendors.ID) +
				"\nclient_secret = { env = 'SECRET' }\n" + strings.Join(c.auth, "\n") + "\n"
			config := strings.ReplaceAll(table, "VENDOR", url)
			browser := browserIn(t, home)
			p := startIn(t, home, config, []string{"SECRET=" + vendors.Secret})
			cl := p.stdio(false)
			cl.ready()
			out, errs, code := command(t, home, []string{browser, "SECRET=" + vendors.Secret}, "login", name)
			if code != 0 || !strings.Contains(out, name+": signed in") {
				t.Fatalf("%d %s %s", code, out, errs)
			}
			if asked := v.Tokens.Asked(); len(asked) != 1 || !asked[0].Has(c.member) {
				t.Errorf("it asked for a token with %v", asked)
			}
			if !eventually(func() bool { r, err := cl.call(name+"_"+c.tool, c.args); return err == nil && !r.IsError }) {
				t.Errorf("%s does not work after the sign-in", c.tool)
			}
			if name == "github" {
				time.Sleep(1200 * time.Millisecond) // its lifetime is for those that can be renewed
				if r := cl.mustCall(name+"_"+c.tool, c.args); r.IsError {
					t.Errorf("a token that does not end: %s", r.text())
				}
				return
			}
			v.Tokens.Expire() // which Slack says in a 200
			if r := cl.mustCall(name+"_"+c.tool, c.args); r.IsError || len(v.Tokens.Asked()) != 2 {
				t.Errorf("with a token that has ended: %s, %d requests for tokens", r.text(), len(v.Tokens.Asked()))
			}
		})
	}
}
