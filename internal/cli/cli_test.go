package cli

import (
	"bytes"
	"errors"
	"io"
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
		{"version", []string{"version"}, 0, "bulkhead "},
		{"sandbox without a name", []string{"sandbox"}, 2, "the sample sources are crm, warehouse, tickets"},
		{"sandbox of another name", []string{"sandbox", "x"}, 2, `there is no sample source "x"`},
		{"sandbox latency", []string{"sandbox", "crm", "--latency", "soon"}, 2, `--latency "soon" is not a duration`},
		{"call without a tool", []string{"call"}, 2, "call takes a tool's name"},
		{"call with bad JSON", []string{"call", "x", "{"}, 2, "the arguments are not valid JSON: "},
		{"check timeout", []string{"check", "--timeout", "-1s"}, 2, `--timeout "-1s" is not a duration`},
		{"configuration that is not there", []string{"check", "--config", "/nonexistent.toml"}, 2, "/nonexistent.toml"},
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
