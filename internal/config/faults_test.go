package config_test

import (
	"slices"
	"strings"
	"testing"
)

type faultCase struct {
	name, doc string
	want      []string
}

// Each document has exactly the faults that follow it: "path: part of problem |
// part of hint".
var faultCases = []faultCase{
	{"empty", "", []string{"upstream: no upstream configured | [upstream.memory]"}},
	{"all disabled", upstream("sandbox = 'crm'", "enabled = false"), []string{"upstream: no upstream is enabled | add a source"}},
	{"unknown table", "[sever]\n" + upstream("sandbox = 'crm'"), []string{"sever: unknown key | did you mean server? allowed here: server, upstream"}},
	{"unknown keys", "[server]\nlisten_on = ''\nmaxresult = '1MiB'\n" + upstream("sandbox = 'crm'", "timeuot = '1s'", "tools.alow = []"), []string{
		"server.listen_on: unknown key | allowed here: listen, public_url, metrics, names",
		"server.maxresult: unknown key | did you mean max_result?",
		"upstream.crm.timeuot: unknown key | did you mean timeout?",
		"upstream.crm.tools.alow: unknown key | did you mean allow? allowed here: allow, deny, override",
	}},
	{"later keys", upstream("sandbox = 'crm'", "pin = true"), []string{
		"upstream.crm.pin: is not built yet | remove it",
	}},
	{"numbers", "[server]\npage_size = '200'\nlist_budget = -1\nask_timeout = '0s'\n" + upstream("sandbox = 'crm'"), []string{
		"server.page_size: must be a whole number without quotes, not a string | page_size = 200",
		"server.list_budget: -1 is out of range: from 0 to 1000000 | list_budget = 128",
		`server.ask_timeout: "0s" is out of range: from 1s to 24h`,
	}},
	{"overrides", upstream("sandbox = 'crm'", "[upstream.crm.tools.override]", "get.readonly = true", "get.open_world = 'no'", "put = true", "'' = {}", "'a.b' = { read_only = 1 }"), []string{
		"upstream.crm.tools.override.get.readonly: unknown key | did you mean read_only? allowed here: read_only, destructive, idempotent, open_world, cost",
		"upstream.crm.tools.override.get.open_world: must be true or false without quotes, not a string | open_world = false",
		"upstream.crm.tools.override.put: must be a table, not the boolean true |",
		`upstream.crm.tools.override."": is no name of a tool | 1 to 256`,
		`upstream.crm.tools.override."a.b".read_only: must be true or false without quotes, not the number 1 |`,
	}},
	{"override of nothing", upstream("sandbox = 'crm'", "tools.override = true"), []string{"upstream.crm.tools.override: must be a table, not the boolean true |"}},
	{"override contradicts", upstream("sandbox = 'crm'", "tools.override.get = { read_only = true, destructive = true }"), []string{
		"upstream.crm.tools.override.get: contradicts itself: what only reads destroys nothing | remove read_only or destructive"}},
	{"requires itself", upstream("sandbox = 'crm'", "tools.override.get.requires = ['find', 'get']", "tools.override.find.requires = ['list']"), []string{
		"upstream.crm.tools.override.get.requires[1]: is the tool itself: no plan can have it | remove it"}},
	{"requires in a circle", upstream("sandbox = 'crm'", "tools.override.a.requires = ['x', 'b']", "tools.override.b.requires = ['c']", "tools.override.c.requires = ['a', 'd']",
		"tools.override.d.requires = ['c']", "tools.override.e.requires = ['a']"), []string{
		"upstream.crm.tools.override.a.requires[1]: is part of a circle: a requires b requires c requires a: no plan can have them | remove one of these",
		"upstream.crm.tools.override.d.requires[0]: is part of a circle: d requires c requires d: no plan can have them | remove one of these"}},
	{"weak types", "[server]\nlisten = 8808\nmax_result = 1048576\ndrain = 10\ndeadline = true\nhosts = 'a'\n" + upstream("sandbox = ['crm']", "required = 'true'", "timeout = 7", "prefix = 1"), []string{
		`server.deadline: must be "auto" or a duration in quotes, not the boolean true | deadline = "2m"`,
		`server.drain: must be a duration in quotes, not the number 10 | drain = "30s"`,
		"server.hosts: must be a list of strings, not a string | hosts = [",
		"server.listen: must be a string in quotes, not the number 8808 | listen =",
		`server.max_result: must be a size in quotes, not the number 1048576 | max_result = "256KiB"`,
		"upstream.crm.prefix: must be a string in quotes, not the number 1 | prefix =",
		"upstream.crm.required: must be true or false without quotes, not a string | required = true",
		"upstream.crm.sandbox: must be a string in quotes, not a list | sandbox =",
		"upstream.crm.timeout: must be a duration in quotes, not the number 7 | timeout =",
	}},
	{"tables", "upstream = 3\nserver = [1]\n", []string{
		"server: must be a table, not a list | [server]", "upstream: must be a table, not the number 3 | [upstream]"}},
	{"table of tables", "upstream.a = 'x'\nupstream.b = { sandbox = 'crm', auth = 2024-01-01, tools = 1.5 }", []string{
		"upstream.a: must be a table, not a string | [upstream.a]",
		"upstream.b.auth: must be a table, not a date or time |",
		"upstream.b.tools: must be a table, not the number 1.5 |",
		"upstream.b.auth: belongs to url, but this upstream has sandbox | remove it",
	}},
	{"durations", upstream("sandbox = 'crm'", "timeout = '7'", "latency = '2m'") + "[server]\ndeadline = '-1s'\nlist_wait = '9999999h'\ndrain = 'soon'", []string{
		`server.deadline: "-1s" is no duration`, `server.drain: "soon" is no duration`, `server.list_wait: "9999999h" is no duration`,
		`upstream.crm.latency: "2m" is out of range: from 0s to 1m`, `upstream.crm.timeout: "7" is no duration: numbers with a unit`}},
	{"sizes", "[server]\nmax_result = '1Mi'\n" + upstream("sandbox = 'crm'", "max_message = '99999999999GiB'"), []string{
		`server.max_result: "1Mi" is no size`, `upstream.crm.max_message: "99999999999GiB" is out of range: from 1KiB to 1GiB`}},
	{"words", "[server]\nnames = 'prefixed'\nlog_level = 'trace'\n" + upstream("sandbox = 'crn'", "era = 'old'"), []string{
		`server.log_level: cannot be "trace" | one of debug, info, warn, error`, `server.names: cannot be "prefixed" | did you mean prefix?`,
		`upstream.crm.era: cannot be "old" | one of auto`, `upstream.crm.sandbox: cannot be "crn" | did you mean crm? one of crm, warehouse, tickets`}},
	{"no such kind", "[upstream.a]\nkind = 'grpc'\nurl = 'https://x/'\nauth = { type = 'none' }", []string{
		`upstream.a.kind: cannot be "grpc" | one of mcp, rest, openapi, graphql, sql`}},
	{"bad name", "[upstream.CRM]\nsandbox = 'crm'\n[upstream.\"a b\"]\nsandbox = 'crm'\n[upstream.a]\nsandbox = 'crm'", []string{
		"upstream.CRM: is no valid name | lower-case", `upstream."a b": is no valid name | lower-case`}},
	{"no source", upstream("required = true"), []string{"upstream.crm: says nowhere where the source is | command"}},
	{"two sources", upstream("sandbox = 'crm'", "url = 'https://x/'"), []string{"upstream.crm: url and sandbox exclude each other | keep one"}},
	{"strangers", upstream("sandbox = 'crm'", "env = { A = 'b' }", "dir = '/'", "allow_http = true", "auth = { type = 'none' }"), []string{
		"upstream.crm.env: belongs to command, but this upstream has sandbox | remove it", "upstream.crm.dir: belongs to command", "upstream.crm.allow_http: belongs to url"}},
	{"latency of a child", upstream("command = ['x']", "latency = '0s'"), []string{"upstream.crm.latency: belongs to sandbox, but this upstream has command"}},
	{"command", "[upstream.a]\ncommand = []\n[upstream.b]\ncommand = ['']\n[upstream.c]\ncommand = ['x', 1]\n[upstream.d]\ncommand = 'npx -y x'\n[upstream.e]\ncommand = [\"x\", \"\\u0000\"]", []string{
		"upstream.a.command: names no program | npx", "upstream.b.command: names no program", "upstream.c.command[1]: must be a string in quotes, not the number 1",
		"upstream.d.command: must be a list of strings, not a string | npx", "upstream.e.command[1]: contains a NUL character"}},
	{"listen", "[server]\nlisten = ':8808'\n" + upstream("sandbox = 'crm'"), []string{`server.listen: ":8808" can be reached from other machines, and clients do not have to say who they are | 127.0.0.1:8808`}},
	{"listen without port", "[server]\nlisten = '127.0.0.1'\n" + upstream("sandbox = 'crm'"), []string{`server.listen: "127.0.0.1" is no address`}},
	{"metrics", "[server]\nmetrics = ':9464'\n" + upstream("sandbox = 'crm'"), []string{`server.metrics: ":9464" names no host, and would be every address of this machine | 127.0.0.1:9464`}},
	{"metrics without port", "[server]\nmetrics = 'localhost'\n" + upstream("sandbox = 'crm'"), []string{`server.metrics: "localhost" is no address | metrics = "127.0.0.1:9464"`}},
	{"listen port", "[server]\nlisten = 'localhost:http'\n" + upstream("sandbox = 'crm'"), []string{`server.listen: "http" is no port`}},
	{"hosts", "[server]\nhosts = ['https://a', '*']\norigins = ['*', 'https://a/', 'a.example']\n" + upstream("sandbox = 'crm'"), []string{
		"server.hosts[0]: must be a host name with an optional port", "server.hosts[1]: must be", "server.origins[0]: must be an origin", "server.origins[1]: must be", "server.origins[2]: must be"}},
	{"url scheme", upstream("url = 'ftp://x/'"), []string{"upstream.crm.url: must be an http or https URL"}},
	{"url fragment", upstream("url = 'https://x/#a'"), []string{"upstream.crm.url: must be"}},
	{"url port", upstream("url = 'https://x:99999/'"), []string{`upstream.crm.url: "99999" is no port`}},
	{"url escape", upstream("url = 'https://x/%zz'"), []string{"upstream.crm.url: is no valid URL"}},
	{"plain http", upstream("url = 'http://10.0.0.1/mcp'"), []string{"upstream.crm.url: plain http to another machine | https, or set allow_http = true"}},
	{"globs", upstream("sandbox = 'crm'", "tools.allow = ['[a']", "tools.deny = ['']"), []string{`upstream.crm.tools.allow[0]: "[a" is no pattern`, `upstream.crm.tools.deny[0]: "" is no pattern`}},
	{"auth without type", remote("token = { env = 'A' }"), []string{"upstream.crm.auth.type: is missing | type = \"bearer\""}},
	{"auth parts", remote("type = 'header'", "token = { env = 'A' }"), []string{
		`upstream.crm.auth.token: does not belong to type "header" | remove it`, `upstream.crm.auth.header: is missing: type "header" needs it | X-Api-Key`, "upstream.crm.auth.value: is missing"}},
	{"auth field", remote("type = 'header'", "header = 'Mcp-Session-Id'", "value = { env = 'A' }"), []string{`upstream.crm.auth.header: "Mcp-Session-Id" is set by the protocol itself`}},
	{"auth field form", remote("type = 'header'", "header = 'X Key'", "value = { env = 'A' }"), []string{`upstream.crm.auth.header: must be the name of an HTTP header field`}},
	{"user", remote("type = 'basic'", "user = 'a:b'", "password = { env = 'A' }"), []string{"upstream.crm.auth.user: must be a user name without a colon"}},
	{"references", remote("type = 'basic'", "user = 'a'", "password = { env = 'A', file = 'b' }") + "[upstream.a]\ncommand=['x']\n[upstream.a.env]\nA = {}\nB = { envv = 'x' }\nC = { env = 'a b' }\nD = { keyring = 'x' }\nE = { command = [] }\nF = { file = '' }\nG = 7\n1 = 'x'", []string{
		"upstream.a.env.1: is no name for an environment variable", "upstream.a.env.A: a secret reference has exactly one of env, file, command, keyring",
		"upstream.a.env.B.envv: unknown key | did you mean env?", "upstream.a.env.C.env: must be the name of an environment variable, not a value",
		"upstream.a.env.D.keyring: must name a service and an account | bulkhead/crm", "upstream.a.env.E.command: names no program",
		"upstream.a.env.F.file: must not be empty", "upstream.a.env.G: must be a string in quotes or a secret reference, not the number 7",
		"upstream.crm.auth.password: a secret reference has exactly one"}},
	{"no home", upstream("command = ['~x']", "dir = 'a'"), nil},
	{"syntax", "[server]\nlisten = 'a\n", []string{"line 2, column 12: literal strings cannot have new lines | TOML 1.0"}},
	{"duplicate", "[server]\n[server]\n", []string{"line 2, column 2: table server already exists"}},
}

func TestFaults(t *testing.T) {
	for _, c := range slices.Concat(faultCases, limitFaults, authFaults, cacheFaults, sqlFaults, clientFaults, graphqlFaults, shapeFaults) {
		t.Run(c.name, func(t *testing.T) {
			if c.want == nil {
				mustParse(t, c.doc)
				return
			}
			faults := faultsOf(t, c.doc)
			for _, want := range c.want {
				problem, hint, _ := strings.Cut(want, " | ")
				problem = strings.TrimSuffix(problem, " |")
				found := false
				for _, f := range faults {
					found = found || strings.HasPrefix(f.Path+": "+f.Problem, problem) && strings.Contains(f.Hint, hint)
				}
				if !found {
					t.Errorf("no fault %q, hint %q", problem, hint)
				}
			}
			if len(faults) != len(c.want) || t.Failed() {
				t.Errorf("%d faults, want %d:\n%v", len(faults), len(c.want), faults)
			}
		})
	}
}

func TestFaultText(t *testing.T) {
	faults := faultsOf(t, upstream("sandbox = 'crm'", "timeuot = '1s'", "era = 'old'"))
	want := `upstream.crm.era: cannot be "old" (hint: one of auto, legacy, modern)
upstream.crm.timeuot: unknown key (hint: did you mean timeout? allowed here: `
	if got := faults.Error(); !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A secret in clear text is refused wherever it stands, and never repeated.
func TestInlineSecrets(t *testing.T) {
	const canary = "CANARYcanary0123456789abcdef"
	docs := map[string]string{
		"token":           remote("type = 'bearer'", "token = '"+canary+"'"),
		"value":           remote("type = 'header'", "header = 'X-Key'", "value = '"+canary+"'"),
		"password":        remote("type = 'basic'", "user = 'u'", "password = '"+canary+"'"),
		"password list":   remote("type = 'basic'", "user = 'u'", "password = ['"+canary+"']"),
		"reference":       remote("type = 'bearer'", "token = { env = 'ghp_"+canary+"' }"),
		"wrong reference": remote("type = 'bearer'", "token = { env = '"+canary+" x' }"),
		"userinfo":        upstream("url = 'https://u:" + canary + "@example.com/'"),
		"query":           upstream("url = 'https://example.com/mcp?api_key=" + canary + "'"),
		"camel query":     upstream("url = 'https://example.com/mcp?exaApiKey=" + canary + "'"),
		"wrong key":       upstream("sandbox = 'crm'", "era = 'ghp_"+canary+"'"),
		"duration":        upstream("sandbox = 'crm'", "timeout = 'sk-"+canary+"'"),
		"key":             "[server]\nlisten = 'x\"" + canary + "\n",
	}
	for _, name := range []string{"GITHUB_TOKEN", "PGPASSWORD", "apiKey", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASS", "MY_CREDENTIALS", "KEY", "GITHUB_PAT", "CLIENT_SECRET"} {
		docs["env "+name] = upstream("command = ['x']", "env = { "+name+" = '"+canary+"' }")
	}
	for _, v := range []string{"postgres://u:" + canary + "@db/x", "ghp_" + canary, "Bearer " + canary, "sk-" + canary, "xoxb-" + canary, "eyJhbGciOiJIUzI1NiJ9.eyJ" + canary + ".x"} {
		docs["env value "+v] = upstream("command = ['x']", "env = { A = '"+v+"' }")
		docs["arg "+v] = upstream("command = ['x', '" + v + "']")
	}
	for _, a := range []string{"'--api-key=" + canary + "'", "'--token', '" + canary + "'", "'-password', '" + canary + "'", "'--header', 'Authorization: Bearer " + canary + "'",
		"'-H', 'X-Api-Key: " + canary + "'", "'API_KEY=" + canary + "'"} {
		docs["arg "+a] = upstream("command = ['npx', " + a + "]")
	}
	for name, doc := range docs {
		faults := faultsOf(t, doc)
		if len(faults) != 1 {
			t.Errorf("%s: %d faults: %v", name, len(faults), faults)
		}
		if strings.Contains(strings.ToLower(faults.Error()), "canary") {
			t.Errorf("%s: repeats the secret: %v", name, faults)
		}
	}
}

// What only sounds like a secret is not in the way.
func TestNoSecrets(t *testing.T) {
	mustParse(t, upstream("command = ['npx', '-y', 'server-tokenizer', '--max-token=4096', '--key', './cert.pem', '--token-file', '/run/t', '--no-password', '--primary-key=customer', '--header', 'Authorization: Bearer ${TOKEN}', '--token']",
		"env = { MAX_TOKENS = '100', KEYBOARD = 'de-neo2-variant', AUTH_TOKEN_ENABLED = 'true', TOKEN_FILE = '/run/secrets/t', PUBLIC_KEY = 'abcdefghijkl', PWD = '/tmp/somewhere', API_URL = 'https://example.com:8443/x', TOKEN = '', PASSWORD_HEADER = 'X-Long-Header' }"))
	mustParse(t, upstream("url = 'https://example.com/mcp?project=alpha&sort_key=name'"))
}

func TestNoHome(t *testing.T) {
	faults := faultsOf(t, upstream("command = ['x']", "dir = '~/a'"), "HOME=")
	if len(faults) != 1 || !strings.Contains(faults.Error(), "no HOME") {
		t.Error(faults)
	}
}
