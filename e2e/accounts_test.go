package e2e_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
)

// accountAt is a stand-in for an account at a vendor.
type accountAt interface {
	http.Handler
	Plan(...vendors.Answer)
	Requests() []vendors.Request
}

// A connector and a few values are a whole upstream: it signs in by the vendor's
// own rules and again when a token has ended, reads, changes something where that
// is allowed, and leaves the vendor alone when it is told to.
func TestAccounts(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := keyFile(t, key)
	app := vendors.Client{ID: "bulkhead-app", Secret: "the-apps-own-s3cret"}
	zendesk := vendors.NewZendesk(vendors.ZendeskOptions{Client: app})
	hubspot := vendors.NewHubSpot(vendors.HubSpotOptions{Static: "pat-na1-s3cret"})
	salesforce := vendors.NewSalesforce(vendors.SalesforceOptions{Client: app, Accounts: 250})
	snowflake := vendors.NewSnowflake(vendors.SnowflakeOptions{Account: "MYORG-MYACCOUNT", User: "READER", Key: &key.PublicKey})
	const at, client = "VENDOR", "client_id = 'bulkhead-app', client_secret = { env = 'SECRET' }"
	for name, c := range map[string]struct {
		account   accountAt
		end       func() // all tokens, as if their time were over
		config    []string
		tool      string
		args      map[string]any
		says      string
		pages     int
		limit     vendors.Answer
		write     string
		writeArgs map[string]any
		wrote     string
		changed   string // an answer of another form, and what is told of it
		told      []string
	}{
		"zendesk": {zendesk, zendesk.EndAll,
			[]string{"url = '" + at + "'", "values = { subdomain = 'acme' }", "auth = { token_url = '" + at + "/oauth/tokens', " + client + " }"},
			"search_tickets", map[string]any{"query": "status<solved", "limit": 2}, `"requester_id":9007199254740993`, 3,
			vendors.Answer{Status: 429, Header: map[string]string{"Retry-After": "93", "Content-Type": "text/plain"}, Body: "Number of allowed API requests per minute exceeded"},
			"create_ticket", map[string]any{"subject": "Smoke", "comment": "Much."}, `"subject":"Smoke"`,
			`{"results":[{"id":"T-7"}],"meta":{"has_more":false}}`, []string{"search_tickets records[].id is a string, not a number", "search_tickets records[].subject is gone"}},
		"hubspot": {hubspot, func() {},
			[]string{"url = '" + at + "'", "auth = { type = 'bearer', token = { env = 'TOKEN' } }"},
			"search_deals", map[string]any{"query": "deals", "limit": 4}, `"amount":"12345678901234567.89"`, 2,
			vendors.Answer{Status: 429, Body: `{"status":"error","message":"You have reached your secondly limit.","errorType":"RATE_LIMIT","policyName":"SECONDLY"}`},
			"create_contact", map[string]any{"properties": map[string]any{"email": "new@example.com"}}, `"id":"505"`,
			`{"total":1,"results":[{"id":7,"properties":{}}]}`, []string{"search_deals records[].id is a number, not a string", "search_deals records[].createdAt is gone"}},
		"salesforce": {salesforce, salesforce.EndAll,
			[]string{"url = '" + at + "/services/data/v67.0'", "values = { domain = 'acme' }", "auth = { token_url = '" + at + "/services/oauth2/token', " + client + " }"},
			"query_records", map[string]any{"soql": "SELECT Id, Name FROM Account"}, `"total":250`, 2,
			vendors.Answer{Status: 403, Body: `[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]`},
			"create_record", map[string]any{"object": "Account", "record": map[string]any{"Name": "New"}}, `"success":true`,
			`{"totalSize":1,"done":true,"records":[{"attributes":"Account"}]}`, []string{"query_records records[].attributes is a string, not an object"}},
		"snowflake": {snowflake, func() {},
			[]string{"url = '" + at + "'", "values = { account = 'myorg-myaccount' }", "auth = { user = 'reader', key = { file = '" + file + "' } }"},
			"list_tables", map[string]any{"schema_like": "PUBLIC"}, `["1","90071992547409931",null]`, 1,
			vendors.Answer{Status: 429},
			"query_data", map[string]any{"statement": "SELECT 1"}, `"statementHandle":"019c06a4`,
			`{"data":[["1",2]]}`, []string{"list_tables records[][] is a number, not a string or null"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(c.account)
			t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
			lines := append(slices.Clone(c.config), "connector = '"+name+"'", "retry.attempts = 1")
			config := strings.ReplaceAll(upstreamTable("shut", lines...)+upstreamTable("open", append(lines, "writes = 'serial'")...), at, s.URL)
			p := start(t, config, []string{"TOKEN=pat-na1-s3cret", "SECRET=" + app.Secret})
			cl := p.stdio(false)
			cl.ready()
			for _, when := range []string{"first", "after the token has ended"} {
				if r := cl.mustCall("shut_"+c.tool, c.args); r.IsError || !strings.Contains(string(r.Structured), c.says) {
					t.Fatalf("%s, %s: %s", c.tool, when, r.text())
				}
				c.end()
			}
			c.account.Plan(vendors.Answer{Body: c.changed})
			cl.tells("shut", c.tool, c.args, c.told...)
			if n := cl.turns("shut_"+c.tool, c.args); n != c.pages {
				t.Errorf("%s has %d pages, want %d", c.tool, n, c.pages)
			}
			if slices.Contains(cl.tools(), "shut_"+c.write) {
				t.Errorf("%s is offered though it writes", c.write)
			}
			if r := cl.mustCall("open_"+c.write, c.writeArgs); r.IsError || !strings.Contains(string(r.Structured), c.wrote) {
				t.Errorf("%s: %s", c.write, r.text())
			}
			c.account.Plan(c.limit)
			if r := cl.mustCall("shut_"+c.tool, c.args); r.Meta.Error.Code != "rate_limited" {
				t.Errorf("over the limit: %s", r.text())
			}
			if asked := len(c.account.Requests()); c.limit.Header["Retry-After"] != "" {
				if r := cl.mustCall("shut_"+c.tool, c.args); r.Meta.Error.Code != "rate_limited" || len(c.account.Requests()) != asked {
					t.Errorf("while it is to be left alone: %s, asked %d times", r.text(), len(c.account.Requests())-asked)
				}
			}
			for _, secret := range []string{"pat-na1-s3cret", app.Secret} {
				if strings.Contains(p.log.String(), secret) {
					t.Error("a secret is in the log")
				}
			}
		})
	}
}

// turns reads a list to its end and returns how many pages it has.
func (c *client) turns(tool string, args map[string]any) int {
	c.t.Helper()
	args = maps.Clone(args)
	for n := 1; ; n++ {
		r := c.mustCall(tool, args)
		var page struct {
			Next string `json:"next_cursor"`
		}
		if err := json.Unmarshal(r.Structured, &page); err != nil || r.IsError {
			c.t.Fatalf("page %d of %s: %v %s", n, tool, err, r.text())
		}
		if args["cursor"] = page.Next; page.Next == "" || n == 10 {
			return n
		}
	}
}

// tells calls a tool whose vendor has changed its answers: it answers all the same,
// and the source says of itself what is different.
func (c *client) tells(source, tool string, args map[string]any, want ...string) {
	c.t.Helper()
	if r := c.mustCall(source+"_"+tool, args); r.IsError || !strings.Contains(string(r.Structured), `"count":1`) {
		c.t.Errorf("%s with a changed answer: %s", tool, r.text())
	}
	var st struct {
		Sources []struct {
			Name  string
			Drift []struct{ Tool, Field, Problem string }
		}
	}
	if err := json.Unmarshal(c.mustCall("bulkhead_sources", nil).Structured, &st); err != nil {
		c.t.Fatal(err)
	}
	var told []string
	for _, s := range st.Sources {
		for _, d := range s.Drift {
			if s.Name == source {
				told = append(told, d.Tool+" "+d.Field+" "+d.Problem)
			}
		}
	}
	for _, w := range want {
		if !slices.Contains(told, w) {
			c.t.Errorf("it tells %q, want %q", told, w)
		}
	}
	if len(want) == 0 && len(told) > 0 {
		c.t.Errorf("it tells %q of what is as documented", told)
	}
}

// organization is a Salesforce organization that is where only the answer with the
// token says, over TLS and at a port of its own, and a Bulkhead before it whose
// connector allows hosts with a suffix.
func organization(t *testing.T, suffix string) (*vendors.Salesforce, *client) {
	t.Helper()
	text, err := os.ReadFile("../upstream/rest/connectors/salesforce.toml")
	if err != nil {
		t.Fatal(err)
	}
	const theirs = `suffixes = [".salesforce.com"]`
	if !strings.Contains(string(text), theirs) {
		t.Fatalf("the connector has no %s", theirs)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	org := vendors.NewSalesforce(vendors.SalesforceOptions{Client: vendors.Client{ID: "app", Secret: "the-apps-own-s3cret"}, Accounts: 250, Instance: "https://" + l.Addr().String()})
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: org}} //nolint:gosec // of a test
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	home := t.TempDir()
	writeFile(t, strings.Replace(string(text), theirs, `suffixes = ["`+suffix+`"]`, 1), home, "salesforce.toml")
	writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})), home, "roots.pem")
	p := startIn(t, home, upstreamTable("sf", "kind = 'rest'", "definition = 'salesforce.toml'", "values = { domain = 'acme' }", "retry.attempts = 1",
		"auth = { token_url = 'https://"+l.Addr().String()+"/services/oauth2/token', client_id = 'app', client_secret = { env = 'SECRET' } }"),
		[]string{"SECRET=the-apps-own-s3cret", "SSL_CERT_FILE=" + filepath.Join(home, "roots.pem")})
	c := p.stdio(false)
	c.ready()
	return org, c
}

// An address of a token response that is not the connector's, or at a port of its
// own, gets no request.
func TestAddressThatIsNotAllowed(t *testing.T) {
	t.Parallel()
	for suffix, want := range map[string]string{".salesforce.com": "denied", ".0.0.1": "unavailable"} {
		t.Run(suffix, func(t *testing.T) {
			t.Parallel()
			org, c := organization(t, suffix)
			r := c.mustCall("sf_query_records", map[string]any{"soql": "SELECT Id FROM Account"})
			if r.Meta.Error.Code != want || len(org.Requests()) != 0 || org.Granted("client_credentials") != 1 {
				t.Errorf("%s, %d requests, %d tokens", r.text(), len(org.Requests()), org.Granted("client_credentials"))
			}
		})
	}
}
