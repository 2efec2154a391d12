// Package cli is Bulkhead's command line and the only place where its parts
// are wired together.
//
// It owns the commands, their flags, exit statuses and texts, and it alone
// reads the configuration, resolves secrets and builds adapters. It must not
// hold logic of its own beyond that: what could be tested without a command
// belongs into another package.
//
// Rules of the interface: answers go to standard output, everything else to
// standard error; on stdio serving, nothing but protocol goes to standard
// output. Exit status 0 is fine, 1 failed, 2 a wrong command line or
// configuration.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/term"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// Env is what a command may touch of the process it runs in.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  []string         // as os.Environ
	Hangup   <-chan os.Signal // asks for the configuration to be read again; may be nil
	// Exe returns the path of our own binary, which sandbox sources and the
	// process guard run again.
	Exe func() (string, error)
}

// System returns the environment of this process.
func System() Env {
	env := Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), Exe: os.Executable}
	if !term.IsTerminal(int(os.Stdin.Fd())) { // there a hangup means that the window was closed
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		env.Hangup = hangup
	}
	return env
}

// command is one verb of the command line.
type command struct {
	name, args, summary string
	run                 func(context.Context, *invocation) error
	flags               func(*flag.FlagSet, *options)
	hidden              bool
}

// options are the values of all flags; each command registers its own.
type options struct {
	config, user, listen, customer, latency, timeout, client string
	json, verbose, watch, device                             bool
	proposal                                                 proposal

	importing importing
}

// invocation is one run of one command.
type invocation struct {
	Env
	opt  options
	args []string // what follows the flags
}

func commands() []command {
	return []command{
		{name: "serve", summary: "serve MCP over stdio, or HTTP with --listen (the default)", run: serve, flags: flagsOf(configFlags, listenFlag)},
		{name: "demo", summary: "ask three sample sources one question, in turn and at once", run: demonstrate, flags: demoFlags},
		{name: "check", summary: "check the configuration, connect to every upstream", run: check, flags: flagsOf(configFlags, jsonFlag, timeoutFlag, clientFlag)},
		{name: "tools", summary: "print the merged catalog", run: printTools, flags: flagsOf(configFlags, jsonFlag)},
		{name: "call", args: "TOOL [JSON]", summary: "call one tool; - reads its arguments from standard input", run: callTool, flags: flagsOf(configFlags, jsonFlag)},
		{name: "sources", summary: "print the state of every source in the running server", run: printSources, flags: flagsOf(configFlags, jsonFlag, watchFlag)},
		{name: "login", args: "UPSTREAM", summary: "sign in with a browser, or with --device on any machine", run: login, flags: flagsOf(configFlags, deviceFlag)},
		{name: "logout", args: "UPSTREAM", summary: "sign out: give the tokens back and forget them", run: logout, flags: flagsOf(configFlags, userFlag)},
		{name: "sandbox", args: "NAME", summary: "serve a sample source over stdio: crm, warehouse or tickets", run: serveSandbox, flags: flagsOf(latencyFlag, listenFlag)},
		{name: "import-openapi", args: "FILE_OR_URL", summary: "show what an OpenAPI document has, or make a source of it", run: importOpenAPI, flags: flagsOf(configFlags, jsonFlag, importFlags)},
		{name: "import-graphql", args: "UPSTREAM_OR_URL_OR_FILE", summary: "propose operations for a GraphQL service, from its schema", run: importGraphQL, flags: flagsOf(configFlags, proposalFlags)},
		{name: "version", summary: "print the version", run: printVersion},
		{name: "guard", hidden: true, run: guardProcesses},
	}
}

// Main runs one command and returns the exit status.
func Main(ctx context.Context, args []string, env Env) int {
	inv, cmd, err := parse(args, env)
	if help, ok := errors.AsType[helpError](err); ok {
		_, _ = io.WriteString(env.Out, help.text)
		return exitOK
	}
	if err == nil {
		err = cmd.run(ctx, inv)
	}
	return report(env.Err, err)
}

func parse(args []string, env Env) (*invocation, command, error) {
	cmds := commands()
	cmd := cmds[0]
	named := len(args) > 0 && !strings.HasPrefix(args[0], "-")
	if named {
		i := slices.IndexFunc(cmds, func(c command) bool { return c.name == args[0] })
		if args[0] == "help" {
			return nil, cmd, helpError{usage(cmds)}
		}
		if i < 0 {
			return nil, cmd, &usageError{fmt.Sprintf("unknown command %q", args[0]), "the commands are " + names(cmds)}
		}
		cmd, args = cmds[i], args[1:]
	}
	inv := &invocation{Env: env}
	fs := flag.NewFlagSet("bulkhead "+cmd.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	if cmd.flags != nil {
		cmd.flags(fs, &inv.opt)
	}
	// Flags may stand before and after the arguments.
	for rest := args; ; {
		if err := fs.Parse(rest); errors.Is(err, flag.ErrHelp) {
			if !named {
				return nil, cmd, helpError{usage(cmds)}
			}
			return nil, cmd, helpError{commandUsage(cmd, fs)}
		} else if err != nil {
			return nil, cmd, &usageError{err.Error(), fmt.Sprintf("bulkhead %s --help lists the flags", cmd.name)}
		}
		if rest = fs.Args(); len(rest) == 0 {
			break
		}
		inv.args = append(inv.args, rest[0])
		rest = rest[1:]
	}
	if len(inv.args) > 0 && cmd.args == "" {
		return nil, cmd, &usageError{fmt.Sprintf("%s takes no argument, but got %q", cmd.name, inv.args[0]),
			fmt.Sprintf("bulkhead %s --help says what it takes", cmd.name)}
	}
	return inv, cmd, nil
}

// usageError is a wrong command line.
type usageError struct{ problem, hint string }

func (e *usageError) Error() string { return e.problem }

// failedError ends a command with status 1; what went wrong has been printed.
type failedError struct{}

func (failedError) Error() string { return "failed" }

// helpError carries the text that was asked for.
type helpError struct{ text string }

func (helpError) Error() string { return "help" }

// hintError is an error with advice.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// report prints an error and returns the status to exit with.
func report(w io.Writer, err error) int {
	say := func(kind, text string) { _, _ = fmt.Fprintf(w, "bulkhead: %s: %s\n", kind, text) }
	var (
		usage  *usageError
		hinted *hintError
		faults config.Faults
		file   *config.FileError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &failedError{}):
		return exitFailed
	case errors.As(err, &usage):
		say("error", usage.problem)
		say("hint", usage.hint)
		return exitUsage
	case errors.As(err, &faults):
		say("error", fmt.Sprintf("the configuration has %d %s", len(faults), plural(len(faults), "fault")))
		_, _ = fmt.Fprintln(w, faults.Error())
		return exitUsage
	case errors.As(err, &file):
		say("error", file.Error())
		return exitUsage
	}
	switch {
	case errors.As(err, &hinted):
		say("error", err.Error())
		say("hint", hinted.hint)
	case errors.Is(err, context.Canceled):
		say("error", "interrupted")
	default:
		say("error", err.Error())
	}
	return exitFailed
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func names(cmds []command) string {
	var out []string
	for _, c := range cmds {
		if !c.hidden {
			out = append(out, c.name)
		}
	}
	return strings.Join(out, ", ")
}

// verbWidth is where the summaries of the commands begin.
const verbWidth = 18

func usage(cmds []command) string {
	var b strings.Builder
	b.WriteString("Bulkhead is one MCP server in front of many data sources.\n\nUsage: bulkhead [COMMAND] [FLAGS]\n\n")
	for _, c := range cmds {
		if !c.hidden {
			verb := strings.TrimSpace(c.name + " " + c.args)
			if len(verb) > verbWidth {
				verb += "\n" + strings.Repeat(" ", verbWidth+2)
			}
			fmt.Fprintf(&b, "  %-*s %s\n", verbWidth, verb, c.summary)
		}
	}
	b.WriteString("\nThe configuration is --config FILE, or $BULKHEAD_CONFIG, or ./config.toml, or\n" +
		"bulkhead/config.toml in your configuration directory. bulkhead COMMAND --help\n" +
		"lists a command's flags, bulkhead serve --help those of the default.\n")
	return b.String()
}

func commandUsage(c command, fs *flag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: bulkhead %s [FLAGS]\n\n%s\n", strings.TrimSpace(c.name+" "+c.args), c.summary)
	fs.SetOutput(&b)
	fs.PrintDefaults()
	return b.String()
}

// Version returns the version of this build: the module's, or the commit's.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

func printVersion(_ context.Context, inv *invocation) error {
	info, _ := debug.ReadBuildInfo()
	goVersion := ""
	if info != nil {
		goVersion = info.GoVersion
	}
	_, err := fmt.Fprintf(inv.Out, "bulkhead %s (%s)\n", Version(), goVersion)
	return err
}
