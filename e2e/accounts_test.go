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
	"runtime"
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
	}{
		"zendesk": {zendesk, zendesk.EndAll,
			[]string{"url = '" + at + "'", "values = { subdomain = 'acme' }", "auth = { token_url = '" + at + "/oauth/tokens', " + client + " }"},
			"search_tickets", map[string]any{"query": "status<solved", "limit": 2}, `"requester_id":9007199254740993`, 3,
			vendors.Answer{Status: 429, Header: map[string]string{"Retry-After": "93", "Content-Type": "text/plain"}, Body: "Number of allowed API requests per minute exceeded"},
			"create_ticket", map[string]any{"subject": "Smoke", "comment": "Much."}, `"subject":"Smoke"`},
		"hubspot": {hubspot, func() {},
			[]string{"url = '" + at + "'", "auth = { type = 'bearer', token = { env = 'TOKEN' } }"},
			"search_deals", map[string]any{"query": "deals", "limit": 2}, `"amount":"12345678901234567.89"`, 3,
			vendors.Answer{Status: 429, Body: `{"status":"error","message":"You have reached your secondly limit.","errorType":"RATE_LIMIT","policyName":"SECONDLY"}`},
			"create_contact", map[string]any{"properties": map[string]any{"email": "new@example.com"}}, `"id":"505"`},
		"salesforce": {salesforce, salesforce.EndAll,
			[]string{"url = '" + at + "/services/data/v67.0'", "values = { domain = 'acme' }", "auth = { token_url = '" + at + "/services/oauth2/token', " + client + " }"},
			"query_records", map[string]any{"soql": "SELECT Id, Name FROM Account"}, `"total":250`, 2,
			vendors.Answer{Status: 403, Body: `[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]`},
			"create_record", map[string]any{"object": "Account", "record": map[string]any{"Name": "New"}}, `"success":true`},
		"snowflake": {snowflake, func() {},
			[]string{"url = '" + at + "'", "values = { account = 'myorg-myaccount' }", "auth = { user = 'reader', key = { file = '" + file + "' } }"},
			"list_tables", map[string]any{"schema_like": "PUBLIC"}, `["1","90071992547409931",null]`, 1,
			vendors.Answer{Status: 429},
			"query_data", map[string]any{"statement": "SELECT 1"}, `"statementHandle":"019c06a4`},
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
			if n := turned(t, cl, "shut_"+c.tool, c.args); n != c.pages {
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

// turned reads a list to its end and returns how many pages it has.
func turned(t *testing.T, cl *client, tool string, args map[string]any) int {
	t.Helper()
	for n, cursor := 1, ""; ; n++ {
		own := maps.Clone(args)
		if cursor != "" {
			own["cursor"] = cursor
		}
		r := cl.mustCall(tool, own)
		var page struct {
			Next string `json:"next_cursor"`
		}
		if err := json.Unmarshal(r.Structured, &page); err != nil || r.IsError {
			t.Fatalf("page %d: %v %s", n, err, r.text())
		}
		if cursor = page.Next; cursor == "" || n == 10 {
			return n
		}
	}
}

// Where an organization of Salesforce is, its sign-in says; nothing is sent to
// an address that is not Salesforce's.
func TestAddressFromToken(t *testing.T) {
	t.Parallel()
	app := vendors.Client{ID: "bulkhead-app", Secret: "the-apps-own-s3cret"}
	ask := func(t *testing.T, v *vendors.Salesforce, definition string, env ...string) {
		t.Helper()
		s := httptest.NewServer(v)
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		config := upstreamTable("sf", definition, "retry.attempts = 1", "values = { domain = 'acme' }",
			"auth = { type = 'client_credentials', token_url = '"+s.URL+"/services/oauth2/token', client_id = '"+app.ID+"', client_secret = { env = 'SECRET' } }")
		cl := start(t, config, append(env, "SECRET="+app.Secret)).stdio(false)
		cl.ready()
		r := cl.mustCall("sf_query_records", map[string]any{"soql": "SELECT Id FROM Account"})
		code, records, asked := "denied", "", 0
		if len(env) > 0 {
			code, records, asked = "", `"total":5`, 1
		}
		if r.Meta.Error.Code != code || !strings.Contains(string(r.Structured), records) || len(v.Requests()) != asked || v.Granted("client_credentials") != 1 {
			t.Errorf("%s, asked %d times, %d tokens", r.text(), len(v.Requests()), v.Granted("client_credentials"))
		}
	}
	t.Run("elsewhere", func(t *testing.T) {
		t.Parallel()
		ask(t, vendors.NewSalesforce(vendors.SalesforceOptions{Client: app}), "connector = 'salesforce'")
	})
	t.Run("there", func(t *testing.T) {
		t.Parallel()
		v := vendors.NewSalesforce(vendors.SalesforceOptions{Client: app, Instance: "https://127.0.0.1"})
		root := serveHTTPS(t, v)
		text, err := os.ReadFile(filepath.FromSlash("../upstream/rest/connectors/salesforce.toml"))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "salesforce.toml")
		ours := strings.Replace(string(text), `suffixes = [".salesforce.com"]`, `suffixes = ["127.0.0.1"]`, 1)
		if err := os.WriteFile(file, []byte(ours), 0o600); err != nil {
			t.Fatal(err)
		}
		ask(t, v, "kind = 'rest'\ndefinition = '"+file+"'", "SSL_CERT_FILE="+root)
	})
}

// serveHTTPS serves at https://127.0.0.1, at its usual port as that is the only
// one that a token response may name, and returns the file with its certificate.
func serveHTTPS(t *testing.T, h http.Handler) (root string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the program takes no certificates from its environment here")
	}
	l, err := net.Listen("tcp", "127.0.0.1:443")
	if err != nil {
		t.Skip("the usual port of https cannot be had: ", err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h, ReadHeaderTimeout: patience}}
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	root = filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return root
}
