package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

// shownBy names the test that shows a key acting in the program: a function of
// this package, or a script.
var shownBy = map[string]string{
	"server.listen":            "port-taken.txtar",
	"server.metrics":           "TestMetrics",
	"server.names":             "TestNames",
	"server.deadline":          "TestDeadlines",
	"server.max_result":        "TestMaxResult",
	"server.page_size":         "TestPageSize",
	"server.list_budget":       "TestListBudget",
	"server.discovery":         "TestDiscovery",
	"server.pinned":            "TestDiscovery",
	"server.ask_timeout":       "TestAskTimeout",
	"server.list_wait":         "TestListWait",
	"server.hosts":             "TestHostAndOrigin",
	"server.origins":           "TestHostAndOrigin",
	"server.state":             "TestStateDirectory",
	"server.token_key":         "TestTokenKey",
	"server.log_level":         "TestLog",
	"server.log_format":        "TestLog",
	"server.drain":             "TestClientGoesAway",
	"server.cache_size":        "TestCache",
	"upstream.*.kind":          "kinds.txtar",
	"upstream.*.connector":     "TestRESTFaults",
	"upstream.*.definition":    "TestREST",
	"upstream.*.values":        "TestREST",
	"upstream.*.command":       "TestSurroundings",
	"upstream.*.url":           "TestAuth",
	"upstream.*.sandbox":       "TestEightSources",
	"upstream.*.latency":       "TestEightSources",
	"upstream.*.env":           "TestSurroundings",
	"upstream.*.dir":           "TestSurroundings",
	"upstream.*.allow_http":    "kinds.txtar",
	"upstream.*.documents":     "TestGraphQL",
	"upstream.*.schema_file":   "TestGraphQL",
	"upstream.*.prefix":        "TestNames",
	"upstream.*.era":           "TestEras",
	"upstream.*.timeout":       "TestDeadlines",
	"upstream.*.max_message":   "TestMaxMessage",
	"upstream.*.validate":      "TestValidate",
	"upstream.*.annotations":   "TestAnnotations",
	"upstream.*.ask":           "TestAsk",
	"upstream.*.required":      "TestRequired",
	"upstream.*.enabled":       "TestNames",
	"upstream.*.auth.type":     "TestAuth",
	"upstream.*.auth.token":    "TestAuth",
	"upstream.*.auth.header":   "TestAuth",
	"upstream.*.auth.value":    "TestAuth",
	"upstream.*.auth.user":     "TestAuth",
	"upstream.*.auth.password": "TestAuth",
	"upstream.*.tools.allow":   "TestNames",
	"upstream.*.tools.deny":    "TestNames",

	"server.public_url":         "TestUserTokens",
	"server.auth.type":          "TestClientsThatCannotSignIn",
	"server.auth.issuer":        "TestClientsSignIn",
	"server.auth.audience":      "TestWhichTokensAreTaken",
	"server.auth.scopes":        "TestWhichTokensAreTaken",
	"server.auth.subject":       "TestWhichTokensAreTaken",
	"server.auth.token_type":    "TestWhichTokensAreTaken",
	"server.auth.allow_hosts":   "TestWhichTokensAreTaken",
	"server.auth.users.*.token": "TestUserTokens",

	"upstream.*.auth.prefix":             "TestTokenRequests",
	"upstream.*.auth.token_url":          "TestTokenRequests",
	"upstream.*.auth.authorization_url":  "TestLogin",
	"upstream.*.auth.device_url":         "TestLoginAtACertifiedServer",
	"upstream.*.auth.revocation_url":     "TestLogin",
	"upstream.*.auth.api_url":            "TestTokenRequests",
	"upstream.*.auth.issuer":             "TestTokenRequests",
	"upstream.*.auth.client_id":          "TestTokenRequests",
	"upstream.*.auth.client_secret":      "TestTokenRequests",
	"upstream.*.auth.client_auth":        "TestTokenRequests",
	"upstream.*.auth.key":                "TestTokenRequests",
	"upstream.*.auth.key_id":             "TestTokenRequests",
	"upstream.*.auth.scopes":             "TestScopesPerCall",
	"upstream.*.auth.write_scopes":       "TestScopesPerCall",
	"upstream.*.auth.audience":           "TestTokenRequests",
	"upstream.*.auth.resource":           "TestTokenRequests",
	"upstream.*.auth.subject":            "TestTokenRequests",
	"upstream.*.auth.params":             "TestTokenRequests",
	"upstream.*.auth.token_request":      "TestTokenRequests",
	"upstream.*.auth.token_member":       "TestTokenInside",
	"upstream.*.auth.scope_claim":        "TestTokenRequests",
	"upstream.*.auth.lifetime":           "TestTokenLifetime",
	"upstream.*.auth.redirect_port":      "TestRedirectPort",
	"upstream.*.auth.account":            "TestTokenRequests",
	"upstream.*.auth.per":                "TestUsersConnectTheirOwnAccounts",
	"server.auth.client_id":              "TestUsersConnectTheirOwnAccounts",
	"server.auth.client_secret":          "TestUsersConnectTheirOwnAccounts",
	"upstream.*.auth.installation":       "TestTokenRequests",
	"upstream.*.auth.allow_hosts":        "TestLoginToAnMCPServer",
	"upstream.*.tools.override.*.scopes": "TestScopesPerCall",

	"upstream.*.document":   "TestOpenAPI",
	"upstream.*.operations": "TestOpenAPI",

	"upstream.*.limit.concurrency":   "TestQueues",
	"upstream.*.limit.queue":         "TestQueues",
	"upstream.*.limit.queue_wait":    "TestQueues",
	"upstream.*.limit.rate":          "TestRates",
	"upstream.*.limit.burst":         "TestRates",
	"upstream.*.limit.per":           "TestRates",
	"upstream.*.limit.class.*.tools": "TestClasses",
	"upstream.*.limit.class.*.rate":  "TestClasses",
	"upstream.*.limit.class.*.burst": "TestClasses",

	"upstream.*.retry.attempts":    "TestRetries",
	"upstream.*.breaker.failures":  "TestBreakers",
	"upstream.*.breaker.cool_down": "TestBreakers",
	"upstream.*.cache.ttl":         "TestCache",
	"upstream.*.cache.stale":       "TestStaleAnswers",
	"upstream.*.writes":            "TestWrites",
	"upstream.*.unannotated":       "TestWrites",
	"upstream.*.serialize_by":      "TestWrites",
	"upstream.*.trust_annotations": "TestTrustedAnnotations",

	"upstream.*.tools.override.*.cost":        "TestRates",
	"upstream.*.tools.override.*.hedge":       "TestHedge",
	"upstream.*.tools.override.*.requires":    "TestBatch",
	"upstream.*.tools.override.*.ttl":         "TestCache",
	"upstream.*.tools.override.*.jq":          "TestShaping",
	"upstream.*.tools.override.*.rows_at":     "TestShaping",
	"upstream.*.tools.override.*.fields":      "TestShaping",
	"upstream.*.tools.override.*.max_rows":    "TestShaping",
	"upstream.*.tools.override.*.max_bytes":   "TestShaping",
	"upstream.*.tools.override.*.read_only":   "TestAnnotations",
	"upstream.*.tools.override.*.destructive": "TestAnnotations",
	"upstream.*.tools.override.*.idempotent":  "TestAnnotations",
	"upstream.*.tools.override.*.open_world":  "TestAnnotations",

	"upstream.*.database":                       "TestPostgres",
	"upstream.*.query":                          "TestDatabase",
	"upstream.*.schema":                         "TestDatabase",
	"upstream.*.max_rows":                       "TestDatabase",
	"upstream.*.max_cell":                       "TestDatabase",
	"upstream.*.allow_privileged":               "TestPostgres",
	"upstream.*.statements.*.sql":               "TestDatabase",
	"upstream.*.statements.*.description":       "TestDatabase",
	"upstream.*.statements.*.write":             "TestDatabaseWrites",
	"upstream.*.statements.*.params.*.type":     "TestDatabase",
	"upstream.*.statements.*.params.*.required": "TestDatabase",
	"upstream.*.statements.*.params.*.default":  "TestDatabase",
	"upstream.*.statements.*.params.*.enum":     "TestDatabase",
	"upstream.*.statements.*.params.*.doc":      "TestDatabase",
}

// Every key acts, and a test of the whole program shows it.
func TestEveryKeyIsShown(t *testing.T) {
	var sources strings.Builder
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources.Write(text)
	}
	keys := config.Keys()
	for _, key := range keys {
		test := shownBy[key]
		if test == "" {
			t.Errorf("no test shows %s acting: write one and name it here", key)
			continue
		}
		_, err := os.Stat(filepath.Join("testdata", test))
		if err != nil && !strings.Contains(sources.String(), "func "+test+"(t *testing.T) {") {
			t.Errorf("%s: there is no %s", key, test)
		}
	}
	for key := range shownBy {
		if !slices.Contains(keys, key) {
			t.Errorf("%s is no key", key)
		}
	}
}
