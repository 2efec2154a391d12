package cli

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest/connectors"
)

// TestConnectorExamples: each connector has an example, which is a whole upstream.
func TestConnectorExamples(t *testing.T) {
	for _, name := range connectors.Names() {
		cfg, err := config.Reader{Presets: presets}.Load(filepath.Join("..", "..", "examples", name+".toml"), []string{"HOME=/home/u"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, u := range cfg.Upstreams {
			members, _, err := fromToken(u)
			if u.REST.Connector != name || (u.URL == "") != (members != nil) || u.Auth.Type == "none" || err != nil {
				t.Errorf("%s: %+v, %v", name, u, err)
			}
		}
	}
}

// operators is what an operator adds to each way to sign in.
var operators = map[string]string{
	"bearer": "token = { env = 'T' }", "header": "value = { env = 'T' }", "basic": "user = 'u'\npassword = { env = 'T' }",
	"client_credentials": "client_id = 'c'\nclient_secret = { env = 'T' }", "authorization_code": "client_id = 'c'\nclient_secret = { env = 'T' }",
	"device_code": "client_id = 'c'", "jwt_bearer": "issuer = 'i'\nkey = { env = 'T' }", "snowflake": "account = 'a'\nuser = 'u'\nkey = { env = 'T' }",
	"github_app": "client_id = 'c'\ninstallation = 1\nkey = { env = 'T' }",
}

// TestConnectorSignIns: with each way to sign in that a connector knows, what it
// asks of an operator is all that it needs.
func TestConnectorSignIns(t *testing.T) {
	for _, name := range connectors.Names() {
		d, err := connectors.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		values := ""
		for _, v := range d.Values {
			if v.Default == "" && v.Token == "" {
				values += fmt.Sprintf("values.%s = %q\n", v.Name, v.Example)
			}
		}
		if len(d.Auth) == 0 || len(d.Docs) == 0 {
			t.Errorf("%s: no sign-in, or no source", name)
		}
		for _, a := range d.Auth {
			text := "[upstream.x]\nconnector = '" + name + "'\nwrites = 'serial'\n" + values + "[upstream.x.auth]\ntype = '" + a.Type + "'\n"
			for line := range strings.Lines(operators[a.Type]) {
				if key, _, _ := strings.Cut(line, " "); a.Keys[key] == nil {
					text += strings.TrimSuffix(line, "\n") + "\n"
				}
			}
			cfg, err := config.Reader{Presets: presets}.Parse([]byte(text), "/etc/bulkhead/config.toml", nil)
			if err != nil {
				t.Errorf("%s with %s: %v\n%s", name, a.Type, err, text)
				continue
			}
			for key := range maps.Keys(cfg.Upstreams[0].Tools.Override) {
				if !slices.ContainsFunc(d.Actions, func(a rest.Action) bool { return a.Name == key }) {
					t.Errorf("%s: there is no %s", name, key)
				}
			}
		}
	}
}
