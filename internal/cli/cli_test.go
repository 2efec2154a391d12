package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
)

func TestMain(m *testing.M) {
	egress.Poison()
	goleak.VerifyTestMain(m)
}

// invoke runs one command in this process, with an environment of its own.
func invoke(t *testing.T, environ []string, args ...string) (code int, out, err string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(t.Context(), args, Env{
		In: strings.NewReader(""), Out: &o, Err: &e, Environ: append([]string{"HOME=" + t.TempDir()}, environ...),
		Exe: func() (string, error) { return "/nonexistent/bulkhead", nil },
	})
	return code, o.String(), e.String()
}

func TestCommandLine(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		want string // in what is printed
	}{
		{"unknown command", []string{"frobnicate"}, 2, `unknown command "frobnicate"`},
		{"unknown command, hint", []string{"frobnicate"}, 2, "hint: the commands are serve, demo, check, tools, call, sources, metrics, login, logout, sandbox, import-openapi, import-graphql, version\n"},
		{"unknown flag", []string{"check", "--frob"}, 2, "flag provided but not defined: -frob"},
		{"unknown flag of the default command", []string{"--frob"}, 2, "bulkhead serve --help lists the flags"},
		{"superfluous argument", []string{"tools", "x"}, 2, `tools takes no argument, but got "x"`},
		{"help", []string{"help"}, 0, "Usage: bulkhead [COMMAND] [FLAGS]"},
		{"--help", []string{"--help"}, 0, "Usage: bulkhead [COMMAND] [FLAGS]"},
		{"help of a command", []string{"call", "--help"}, 0, "Usage: bulkhead call TOOL [JSON] [FLAGS]"},
		{"help of the default command, named", []string{"serve", "--help"}, 0, "-listen ADDRESS"},
		{"a schema that is not there", []string{"import-graphql", "nope.graphql", "--config", "/nonexistent.toml"}, 1, `no file called "nope.graphql"`},
		{"version", []string{"version"}, 0, "bulkhead "},
		{"sandbox without a name", []string{"sandbox"}, 2, "the sample sources are crm, warehouse, tickets"},
		{"sandbox of another name", []string{"sandbox", "x"}, 2, `there is no sample source "x"`},
		{"sandbox latency", []string{"sandbox", "crm", "--latency", "soon"}, 2, `--latency "soon" is not a duration`},
		{"call without a tool", []string{"call"}, 2, "call takes a tool's name"},
		{"call with bad JSON", []string{"call", "x", "{"}, 2, "the arguments are not valid JSON: "},
		{"check timeout", []string{"check", "--timeout", "-1s"}, 2, `--timeout "-1s" is not a duration`},
		{"configuration that is not there", []string{"check", "--config", "/nonexistent.toml"}, 2, "/nonexistent.toml"},
		{"configuration that is a directory", []string{"check", "--config", t.TempDir()}, 2, "is a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errs := invoke(t, nil, tt.args...)
			if code != tt.code || !strings.Contains(out+errs, tt.want) {
				t.Errorf("%d\n%s%s", code, out, errs)
			}
			if tt.code != 0 && out != "" {
				t.Errorf("on standard output: %s", out)
			}
		})
	}
}

// The first thing that people see fits a terminal.
func TestHelpIsNarrow(t *testing.T) {
	_, out, _ := invoke(t, nil, "--help")
	for line := range strings.Lines(out) {
		if len(line) > 81 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
}

// What is no file is said to be none, and not waited for.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	for _, source := range []string{
		"kind = 'rest'\ndefinition = '" + dir + "'",
		"kind = 'openapi'\nurl = 'http://127.0.0.1:1'\noperations = ['x']\ndocument = '" + dir + "'",
		"kind = 'graphql'\nurl = 'http://127.0.0.1:1'\ndocuments = ['" + dir + "']",
	} {
		if err := os.WriteFile(file, []byte("[upstream.a]\n"+source+"\n[server]\nstate = 'none'\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, out, errs := invoke(t, nil, "check", "--config", file); !strings.Contains(out+errs, dir+" is no file") {
			t.Errorf("%s\n%s%s", source, out, errs)
		}
	}
}

// A name that is nearly right leads to the right one, listed or not.
func TestNearNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	config := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const warehouse = "[upstream.wh]\nkind = 'sql'\nsandbox = 'warehouse'\n[server]\nstate = 'none'\n"
	config(warehouse)
	if code, _, errs := invoke(t, nil, "call", "wh_shema", "--config", file); code != 1 || !strings.Contains(errs, "perhaps wh_schema is meant\n") || strings.Contains(errs, "did you mean") {
		t.Errorf("%d %s", code, errs)
	}
	config(warehouse + "[upstream.wh.tools.override.recent_orders]\nrequires = ['shema', 'schema']\n")
	warning := `warning: tools.override.recent_orders.requires names "shema", which is none of its tools: no plan can have recent_orders; did you mean schema?`
	if code, out, errs := invoke(t, nil, "check", "--config", file); code != 0 || strings.Count(out, "warning: tools.override") != 1 || !strings.Contains(out, warning+"\n") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	config(warehouse + "discovery = 'search'\npinned = ['wh_schema']\n")
	if code, out, errs := invoke(t, nil, "tools", "--config", file); code != 0 || !strings.Contains(out, "wh_top_customers") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	config("[upstream.support]\nconnector = 'zendesc'\n")
	if code, _, errs := invoke(t, nil, "check", "--config", file); code != 2 || !strings.Contains(errs, `there is no connector "zendesc" (hint: did you mean zendesk? one of`) {
		t.Errorf("%d %s", code, errs)
	}
	config("[upstream.support]\nconnector = 'zendesk'\nvalues = { subdomain = 'a', nope = 'b' }\n")
	if _, _, errs := invoke(t, nil, "check", "--config", file); !strings.Contains(errs, "values.nope: there is no such value; there are subdomain\n") {
		t.Error(errs)
	}
}

// What is wrong with queries, documents and definitions is told of all sources at
// once, each with its place, like everything else in the configuration.
func TestFaultsOfAllKinds(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "q.graphql"), "query a { b }\nquery {")
	const faulty = `
[upstream.books]
kind = "sql"
database = "sqlite:books.db"
statements.all.sql = "SELECT * FROM t WHERE a = :a AND b = :b"
statements.two.sql = "SELECT 1; SELECT 2"
[upstream.sales]
kind = "sql"
database = "postgres://reader@127.0.0.1:1/sales"
auth = { type = "basic", user = "reader", password = { env = "NOT_SET" } }
statements.gone.sql = "DELETE FROM t"
[upstream.none]
kind = "graphql"
url = "http://127.0.0.1:1/"
[upstream.some]
kind = "graphql"
url = "http://127.0.0.1:1/"
documents = ["q.graphql"]
[upstream.more]
kind = "graphql"
url = "http://127.0.0.1:1/"
documents = ["gone.graphql"]
schema_file = "gone.json"
`
	told := []string{
		"upstream.books: statement all: it uses :a,", "upstream.books: statement all: it uses :b,",
		"upstream.books: statement two: it has more than one statement",
		"upstream.sales: statement gone: it is no query",
		"upstream.none: documents names no file, so that there is no operation to call (hint: bulkhead import-graphql none",
		"upstream.some: " + filepath.Join(dir, "q.graphql") + ":", "upstream.more: documents: stat ", "upstream.more: schema_file: stat ",
	}
	must := func(told []string) {
		t.Helper()
		code, _, errs := invoke(t, nil, "check", "--config", file)
		if code != 2 {
			t.Errorf("exit status %d", code)
		}
		for _, want := range told {
			if strings.Count(errs, want) != 1 {
				t.Errorf("not told once: %s\n%s", want, errs)
			}
		}
		if strings.Contains(errs, "upstream.odd: ") {
			t.Errorf("a fault that comes of another: %s", errs)
		}
	}
	write(file, faulty)
	must(told)
	// So is what is wrong with the rest: keys, and files of other kinds.
	write(file, strings.Replace(faulty, "statements.all", "concurency = 3\nlimit.queue = true\nstatements.all", 1)+`
[upstream.rest]
kind = "rest"
definition = "gone.toml"
[upstream.odd]
kind = "sql"
database = "sqlite:books.db"
statments.a.sql = "SELECT 1"
`)
	must(slices.Concat(told[3:], []string{"upstream.books.concurency: unknown key", "upstream.books.limit.queue: must be", "upstream.rest.definition: open ", "upstream.odd.statments: unknown key"}))
	write(file, strings.Replace(faulty, "statements.all", "limit.queue = true\nstatements.all", 1))
	must(append(told, "upstream.books.limit.queue: must be"))
}

func TestHiddenCommandsStayHidden(t *testing.T) {
	if _, out, errs := invoke(t, nil, "help"); strings.Contains(out, "guard") || !strings.Contains(out, "  sandbox") || errs != "" {
		t.Error(out, errs)
	}
}

func TestWhereTheConfigurationIs(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	if code, _, errs := invoke(t, nil, "check"); code != 2 || !strings.Contains(errs, "there is no configuration: looked for config.toml and ") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := invoke(t, []string{"BULKHEAD_CONFIG=/nonexistent/by-variable.toml"}, "check"); code != 2 || !strings.Contains(errs, "by-variable.toml") {
		t.Errorf("%d %s", code, errs)
	}
	code, _, errs := invoke(t, []string{"BULKHEAD_CONFIG=/nonexistent/by-variable.toml"}, "check", "--config", "/nonexistent/by-flag.toml")
	if code != 2 || !strings.Contains(errs, "by-flag.toml") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestReportKeepsTheCauseAndTheHint(t *testing.T) {
	var b bytes.Buffer
	code := report(&b, &hintError{io.ErrUnexpectedEOF, "try again"})
	if code != 1 || b.String() != "bulkhead: error: unexpected EOF\nbulkhead: hint: try again\n" {
		t.Errorf("%d %s", code, b.String())
	}
	if !errors.Is(&hintError{io.EOF, ""}, io.EOF) {
		t.Error("the cause is lost")
	}
	b.Reset()
	if code := report(&b, failedError{}); code != 1 || b.Len() != 0 {
		t.Errorf("%d %s", code, b.String())
	}
}
