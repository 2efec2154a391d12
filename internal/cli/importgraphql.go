package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/graphql"
)

// proposal is the flags of import-graphql.
type proposal struct {
	fields    wordList
	mutations bool
	depth     int
	out       string
}

// wordList is a flag that may be given several times, or with commas.
type wordList []string

func (n *wordList) String() string { return strings.Join(*n, ",") }

func (n *wordList) Set(v string) error {
	for name := range strings.SplitSeq(v, ",") {
		if name = strings.TrimSpace(name); name != "" {
			*n = append(*n, name)
		}
	}
	return nil
}

func proposalFlags(fs *flag.FlagSet, o *options) {
	fs.Var(&o.proposal.fields, "query", "propose an operation for this root `FIELD` only; several with commas or by naming the flag again")
	fs.BoolVar(&o.proposal.mutations, "mutations", false, "propose mutations too, which are offered only where writes is not \"deny\"")
	fs.IntVar(&o.proposal.depth, "depth", 2, "how many objects within each other are read, as a `NUMBER`")
	fs.StringVar(&o.proposal.out, "out", "", "write each operation to a file of its own in this `DIRECTORY`, and the schema if a service has told it")
}

// introspectTime is how long a service may take to tell its schema.
const introspectTime = 2 * time.Minute

// schemaFile is what a schema is written to, beside the operations.
const schemaFile = "schema.json"

// importGraphQL proposes operations for a GraphQL service.
func importGraphQL(ctx context.Context, inv *invocation) error {
	if len(inv.args) != 1 {
		return &usageError{fmt.Sprintf("import-graphql takes one argument, but got %d", len(inv.args)),
			"name an upstream of the configuration, a URL, or a file with a schema"}
	}
	if d := inv.opt.proposal.depth; d < 1 || d > 10 {
		return &usageError{fmt.Sprintf("--depth %d is out of range", d), "it is from 1 to 10"}
	}
	text, asked, err := inv.schemaOf(ctx, inv.args[0])
	if err != nil {
		return err
	}
	schema, err := graphql.ReadSchema(text)
	if err != nil {
		return err
	}
	want := inv.opt.proposal
	found, err := graphql.Propose(schema, graphql.Wanted{Fields: want.fields, Mutations: want.mutations, Depth: want.depth})
	switch {
	case err != nil:
		return &hintError{err, "mutations are looked for with --mutations only"}
	case len(found) == 0:
		return errors.New("there is nothing in the schema that could be proposed")
	}
	if want.out == "" {
		for i, p := range found {
			if i > 0 {
				_, _ = io.WriteString(inv.Out, "\n")
			}
			if _, err := io.WriteString(inv.Out, p.Text); err != nil {
				return err
			}
		}
		return nil
	}
	return inv.writeProposals(found, text, asked)
}

// writeProposals writes operations into files that are not there yet, and the
// schema if it was asked for.
func (inv *invocation) writeProposals(found []graphql.Proposal, schema graphql.Source, asked bool) error {
	dir, err := filepath.Abs(inv.opt.proposal.out) // the configuration may stand elsewhere
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	written, kept := 0, 0
	write := func(name, text string) error {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // no secret; to be read by others
		if errors.Is(err, fs.ErrExist) {
			kept++
			return nil
		}
		if err != nil {
			return err
		}
		written++
		_, err = io.WriteString(f, text)
		return errors.Join(err, f.Close())
	}
	for _, p := range found {
		if err := write(p.Tool+".graphql", p.Text); err != nil {
			return err
		}
	}
	lines := fmt.Sprintf("documents = [%q]\n", filepath.Join(dir, "*.graphql"))
	if asked {
		if err := write(schemaFile, schema.Text); err != nil {
			return err
		}
		lines += fmt.Sprintf("schema_file = %q\n", filepath.Join(dir, schemaFile))
	}
	_, _ = fmt.Fprintf(inv.Err, "bulkhead: %d %s written to %s", written, plural(written, "file"), dir)
	if kept > 0 {
		_, _ = fmt.Fprintf(inv.Err, ", %d left as before", kept)
	}
	_, _ = fmt.Fprintln(inv.Err, "; an upstream of kind \"graphql\" uses them by")
	_, err = io.WriteString(inv.Out, lines)
	return err
}

// schemaOf returns the text of a schema, and whether a service was asked for it:
// an upstream by its name, a URL, or else a file.
func (inv *invocation) schemaOf(ctx context.Context, where string) (text graphql.Source, asked bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, introspectTime)
	defer cancel()
	if strings.Contains(where, "://") {
		text, err = introspectURL(ctx, where)
		return text, true, public(err)
	}
	cfg, err := inv.load()
	if err == nil {
		for _, u := range cfg.Upstreams {
			if u.Name == where && u.Kind == "graphql" {
				text, err = inv.introspectUpstream(ctx, cfg, u)
				return text, true, public(err)
			}
		}
	}
	text, fileErr := graphqlSource(where)
	switch {
	case errors.Is(fileErr, fs.ErrNotExist) && err != nil && !strings.ContainsAny(where, "./"): // else it is no name
		return text, false, err // of the configuration, which might have had it
	case errors.Is(fileErr, fs.ErrNotExist):
		return text, false, &hintError{fmt.Errorf("there is no upstream of kind \"graphql\" and no file called %q", where),
			"name one of them, or a URL that begins with https://"}
	}
	return text, false, fileErr
}

// introspectURL asks a service that needs no credential.
func introspectURL(ctx context.Context, where string) (graphql.Source, error) {
	at, err := url.Parse(where)
	if err != nil || at.Host == "" || at.Scheme != "https" && at.Scheme != "http" {
		return graphql.Source{}, &usageError{"the URL is none that can be asked", "it begins with https:// or http:// and has a host"}
	}
	base := egress.New(1)
	defer base.CloseIdleConnections()
	return graphql.Introspect(ctx, &http.Client{Transport: base}, where)
}

// introspectUpstream asks a configured service with its credential.
func (inv *invocation) introspectUpstream(ctx context.Context, cfg *config.Config, u config.Upstream) (graphql.Source, error) {
	w, err := wire(inv.Env, cfg, !inv.opt.verbose)
	if err != nil {
		return graphql.Source{}, err
	}
	defer w.close() //nolint:errcheck // nothing was started that could fail to end
	h, err := w.http(ctx, u, &atomic.Pointer[signIn]{})
	if err != nil {
		return graphql.Source{}, err
	}
	defer h.release()
	return graphql.Introspect(ctx, h.client, u.URL)
}

// public is a failure in the words that are meant to be read.
func public(err error) error {
	if e, ok := errors.AsType[*upstream.Error](err); ok && e.Public != "" {
		return errors.New(e.Public)
	}
	return err
}
