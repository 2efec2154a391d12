package config

import (
	"iter"
	"slices"
	"strings"
	"time"
)

// key is one setting: everything that decoding, the reference page and the
// editors' schema say about it.
type key struct {
	name        string
	kind        *kind
	doc         string // Markdown, one paragraph
	def         any    // as it would stand in the file; nil for none
	example     any    // as it would stand in the file
	enum        []string
	words       []string // of a path: the values that are none
	pattern     *form
	expect      string // what pattern demands, after "must be"
	least, most int64  // bounds of a number, of a size in bytes, of a duration in nanoseconds
	// check holds rules that a pattern cannot; it returns "" if v is fine.
	check    func(v string) (problem, hint string)
	required bool // if its table is there
	field    func(target) any
}

// section is one table of keys. A * in its path stands for a name that the
// user chooses: first an upstream's, then a tool's.
type section struct {
	path    string
	doc     string
	keys    []key
	planned []string // keys of a later version
	// each is set where the path ends in a *: it returns the target of the
	// table called name, one of many.
	each func(t target, name string) target
	// named is how such tables are called.
	named naming
}

// naming is how the tables are called that a user names.
type naming struct {
	form          *form
	problem, hint string // of a name that has another form
	word          string // that stands for such a name, in capitals
}

func (s *section) key(name string) *key {
	for i := range s.keys {
		if s.keys[i].name == name {
			return &s.keys[i]
		}
	}
	return nil
}

// names returns what may stand in the section: its keys and its tables.
func (s *section) names() []string {
	var out []string
	for i := range s.keys {
		out = append(out, s.keys[i].name)
	}
	for name := range s.subs() {
		out = append(out, name)
	}
	return out
}

// subs yields the tables right below the section, by their names in it. One
// that has each set is a table of such tables.
func (s *section) subs() iter.Seq2[string, *section] {
	return func(yield func(string, *section) bool) {
		for i := range sections {
			name, ok := strings.CutPrefix(sections[i].path, s.path+".")
			name = strings.TrimSuffix(name, ".*")
			if ok && !strings.Contains(name, ".") && !yield(name, &sections[i]) {
				return
			}
		}
	}
}

func (s *section) sub(name string) *section {
	for n, sub := range s.subs() {
		if n == name {
			return sub
		}
	}
	return nil
}

func sectionAt(path string) *section {
	for i := range sections {
		if sections[i].path == path {
			return &sections[i]
		}
	}
	return nil
}

// Keys returns the path of every key, in the order of the reference page, with
// * for a name that the user chooses, e.g. "upstream.*.auth.token".
func Keys() []string {
	var out []string
	for i := range sections {
		for j := range sections[i].keys {
			out = append(out, sections[i].path+"."+sections[i].keys[j].name)
		}
	}
	return out
}

var (
	upstreamName = newForm(`^[a-z][a-z0-9_-]{0,23}$`)
	hostForm     = newForm(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)
	originForm   = newForm(`^[a-z][a-z0-9+.-]*://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)
	prefixForm   = newForm(`^[A-Za-z0-9_-]{0,24}$`)
	fieldForm    = newForm("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // RFC 9110, section 5.6.2: token
	urlForm      = newForm(`^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\s]+([/?][^#\s]*)?$`)
	toolName     = newForm(`^.{1,256}$`)
	scopeForm    = newForm(`^[!#-\[\]-~]+$`) // RFC 6749, section 3.3
	className    = newForm(`^[a-z][a-z0-9_-]{0,23}$`)
	userForm     = newForm(`^[^:\x00-\x1f\x7f]+$`) // RFC 7617, section 2
)

const minute, hour = int64(time.Minute), int64(time.Hour)

var sections = slices.Concat(serverSections, clientSections, upstreamSections)

var serverSections = []section{{
	path: "server",
	doc:  "The side that clients see.",
	keys: []key{
		{name: "listen", kind: text, def: "", example: "127.0.0.1:8808", check: checkListen,
			doc:   "Where to serve MCP over HTTP, `host:port`. Empty serves one client over standard input and output. The host must be a loopback address unless clients have to say who they are (`[server.auth]`): whoever reaches the port could use every source. Port 0 takes a free one.",
			field: func(t target) any { return &t.server.Listen }},
		publicURL,
		{name: "names", kind: text, def: "prefix", example: "flat", enum: []string{"prefix", "flat"},
			doc:   "How tools are named: `prefix` puts the upstream's prefix and `_` before each name, `flat` keeps the names as they are. Names that collide get a suffix.",
			field: func(t target) any { return &t.server.Names }},
		{name: "deadline", kind: deadline, def: "auto", example: "2m", least: int64(time.Millisecond), most: 24 * hour,
			doc:   "How long one call may take in all. `auto` answers just before the connected host would give up.",
			field: func(t target) any { return &t.server.Deadline }},
		{name: "max_result", kind: size, def: "1MiB", example: "256KiB", least: 1 << 10, most: 1 << 30,
			doc:   "The largest result handed to the client in one piece; the rest is kept for `bulkhead_read_more`. A tool that declares `anthropic/maxResultSizeChars` may hand that much to Claude Code. What is no result of a tool, such as a resource, cannot be cut: it fails above eight times this size.",
			field: func(t target) any { return &t.server.MaxResult }},
		{name: "page_size", kind: number, def: int64(0), example: int64(200), least: 0, most: 1_000_000,
			doc:   "How many entries a page of a list has at most; `0` is one page for all. Some hosts read only the first page, so change it only for one that cannot take long ones.",
			field: func(t target) any { return &t.server.PageSize }},
		{name: "list_budget", kind: number, def: int64(0), example: int64(128), least: 0, most: 1_000_000,
			doc:   "How many tools are listed at most, for hosts that take no more; `0` is all. Bulkhead's own always are, then come those of the upstreams in the order of their names. What is left out cannot be called either; the log, `bulkhead_sources` and the instructions to the model say that something is. Better choose with `tools.allow` and `tools.deny`; `bulkhead check` says which hosts have a limit.",
			field: func(t target) any { return &t.server.ListBudget }},
		{name: "discovery", kind: text, def: "auto", example: "search", enum: []string{"auto", "list", "search"},
			doc:   "How clients get to know the tools. With `list` all are listed. With `search` only Bulkhead's own are, and those of `pinned`; the model looks for the others with `bulkhead_find_tools` and calls them with `bulkhead_call` or in a plan. `auto` is `search` where there are more than 1,000, else `list`.",
			field: func(t target) any { return &t.server.Discovery }},
		{name: "pinned", kind: list, def: []any{}, example: []any{"crm_get_*"}, check: checkGlob,
			doc:   "Patterns of tools, by the names that clients know, that are listed in any case where the others have to be looked for.",
			field: func(t target) any { return &t.server.Pinned }},
		{name: "ask_timeout", kind: duration, def: "5m", example: "2m", least: int64(time.Second), most: 24 * hour,
			doc:   "How long a question that an upstream asks the user in the middle of a call may stay open. It does not count as part of the call's deadline.",
			field: func(t target) any { return &t.server.AskTimeout }},
		{name: "list_wait", kind: duration, def: "2s", example: "500ms", least: 0, most: minute,
			doc:   "How long the first list after a cold start waits for slow upstreams. Their tools are announced when they arrive.",
			field: func(t target) any { return &t.server.ListWait }},
		{name: "hosts", kind: list, def: []any{}, example: []any{"mcp.example.com"}, pattern: hostForm, expect: "a host name with an optional port",
			doc:   "`Host` header values accepted besides loopback's own, for a reverse proxy that passes its name on. Over HTTP only.",
			field: func(t target) any { return &t.server.Hosts }},
		{name: "origins", kind: list, def: []any{}, example: []any{"https://app.example.com"}, pattern: originForm, expect: "an origin, scheme://host or scheme://host:port, with nothing behind it and no *",
			doc:   "Browser origins that may connect besides loopback's own. Over HTTP only.",
			field: func(t target) any { return &t.server.Origins }},
		{name: "state", kind: location, def: "", example: "~/.local/state/bulkhead", words: []string{"none"},
			doc:   "Directory for the last good list of tools, served at once at the next start. Empty is the user's state directory, `none` keeps nothing.",
			field: func(t target) any { return &t.server.State }},
		{name: "token_key", kind: secret, example: map[string]any{"file": "~/.secrets/bulkhead.key"},
			doc:   "The key that seals the tokens of people who have signed in, in the directory `tokens` of the state directory: an age identity (`AGE-SECRET-KEY-1...`), as `age-keygen` writes it. Several, one in a line, all open, and the first seals. Left out, one is made and kept in the keyring, or where there is none in a file beside that directory.",
			field: func(t target) any { return &t.server.TokenKey }},
		{name: "log_level", kind: text, def: "info", example: "debug", enum: []string{"debug", "info", "warn", "error"},
			doc:   "The least severe messages that are logged, to standard error.",
			field: func(t target) any { return &t.server.LogLevel }},
		{name: "log_format", kind: text, def: "text", example: "json", enum: []string{"text", "json"},
			doc:   "How log lines are written.",
			field: func(t target) any { return &t.server.LogFormat }},
		{name: "drain", kind: duration, def: "10s", example: "30s", least: 0, most: 10 * minute,
			doc:   "How long calls in flight may go on after a request to stop.",
			field: func(t target) any { return &t.server.Drain }},
		cacheSize,
	},
}}
