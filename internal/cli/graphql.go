package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/graphql"
)

// maxGraphQLFile is how long a document or a schema may be, in bytes.
const maxGraphQLFile = 64 << 20

// newGraphQL builds what speaks to a GraphQL service.
func newGraphQL(ctx context.Context, w *wiring, u config.Upstream, signedIn *atomic.Pointer[signIn]) (upstream.Adapter, error) {
	opt, err := graphqlOptions(u)
	if err != nil {
		return nil, err
	}
	opt.Log = w.log
	h, err := w.http(ctx, u, signedIn)
	if err != nil {
		return nil, err
	}
	opt.ClientFor, opt.Log = h.clientFor, w.log
	a, err := graphql.New(opt, u.URL, h.client)
	if err != nil {
		h.release()
		return nil, err
	}
	return h.around(a), nil
}

// checkGraphQL tells what is wrong with the files of a GraphQL upstream.
func checkGraphQL(u config.Upstream) error {
	opt, err := graphqlOptions(u)
	if err != nil {
		return err
	}
	_, err = graphql.New(opt, u.URL, &http.Client{})
	return err
}

// graphqlOptions reads the files of a GraphQL upstream.
func graphqlOptions(u config.Upstream) (graphql.Options, error) {
	opt := graphql.Options{ID: upstream.ID(u.Name), Writes: u.Writes != "deny", MaxMessage: u.MaxMessage}
	if len(u.GraphQL.Documents) == 0 {
		return opt, &hintError{errors.New("documents names no file, so that there is no operation to call"),
			fmt.Sprintf("bulkhead import-graphql %s --out queries proposes some; then documents = [\"queries/*.graphql\"]", u.Name)}
	}
	var faults []error
	for _, f := range u.GraphQL.Documents {
		s, err := graphqlSource(f.Path)
		if err != nil {
			faults = append(faults, fmt.Errorf("documents: %w", err))
		}
		opt.Documents = append(opt.Documents, s)
	}
	if path := u.GraphQL.Schema.Path; path != "" {
		s, err := graphqlSource(path)
		if err == nil {
			opt.Schema, err = graphql.ReadSchema(s)
		}
		if err != nil {
			if faults == nil { // what is wrong with the documents is known without it
				_, more := graphql.New(opt, u.URL, &http.Client{})
				faults = append(faults, more)
			}
			faults = append(faults, fmt.Errorf("schema_file: %w", err))
		}
	}
	return opt, errors.Join(faults...)
}

func graphqlSource(path string) (graphql.Source, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return graphql.Source{}, err
	case !info.Mode().IsRegular():
		return graphql.Source{}, fmt.Errorf("%s is no file", path)
	case info.Size() > maxGraphQLFile:
		return graphql.Source{}, fmt.Errorf("%s has %d bytes, at most %d are read", path, info.Size(), maxGraphQLFile)
	}
	text, err := os.ReadFile(path)
	return graphql.Source{Name: path, Text: string(text)}, err
}
