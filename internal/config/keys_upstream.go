package config

import "slices"

var upstreamSections = slices.Concat([]section{
	{
		path:    "upstream.*",
		doc:     "One data source. The name begins with a lower-case letter and has at most 24 of `a-z`, `0-9`, `_` and `-`. Of an MCP server exactly one of `command`, `url` and `sandbox` says where it is, of a REST service one of `connector` and `definition`.",
		keys:    slices.Concat(upstreamKeys, restKeys, openapiKeys, graphqlKeys, sqlKeys),
		planned: []string{"pin"},
	},
	limitSection, classSection, retrySection, breakerSection, cacheSection,
	{
		path: "upstream.*.auth",
		doc:  "How Bulkhead signs in to an upstream that has a `url`. The credential is sent to that URL's origin and nowhere else. Secrets are never written here, only where to find them. Types that get tokens from an authorization server renew them by themselves, each upstream and each set of scopes apart.",
		keys: authKeys,
	},
	{
		path: "upstream.*.tools",
		doc:  "Which of the upstream's tools are offered. Patterns are matched against the upstream's own names: `*` is any run of characters, `?` any one, `[a-c]` a range.",
		keys: toolKeys,
	},
	{
		path: "upstream.*.tools.override.*",
		doc:  "What one tool, by the upstream's own name for it, is said to do, in place of the upstream's annotations and of what `annotations` makes of them; and what is shown of its results. A key that is left out changes nothing. A name with other characters than letters, digits, `_` and `-` stands in quotes: `[upstream.crm.tools.override.\"get.customer\"]`. `bulkhead check` warns of a tool that is not there.",
		keys: slices.Concat(overrideKeys, shapeKeys),
		each: func(t target, name string) target {
			o := &Override{}
			if t.upstream.Tools.Override == nil {
				t.upstream.Tools.Override = make(map[string]*Override)
			}
			t.upstream.Tools.Override[name] = o
			return target{tool: o}
		},
		named: naming{toolName, "is no name of a tool", "1 to 256 characters on one line, as the upstream has it", "TOOL"},
	},
}, restSections, openapiSections, graphqlSections, sqlSections)

var upstreamKeys = []key{
	{name: "kind", kind: text, def: "mcp", example: "mcp", enum: kindNames(),
		doc:   "What the source speaks. Sources other than `mcp` have tools that are described by you or by a connector, so `trust_annotations` is `true` for them if it is left out, and `writes` is `deny`: what changes something is offered only where `writes` says how.",
		field: func(t target) any { return &t.upstream.Kind }},
	{name: "command", kind: list, example: []any{"npx", "-y", "@modelcontextprotocol/server-memory"},
		doc:   "Program and arguments of an MCP server to run as a child, spoken to over its standard input and output. There is no shell, so `~` and `$NAME` in arguments are not expanded; a program that begins with `~/`, `./` or `../` is taken from the home directory or the configuration's directory.",
		field: func(t target) any { return &t.upstream.Command }},
	{name: "url", kind: text, example: "https://mcp.example.com/mcp", pattern: urlForm, expect: "an http or https URL with a host, without user name and fragment", check: checkURL,
		doc:   "Endpoint of an MCP server over Streamable HTTP or the older HTTP+SSE; which one is found out. With kind `rest` it is the base of all addresses, in place of the one in the connector or definition; with kind `openapi` the base that the document's paths are appended to.",
		field: func(t target) any { return &t.upstream.URL }},
	{name: "sandbox", kind: text, example: "crm", enum: []string{"crm", "warehouse", "tickets"},
		doc:   "A sample source that is built in, to try Bulkhead without any account. With kind `rest` the CRM is a REST service behind an authorization server of its own, with kind `sql` the warehouse is a SQLite database.",
		field: func(t target) any { return &t.upstream.Sandbox }},
	{name: "latency", kind: duration, def: "0s", example: "300ms", least: 0, most: minute,
		doc:   "Added to each answer of a sandbox. With `sandbox` only.",
		field: func(t target) any { return &t.upstream.Latency }},
	{name: "env", kind: envTable, example: map[string]any{"LOG_LEVEL": "debug", "API_KEY": map[string]any{"env": "CRM_API_KEY"}},
		doc:   "Environment variables of `command`. It gets these and, of ours, only the search path, home, locale, time zone and temporary directory. Values that look like secrets must be references. With `command` only.",
		field: func(t target) any { return &t.upstream.Env }},
	{name: "dir", kind: location, example: "~/projects/notes",
		doc:   "Working directory of `command`. Relative paths start at the configuration's directory. With `command` only.",
		field: func(t target) any { return &t.upstream.Dir }},
	{name: "allow_http", kind: flag, def: false, example: true,
		doc:   "Allow a plain `http` URL beyond this machine. Everything sent, the credential included, can then be read on the way: for trusted networks only, such as between containers of one host. With `url` only.",
		field: func(t target) any { return &t.upstream.AllowHTTP }},
	{name: "prefix", kind: optional, example: "crm", pattern: prefixForm, expect: "at most 24 of A-Z, a-z, 0-9, _ and -",
		doc:   "What tool names begin with, before a `_`, where `names = \"prefix\"`. Left out it is the upstream's name; empty is no prefix.",
		field: func(t target) any { return &t.upstream.Prefix }},
	{name: "era", kind: text, def: "auto", example: "legacy", enum: []string{"auto", "legacy", "modern"},
		doc:   "Which generation of MCP the upstream speaks: `modern` is revision 2026-07-28 and later, `legacy` what came before, `auto` finds out.",
		field: func(t target) any { return &t.upstream.Era }},
	{name: "timeout", kind: duration, def: "0s", example: "20s", least: 0, most: 24 * hour,
		doc:   "Limit of one attempt. `0s` is none but the deadline of the call.",
		field: func(t target) any { return &t.upstream.Timeout }},
	{name: "max_message", kind: size, def: "64MiB", example: "16MiB", least: 1 << 10, most: 1 << 30,
		doc:   "The largest single message taken from the upstream; a larger one fails its call. Left out it is `16MiB` where `kind` is another than `mcp`: such an answer is decoded and written anew, which takes a few times its size in memory.",
		field: func(t target) any { return &t.upstream.MaxMessage }},
	{name: "validate", kind: text, def: "structure", example: "schema", enum: []string{"structure", "schema"},
		doc:   "What is checked before a call is sent: `structure` that the arguments are a JSON object, `schema` that they fit the tool's input schema too.",
		field: func(t target) any { return &t.upstream.Validate }},
	{name: "annotations", kind: text, def: "relay", example: "cautious", enum: []string{"relay", "cautious"},
		doc:   "What becomes of the annotations of its tools, which hosts may read as permission: `relay` hands them on as they came; `cautious` takes away what a tool says in its favour (`readOnlyHint: true`, `idempotentHint: true`, `destructiveHint: false`, `openWorldHint: false`), for a source that is not trusted to speak for itself. Several hosts call tools without `readOnlyHint: true` one by one.",
		field: func(t target) any { return &t.upstream.Annotations }},
	{name: "ask", kind: text, def: "allow", example: "deny", enum: []string{"allow", "deny"},
		doc:   "Whether it may ask the user, the user's model or for the roots in the middle of a call (elicitation, sampling, roots), where the client can be asked. With `deny` it is told that nobody can be asked, and a call that asks all the same fails.",
		field: func(t target) any { return &t.upstream.Ask }},
	{name: "writes", kind: text, def: "serial", example: "parallel", enum: []string{"serial", "parallel", "deny"},
		doc:   "How calls of tools run that say that they change something (annotations, or `tools.override`): `serial` one after another in the order in which they came, with reads beside them; `parallel` like everything else. `deny` refuses every tool that does not say that it only reads.",
		field: func(t target) any { return &t.upstream.Writes }},
	{name: "unannotated", kind: text, def: "parallel", example: "serial", enum: []string{"parallel", "serial"},
		doc:   "How calls of tools run that do not say whether they change anything; `serial` treats them like writes.",
		field: func(t target) any { return &t.upstream.Unannotated }},
	{name: "serialize_by", kind: text, example: "record_id", pattern: toolName, expect: "the name of an argument on one line",
		doc:   "An argument of its tools: only calls in which it has the same value run one after another, those without it among themselves. Left out, all do. With `writes` or `unannotated` of `serial` only.",
		field: func(t target) any { return &t.upstream.SerializeBy }},
	{name: "trust_annotations", kind: flag, def: false, example: true,
		doc:   "Whether the source is believed when it says that a tool only reads or is idempotent. Only if that is believed, or said in `tools.override`, is a call made again that was sent and lost, and only what is known to read is answered from memory (`cache`) or carried out once for equal calls at the same time.",
		field: func(t target) any { return &t.upstream.TrustAnnotations }},
	{name: "required", kind: flag, def: false, example: true,
		doc:   "Whether `check` fails, with exit status 1, if the upstream does not answer. `serve` never ends for an upstream's sake.",
		field: func(t target) any { return &t.upstream.Required }},
	{name: "enabled", kind: flag, def: true, example: false,
		doc:   "Whether the upstream is used at all.",
		field: func(t target) any { return &t.upstream.Enabled }},
}

var toolKeys = []key{
	{name: "allow", kind: list, def: []any{"*"}, example: []any{"get_*", "search_*"}, check: checkGlob,
		doc:   "Patterns of the tools that are offered.",
		field: func(t target) any { return &t.upstream.Tools.Allow }},
	{name: "deny", kind: list, def: []any{}, example: []any{"delete_*"}, check: checkGlob,
		doc:   "Patterns of the tools that are not, whatever `allow` says.",
		field: func(t target) any { return &t.upstream.Tools.Deny }},
}

var overrideKeys = []key{
	{name: "read_only", kind: choice, example: true,
		doc:   "`readOnlyHint`: it changes nothing. Hosts may then run calls in parallel and without asking; a call that was lost is made again, equal calls at the same time are carried out once, and answers are kept as `cache` says.",
		field: func(t target) any { return &t.tool.ReadOnly }},
	{name: "destructive", kind: choice, example: true,
		doc:   "`destructiveHint`: what it changes may be lost. Not together with `read_only = true`.",
		field: func(t target) any { return &t.tool.Destructive }},
	{name: "idempotent", kind: choice, example: true,
		doc:   "`idempotentHint`: a second call with the same arguments changes nothing more.",
		field: func(t target) any { return &t.tool.Idempotent }},
	{name: "open_world", kind: choice, example: false,
		doc:   "`openWorldHint`: it reaches beyond the source, such as the web, so that its results may come from anyone.",
		field: func(t target) any { return &t.tool.OpenWorld }},
	{name: "cost", kind: number, example: int64(5), least: 1, most: 1_000_000,
		doc:   "How many calls a call of it counts as in `limit.rate`, for vendors that charge some more than others. Left out it is 1.",
		field: func(t target) any { return &t.tool.Cost }},
	scopesKey("scopes", []any{"tickets.admin"},
		"The scopes of the token that its calls are made with, in place of `auth.scopes` and `auth.write_scopes`; another token than that of the other tools. With an `auth` type that gets tokens only.",
		func(t target) any { return &t.tool.Scopes }),
	{name: "requires", kind: list, example: []any{"search_customers"}, pattern: toolName, expect: "the name of a tool on one line",
		doc:   "Tools of the same upstream, by its own names, whose output it needs. Its description then begins with `REQUIRES: output of ...`, and `bulkhead_batch` refuses a plan in which it does not depend on them. `check` warns of those that the upstream does not offer, because then no plan can have the tool.",
		field: func(t target) any { return &t.tool.Requires }},
	{name: "hedge", kind: flag, def: false, example: true,
		doc:   "Whether a call that takes longer than 95 of 100 is made a second time beside the first, and whichever answers first counts. That happens in at most 5 % of its calls, and only where a place and a token of `limit` are free at once. Needs `read_only = true` here, because the source may carry both out, and of something that writes, even if it is idempotent, the slower one after the next write.",
		field: func(t target) any { return &t.tool.Hedge }},
	toolTTL,
}

// needs says which key another one of an MCP server belongs to.
var needs = []struct{ key, with string }{
	{"latency", "sandbox"}, {"env", "command"}, {"dir", "command"}, {"allow_http", "url"}, {"auth", "url"},
}
