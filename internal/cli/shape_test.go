package cli

import (
	"strings"
	"testing"
)

// A program is compiled when the configuration is read, with what is wrong named
// by its key.
func TestJQOfTheConfiguration(t *testing.T) {
	const head = "[upstream.crm]\nsandbox = 'crm'\ntools.override.get.jq = "
	for program, want := range map[string]string{
		`'.items | map('`: "upstream.crm.tools.override.get.jq: is no jq program: unexpected EOF",
		`'nosuch(1)'`:     "upstream.crm.tools.override.get.jq: is no jq program: function not defined: nosuch/1",
		`'$ENV.HOME'`:     "upstream.crm.tools.override.get.jq: uses $ENV: the environment is not handed over",
		`'.items'`:        "",
	} {
		cfg, err := reader().Parse([]byte(head+program+"\n"), "config.toml", nil)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", program, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if made, err := shapes(cfg.Upstreams[0]); err != nil || made["get"] == nil {
			t.Errorf("%v, %v", made, err)
		}
	}
}
