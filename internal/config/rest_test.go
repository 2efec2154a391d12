package config_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

// restBehaviour is [behaviour] for the keys of REST sources.
var restBehaviour = map[string]behaves{
	"upstream.*.connector":  {upstream(`kind = "rest"`, `connector = "zendesk"`), of(func(u config.Upstream) any { return u.REST.Connector }), "zendesk"},
	"upstream.*.definition": {upstream(`kind = "rest"`, `definition = "tickets.toml"`), of(func(u config.Upstream) any { return u.REST.Definition }), config.File{Path: "/etc/bulkhead/tickets.toml"}},
	"upstream.*.values": {upstream(`kind = "rest"`, `connector = "zendesk"`, `values = { subdomain = "acme" }`),
		of(func(u config.Upstream) any { return u.REST.Values }), map[string]string{"subdomain": "acme"}},
}

func TestRESTFaults(t *testing.T) {
	for doc, want := range map[string]string{
		upstream(`kind = "rest"`): "upstream.crm: says nowhere where the source is | add connector",
		upstream(`kind = "rest"`, `connector = "a"`, `definition = "b"`):                  "upstream.crm: connector and definition exclude each other",
		upstream(`kind = "rest"`, `connector = "a"`, `command = ["x"]`):                   `upstream.crm.command: does not belong to an upstream of kind "rest"`,
		upstream(`sandbox = "crm"`, `values = { a = "b" }`):                               `upstream.crm.values: does not belong to an upstream of kind "mcp"`,
		upstream(`kind = "rest"`, `connector = "a"`, `values = { a = 1 }`):                "upstream.crm.values.a: must be a string in quotes, not the number 1",
		upstream(`kind = "rest"`, `connector = "a"`, `values = "a"`):                      "upstream.crm.values: must be a table, not a string",
		upstream(`kind = "rest"`, `connector = "a"`, `values = { api_token = "s3cr3t" }`): "upstream.crm.values.api_token: looks like a secret",
		upstream(`kind = "rest"`, `connector = "a"`, `url = "http://crm.internal/"`):      "upstream.crm.url: plain http to another machine",
	} {
		_, err := parse(doc)
		faults, _ := errors.AsType[config.Faults](err)
		var all []string
		for _, f := range faults {
			all = append(all, f.Path+": "+f.Problem+" | "+f.Hint)
		}
		if !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("%s: %v lacks %s", doc, all, want)
		}
	}
}

// What a definition knows stands under what the operator writes, variables of the
// environment over both.
func TestPresets(t *testing.T) {
	r := config.Reader{Presets: func(base string, u map[string]any) (map[string]any, config.Faults) {
		if base != "/etc/bulkhead" || u["connector"] != "zendesk" {
			t.Errorf("asked for the presets of %v in %s", u, base)
		}
		return map[string]any{"kind": "rest", "url": "https://acme.example.com", "timeout": "30s", "limit": map[string]any{"rate": "200/1m", "concurrency": int64(5)}}, nil
	}}
	cfg, err := r.Parse([]byte(upstream(`connector = "zendesk"`, `limit.concurrency = 7`)), "/etc/bulkhead/config.toml",
		[]string{"BULKHEAD_UPSTREAM__CRM__TIMEOUT=9s", "BULKHEAD_UPSTREAM__CRM__VALUES__SUBDOMAIN=acme"})
	if err != nil {
		t.Fatal(err)
	}
	u := cfg.Upstreams[0]
	got := []any{u.Kind, u.URL, u.Timeout.String(), u.Limit.Concurrency, u.Limit.Rate.Count, u.REST.Values["subdomain"]}
	if diff := cmp.Diff([]any{"rest", "https://acme.example.com", "9s", 7, 200, "acme"}, got); diff != "" {
		t.Error(diff)
	}
}

// A fault whose cause is another is not told: what a faulty definition would have
// supplied is not missing, and of a kind that there is not nobody knows the keys.
func TestFaultsOfFaults(t *testing.T) {
	connector := `connector = "zendesk"`
	for text, want := range map[string][]string{
		upstream(connector, `auth = { client_id = "x", client_secret = { env = "X" } }`):             {"values.subdomain"},
		upstream(connector, `auth = { type = "client_credentials", client_id = "x" }`):               {"values.subdomain"},
		upstream(connector, `auth = { type = "bearer", client_id = "x", client_secret = "canary" }`): {"auth.client_id", "auth.client_secret", "auth.client_secret", "values.subdomain"},
		upstream(`kind = "sqll"`, `database = "sqlite:x.db"`, `statements.a.sql = "SELECT 1"`):       {"kind"},
	} {
		r := config.Reader{Presets: func(_ string, u map[string]any) (map[string]any, config.Faults) {
			if u["kind"] != nil {
				return nil, nil
			}
			return map[string]any{"kind": "rest"}, config.Faults{{Path: "values.subdomain", Problem: "does not look like one"}}
		}}
		_, err := r.Parse([]byte(text), "/etc/bulkhead/config.toml", nil)
		faults, ok := errors.AsType[config.Faults](err)
		if !ok {
			t.Fatalf("%s: %v", text, err)
		}
		var got []string
		for _, f := range faults {
			got = append(got, strings.TrimPrefix(f.Path, "upstream.crm."))
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s%v", text, diff, err)
		}
	}
}
