package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/near"
	"github.com/bulkhead-mcp/bulkhead/upstream/openapi"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// importing is the flags of import-openapi.
type importing struct {
	list, write                  bool
	match, operations, url, name string
}

func importFlags(fs *flag.FlagSet, o *options) {
	i := &o.importing
	fs.BoolVar(&i.list, "list", false, "show a table of what is chosen instead of its configuration")
	fs.StringVar(&i.match, "match", "", "choose by one `PATTERN`, e.g. \"GET /items/*\" or \"items/*\"")
	fs.StringVar(&i.operations, "operations", "", "choose by a `LIST` of patterns with commas between them")
	fs.StringVar(&i.url, "url", "", "where the source is: the `URL` that paths are appended to")
	fs.StringVar(&i.name, "name", "", "the `NAME` of the upstream; left out, it is made from the document's title")
	fs.BoolVar(&i.write, "write", false, "append the configuration to the configuration file, and keep that as it was with .bak at its end")
}

// importOpenAPI shows what is in a document, and prints the configuration of
// what is chosen of it.
func importOpenAPI(ctx context.Context, inv *invocation) error {
	i := &inv.opt.importing
	chosen := slices.DeleteFunc(strings.Split(i.operations, ","), func(s string) bool { return strings.TrimSpace(s) == "" })
	if i.match != "" {
		chosen = append(chosen, i.match)
	}
	switch {
	case len(inv.args) != 1:
		return &usageError{fmt.Sprintf("import-openapi takes one argument, but got %d", len(inv.args)), "name a file, or a URL that begins with https://"}
	case i.write && (i.list || inv.opt.json):
		return &usageError{"--write does not go with --list and --json", "look first, then write"}
	case i.write && (len(chosen) == 0 || i.url == ""):
		return &usageError{"--write needs --url and either --match or --operations", "the document does not decide what is asked, nor where"}
	}
	if i.name != "" {
		if err := inv.mayBeCalled(i.name); err != nil {
			return err
		}
	}
	from := inv.args[0]
	if !remote(from) {
		var err error
		if from, err = filepath.Abs(from); err != nil {
			return err
		}
	}
	text, err := readDocument(ctx, from)
	if err != nil {
		return err
	}
	all := len(chosen) == 0
	if all {
		chosen = []string{"* *"}
	}
	c, err := openapi.Compile(ctx, text, openapi.Selection{Operations: chosen, Room: maxToolName - len(i.name) - 1})
	if err != nil {
		return err
	}
	if i.name == "" {
		i.name = named(c.Definition.Title)
		if err := inv.mayBeCalled(i.name); err != nil {
			return err
		}
	}
	switch {
	case inv.opt.json:
		err = printOperations(inv.Out, c)
	case all || i.list:
		width := 0
		if f, ok := inv.Out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			width, _ = terminal(f, inv.Env)
		}
		err = listOperations(inv.Out, c, width)
	default:
		err = inv.configureOpenAPI(from, c)
	}
	var known []string
	if len(c.Unmatched) > 0 && !all { // what is not chosen may be what is meant
		if whole, err := openapi.Compile(ctx, text, openapi.Selection{Operations: []string{"* *"}, Room: maxToolName}); err == nil {
			for _, o := range whole.Operations {
				known = append(known, o.Named)
			}
		}
	}
	inv.remark(c, all, known)
	if err == nil && len(c.Unmatched) > 0 {
		err = failedError{}
	}
	return err
}

// mayBeCalled tells what is wrong with the name of the upstream that is to be: it
// may not be one, or be taken in the file that is written to.
func (inv *invocation) mayBeCalled(name string) error {
	if problem, hint := config.CheckName(name); problem != "" {
		return &usageError{fmt.Sprintf("--name: %.60q %s", name, problem), hint}
	}
	if !inv.opt.importing.write {
		return nil
	}
	path, err := inv.configPath()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err == nil && slices.Contains(config.Names(text), name) {
		return &usageError{fmt.Sprintf("there is an upstream %q in %s already", name, path), "choose another with --name"}
	}
	return nil // a file that cannot be read is told of when it is written to
}

// named makes the name of an upstream from the title of a document.
func named(title string) string {
	name := strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return '_'
	}, strings.ToLower(title))
	for strings.Contains(name, "__") {
		name = strings.ReplaceAll(name, "__", "_")
	}
	name = strings.TrimLeft(name, "_0123456789")
	return cmp.Or(strings.TrimRight(name[:min(len(name), 24)], "_"), "api")
}

// remark says what is to be known beside the answer; known are the operations that
// there are, where some of what was named is none.
func (inv *invocation) remark(c *openapi.Compiled, all bool, known []string) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(inv.Err, "bulkhead: "+format+"\n", args...) }
	if !all { // else the document has none
		for _, p := range c.Unmatched {
			meant := near.Name(p, known)
			if meant != "" {
				meant = "; did you mean " + aggregate.Printable(meant, 120) + "?"
			}
			say("warning: %q names no operation%s", p, meant)
		}
	}
	for _, l := range c.Lost {
		say("warning: %s", aggregate.Printable(l, 200))
	}
	left := 0
	for _, o := range c.Operations {
		if o.Problem == "" {
			continue
		}
		if left++; !all && left <= maxWarnings {
			say("warning: %s is left out: %s", aggregate.Printable(o.Named, 120), aggregate.Printable(o.Problem, 200))
		}
	}
	say("%d %s, %d of them left out", len(c.Operations), plural(len(c.Operations), "operation"), left)
	if all {
		say("hint: choose with --match or --operations; nothing becomes a tool unless it is named")
	}
}

func printOperations(out io.Writer, c *openapi.Compiled) error {
	raw, err := json.Marshal(struct {
		Title      string              `json:"title"`
		Servers    []string            `json:"servers,omitempty"`
		Operations []openapi.Operation `json:"operations"`
		Unmatched  []string            `json:"unmatched,omitempty"`
		Lost       []string            `json:"lost,omitempty"`
	}{c.Definition.Title, c.Servers, append([]openapi.Operation{}, c.Operations...), c.Unmatched, c.Lost})
	if err != nil {
		return err
	}
	return printJSON(out, raw)
}

// listOperations prints what there is: a line for each operation, or several where
// it would not fit into the width of a terminal; 0 is none.
func listOperations(out io.Writer, c *openapi.Compiled, width int) error {
	var table, narrow bytes.Buffer
	tab := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tab, "OPERATION\tMETHOD\tPATH\tCLASS\tARGUMENTS")
	for _, o := range c.Operations {
		what := strings.Join(o.Parameters, " ")
		if o.Problem != "" {
			what = "left out: " + o.Problem
		} else if len(o.Notes) > 0 {
			what += " (" + strings.Join(o.Notes, "; ") + ")"
		}
		id := o.ID
		if o.Named != o.ID {
			id = "-"
		}
		id, path, what := aggregate.Printable(id, 80), aggregate.Printable(o.Path, 120), aggregate.Printable(what, 160)
		_, _ = fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\n", id, o.Method, path, o.Class, what)
		fmt.Fprintf(&narrow, "%s  %s\n    %s %s\n", id, o.Class, o.Method, path)
		for _, line := range wrapped(what, max(width-4, 20)) {
			fmt.Fprintf(&narrow, "    %s\n", line)
		}
	}
	_ = tab.Flush() // into memory
	for line := range bytes.Lines(table.Bytes()) {
		if width > 0 && utf8.RuneCount(line) > width+1 {
			_, err := narrow.WriteTo(out)
			return err
		}
	}
	_, err := table.WriteTo(out)
	return err
}

// configureOpenAPI prints the table of an upstream, or writes it.
func (inv *invocation) configureOpenAPI(from string, c *openapi.Compiled) error {
	table := openapiTable(inv.opt.importing, from, c)
	if table == "" {
		return errors.New("none of what is chosen can become a tool")
	}
	if !inv.opt.importing.write {
		_, err := io.WriteString(inv.Out, table)
		return err
	}
	path, err := inv.configPath()
	if err != nil {
		return err
	}
	return inv.appendTable(path, table)
}

// appendTable adds a table to the configuration file, which is made if there is
// none, and keeps what it was.
func (inv *invocation) appendTable(path, table string) error {
	mode := fs.FileMode(0o600)
	target, err := filepath.EvalSymlinks(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	if !fresh {
		if err != nil {
			return err
		}
		path = target
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		mode = info.Mode().Perm()
	}
	var old []byte
	if !fresh {
		if old, err = os.ReadFile(path); err != nil {
			return err
		}
		table = "\n" + table
	}
	whole := slices.Concat(old, []byte(table))
	if _, err := reader().Parse(whole, path, inv.Environ); err != nil {
		return &hintError{errors.New(path + " would not be right with it, and is left as it is: " + err.Error()), "--name, --url and --operations decide what is added"}
	}
	put := func(path string, text []byte) error {
		if err := writeWhole(path, text); err != nil {
			return err
		}
		return os.Chmod(path, mode)
	}
	kept := ""
	if !fresh {
		kept = "; as it was: " + path + ".bak"
		if err := put(path+".bak", old); err != nil {
			return err
		}
	}
	if err := put(path, whole); err != nil {
		return err
	}
	_, err = fmt.Fprintf(inv.Err, "bulkhead: upstream %s added to %s%s\n", inv.opt.importing.name, path, kept)
	return err
}

// openapiTable is the configuration of what is chosen; "" if that is nothing.
func openapiTable(i importing, from string, c *openapi.Compiled) string {
	var b strings.Builder
	quote := func(s string) string { return string(rawjson.Quote(s)) }
	fmt.Fprintf(&b, "[upstream.%s]\nkind = \"openapi\"\ndocument = %s\n", i.name, quote(from))
	switch {
	case i.url != "":
		fmt.Fprintf(&b, "url = %s\n", quote(i.url))
	case len(c.Servers) > 0 && strings.HasPrefix(c.Servers[0], "https://") && !strings.Contains(c.Servers[0], "{"):
		fmt.Fprintf(&b, "url = %s # is what the document says: is it right?\n", quote(strings.TrimSuffix(c.Servers[0], "/")))
	default:
		b.WriteString("# url = \"https://...\" # where the source is; the document does not say it\n")
	}
	var writes []string
	b.WriteString("operations = [\n")
	n := 0
	for _, o := range c.Operations {
		if o.Problem != "" || openapi.CheckPattern(o.Named) != nil {
			continue
		}
		n++
		entry := o.Named
		if o.Class != o.Usual() {
			entry += " " + o.Class
		}
		fmt.Fprintf(&b, "  %s,", quote(entry))
		if o.Title != "" {
			fmt.Fprintf(&b, " # %s", aggregate.Printable(o.Title, 80))
		}
		b.WriteByte('\n')
		if o.Class != "read" {
			writes = append(writes, o.Tool)
		}
	}
	b.WriteString("]\n")
	if len(writes) > 0 {
		fmt.Fprintf(&b, "# writes = \"serial\" # without it these are not offered: %s\n", aggregate.Printable(strings.Join(writes, ", "), 400))
	}
	if n == 0 {
		return ""
	}
	return b.String()
}
