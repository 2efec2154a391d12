package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

const overridable = `
[server]
listen = "127.0.0.1:1"
[upstream.my-crm]
url = "https://example.com/mcp"
auth = { type = "bearer", token = { file = "/t" } }
[upstream.files]
command = ["x"]
env = { A = "1", B = "2" }
[upstream.files__x]
sandbox = "crm"
`

func TestOverrides(t *testing.T) {
	cfg := mustParse(t, overridable,
		"BULKHEAD_CONFIG=/elsewhere", "BULKHEAD_SANDBOX_SECRET=x", "BULKHEADING=1", "PATH=/bin", "=C:=odd",
		"BULKHEAD_SERVER__LISTEN=nonsense", "BULKHEAD_SERVER__LISTEN=127.0.0.1:9000",
		"BULKHEAD_SERVER__HOSTS=a.example, b.example",
		"BULKHEAD_SERVER__DEADLINE=3s",
		"BULKHEAD_SERVER__MAX_RESULT=2KiB",
		"BULKHEAD_SERVER__PAGE_SIZE=50",
		"BULKHEAD_UPSTREAM__MY_CRM__REQUIRED=true",
		"BULKHEAD_UPSTREAM__MY_CRM__TOOLS__OVERRIDE__get__One__READ_ONLY=false",
		"BULKHEAD_UPSTREAM__MY_CRM__PREFIX=",
		"BULKHEAD_UPSTREAM__MY_CRM__AUTH__TOKEN__ENV=OTHER",
		"BULKHEAD_UPSTREAM__MY_CRM__TOOLS__DENY=",
		"BULKHEAD_UPSTREAM__FILES__COMMAND=npx,-y,server",
		"BULKHEAD_UPSTREAM__FILES__ENV__A=3",
		"BULKHEAD_UPSTREAM__FILES__ENV__LOG__LEVEL=debug",
		"BULKHEAD_UPSTREAM__FILES__ENV__API_KEY__COMMAND=pass,show",
		"BULKHEAD_UPSTREAM__FILES__X__LATENCY=5s",
	)
	if s := cfg.Server; s.Listen != "127.0.0.1:9000" || s.Deadline.Limit != 3*time.Second || s.MaxResult != 2048 ||
		!cmp.Equal(s.Hosts, []string{"a.example", "b.example"}) {
		t.Errorf("%+v", s)
	}
	files, x, crm := cfg.Upstreams[0], cfg.Upstreams[1], cfg.Upstreams[2]
	want := map[string]config.EnvValue{"A": {Literal: "3"}, "B": {Literal: "2"}, "LOG__LEVEL": {Literal: "debug"},
		"API_KEY": {Ref: &config.Ref{Command: []string{"pass", "show"}}}}
	if diff := cmp.Diff(want, files.Env); diff != "" {
		t.Error(diff)
	}
	if !cmp.Equal(files.Command, []string{"npx", "-y", "server"}) || x.Latency != 5*time.Second {
		t.Errorf("%+v\n%+v", files, x)
	}
	if !crm.Required || crm.Prefix == nil || *crm.Prefix != "" || !cmp.Equal(crm.Auth.Token, &config.Ref{Env: "OTHER"}) || len(crm.Tools.Deny) != 0 {
		t.Errorf("%+v", crm)
	}
	if diff := cmp.Diff(said("get__One", config.Hints{ReadOnly: new(false)}), crm.Tools.Override); diff != "" || cfg.Server.PageSize != 50 {
		t.Error(diff, cfg.Server.PageSize)
	}
}

func TestOverrideFaults(t *testing.T) {
	for variable, want := range map[string]string{
		"BULKHEAD_LISTEN=x":                                           "BULKHEAD_LISTEN: this environment variable names no setting",
		"BULKHEAD_=x":                                                 "BULKHEAD_: this environment variable names no setting",
		"BULKHEAD_SERVER__LISTN=x":                                    "did you mean BULKHEAD_SERVER__LISTEN?",
		"BULKHEAD_SERVER__listen=x":                                   "names no setting",
		"BULKHEAD_SERVER_LISTEN=x":                                    "did you mean BULKHEAD_SERVER__LISTEN?",
		"BULKHEAD_UPSTREAM__CRN__URL=x":                               "names no upstream that is in the file",
		"BULKHEAD_UPSTREAM__FILES__ENV=x":                             "names no setting",
		"BULKHEAD_UPSTREAM__FILES__ENV__=x":                           "names no setting",
		"BULKHEAD_UPSTREAM__FILES__TIMEOUT__X=x":                      "names no setting",
		"BULKHEAD_UPSTREAM__FILES__TIMEOUT__=x":                       "names no setting",
		"BULKHEAD_SERVER__PAGE_SIZE=all":                              "server.page_size: must be a whole number without quotes, not a string, set by the environment variable BULKHEAD_SERVER__PAGE_SIZE",
		"BULKHEAD_UPSTREAM__FILES__TOOLS__OVERRIDE__READ_ONLY=true":   "names no setting",
		"BULKHEAD_UPSTREAM__FILES__TOOLS__OVERRIDE__x__READONLY=true": "did you mean BULKHEAD_UPSTREAM__FILES__TOOLS__OVERRIDE__TOOL__READ_ONLY?",
		"BULKHEAD_UPSTREAM__FILES__OVERRIDE__x__READ_ONLY=true":       "names no setting",
		"BULKHEAD_UPSTREAM__FILES__TOOLS__OVERRIDE__x__READ_ONLY=yes": "upstream.files.tools.override.x.read_only: must be true or false",
		"BULKHEAD_UPSTREAM__FILES__TIMEOUT=soon":                      `upstream.files.timeout: "soon" is no duration: numbers with a unit of ms, s, m or h, set by the environment variable BULKHEAD_UPSTREAM__FILES__TIMEOUT`,
		"BULKHEAD_UPSTREAM__FILES__REQUIRED=yes":                      "upstream.files.required: must be true or false",
		"BULKHEAD_UPSTREAM__FILES__COMMAND=":                          "upstream.files.command: names no program, set by",
		"BULKHEAD_UPSTREAM__FILES__COMMAND=x,--token=abcd":            "upstream.files.command[1]: looks like a secret, which must not stand in the configuration and would show in the list of processes, set by",
		"BULKHEAD_UPSTREAM__MY_CRM__AUTH__TOKEN=hunter2":              "upstream.my-crm.auth.token: a secret must not stand in the configuration, set by the environment variable BULKHEAD_UPSTREAM__MY_CRM__AUTH__TOKEN",
		"BULKHEAD_UPSTREAM__FILES__ENV__API_KEY=hunter2":              "upstream.files.env.API_KEY: looks like a secret",
	} {
		faults := faultsOf(t, overridable, variable)
		if text := faults.Error(); len(faults) != 1 || !strings.Contains(text, want) || strings.Contains(text, "hunter2") {
			t.Errorf("%s gave\n%s\nwant\n%s", variable, text, want)
		}
	}
}

func TestOverrideAmbiguities(t *testing.T) {
	faults := faultsOf(t, "[upstream.a-b]\nsandbox='crm'\n[upstream.a_b]\nsandbox='crm'", "BULKHEAD_UPSTREAM__A_B__LATENCY=1s")
	if !strings.Contains(faults.Error(), "means both upstream a-b and a_b") {
		t.Error(faults)
	}
	faults = faultsOf(t, overridable, "BULKHEAD_UPSTREAM__MY_CRM__AUTH__TOKEN__ENV=A", "BULKHEAD_UPSTREAM__MY_CRM__AUTH__TOKEN=B")
	if !strings.Contains(faults.Error(), "contradicts another variable") {
		t.Error(faults)
	}
}
