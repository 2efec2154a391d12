package config

import (
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// checkUpstream applies the rules that hold between the keys of one upstream.
func (d *decoder) checkUpstream(at string, u *Upstream) {
	given := func(name string) bool { return d.given[join(at, name)] }

	if where := checkSource(d, at, u); u.Kind == "mcp" && where != "" {
		for _, n := range needs {
			if given(n.key) && n.with != where && !(n.key == "auth" && u.Auth.Type == "none") {
				d.fault(join(at, n.key), "belongs to "+n.with+", but this upstream has "+where, "remove it")
			}
		}
	}
	if given("command") {
		u.Command = d.program(join(at, "command"), u.Command)
	}
	if u.URL != "" && !u.AllowHTTP && !secure(u.URL) {
		d.fault(join(at, "url"), "plain http to another machine can be read on the way, credentials included", "use https, or set allow_http = true on a network you trust")
	}
	d.checkAuth(join(at, "auth"), &u.Auth)
	if u.Kind == "sql" {
		checkSQL(d, at, u)
	} else {
		u.SQL = SQL{} // the defaults are for the others
	}
	if u.Auth.Type == "mcp" && u.AllowHTTP && !secure(u.URL) {
		d.fault(join(at, "url"), "plain http to another machine: nobody can sign in there, what the server says of where to do that could be anybody's", "use https")
	}
	for _, tool := range slices.Sorted(maps.Keys(u.Tools.Override)) {
		h := u.Tools.Override[tool]
		if len(h.Scopes) > 0 && !u.Auth.Tokens() {
			d.fault(join(at+".tools.override", tool)+".scopes", "has no effect: this upstream's auth gets no tokens by scopes", "remove it, or use a type of auth that does")
		}
		if h.ReadOnly != nil && *h.ReadOnly && h.Destructive != nil && *h.Destructive {
			d.fault(join(at+".tools.override", tool), "contradicts itself: what only reads destroys nothing", "remove read_only or destructive")
		}
		// Of a write the slower copy could take effect after the next write.
		if h.Hedge && !(h.ReadOnly != nil && *h.ReadOnly) {
			d.fault(join(at+".tools.override", tool)+".hedge", "makes calls twice, and nothing here says that the tool changes nothing", "add read_only = true if that is so, or remove hedge")
		}
	}
	checkRequires(d.fault, at+".tools.override", u.Tools.Override)
}

// program checks a command line and returns it with its program's path made
// absolute if it is a relative path.
func (d *decoder) program(at string, command []string) []string {
	if len(command) == 0 || command[0] == "" {
		if !slices.ContainsFunc(d.faults, func(f Fault) bool { return strings.HasPrefix(f.Path, at) }) {
			d.fault(at, "names no program", `for example ["npx", "-y", "@modelcontextprotocol/server-memory"]`)
		}
		return command
	}
	if i := secretArgument(command); i >= 0 {
		d.fault(at+"["+strconv.Itoa(i)+"]", "looks like a secret, which must not stand in the configuration and would show in the list of processes",
			`hand it over in the environment: env = { API_KEY = { env = "NAME" } }`)
	}
	if p := command[0]; strings.HasPrefix(p, "~/") || strings.HasPrefix(p, "./") || strings.HasPrefix(p, "../") {
		command = slices.Clone(command)
		command[0] = d.local(at+"[0]", p)
	}
	return command
}

func checkListen(v string) (problem, hint string) {
	if v == "" {
		return "", ""
	}
	hint = `for example listen = "127.0.0.1:8808"; "" serves over standard input and output`
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return quote(v) + " is no address: it needs a host and a port", hint
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 || port != strconv.Itoa(n) {
		return quote(port) + " is no port: a number from 0 to 65535", hint
	}
	return "", ""
}

func checkMetrics(v string) (problem, hint string) {
	problem, _ = checkListen(v)
	hint = `for example metrics = "127.0.0.1:9464"; "" serves none`
	if host, _, err := net.SplitHostPort(v); err == nil && host == "" {
		problem = quote(v) + " names no host, and would be every address of this machine"
	}
	return problem, hint
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

func checkURL(v string) (problem, hint string) {
	hint = `for example url = "https://mcp.example.com/mcp"`
	u, err := url.Parse(v)
	if err != nil || u.Hostname() == "" || u.Opaque != "" {
		return "is no valid URL", hint // the parser's error repeats the URL
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return quote(p) + " is no port: a number from 1 to 65535", hint
		}
	}
	if name := secretQuery(u); name != "" {
		return "the parameter " + quote(name) + " looks like a secret, which must not stand in the configuration",
			`send it in a header instead: auth = { type = "header", header = "X-Api-Key", value = { env = "NAME" } }`
	}
	return "", ""
}

// secure reports whether nobody else can read what is sent to a URL: it is
// https, or stays on this machine.
func secure(raw string) bool {
	u, err := url.Parse(raw)
	return err != nil || u.Scheme == "https" || loopback(u.Hostname())
}

// reservedFields are set by HTTP and MCP themselves.
var reservedFields = []string{"Host", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Connection",
	"Keep-Alive", "Te", "Trailer", "Upgrade", "Accept", "Last-Event-Id", "Proxy-Authorization", "Proxy-Connection"}

func checkField(v string) (problem, hint string) {
	reserved := func(f string) bool { return strings.EqualFold(f, v) }
	if slices.ContainsFunc(reservedFields, reserved) || strings.HasPrefix(strings.ToLower(v), "mcp-") {
		return quote(v) + " is set by the protocol itself", `name the field that the source reads its key from, for example "X-Api-Key"`
	}
	return "", ""
}

func checkGlob(v string) (problem, hint string) {
	if _, err := path.Match(v, ""); err != nil || v == "" {
		return quote(v) + " is no pattern", `for example "get_*"; a [ needs its ], and \ must not come last`
	}
	return "", ""
}
