package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	"github.com/bulkhead-mcp/bulkhead/upstream/openapi"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

// maxToolName is what hosts take as the name of a tool, its prefix included.
const maxToolName = 64

// newOpenAPI builds what speaks to a source that a document describes. Nobody
// waits for that to be read, unless it takes the place of one that works: then it
// has to be good, like everything else that is read anew.
func newOpenAPI(ctx context.Context, w *wiring, u config.Upstream, signedIn *atomic.Pointer[signIn]) (upstream.Adapter, error) {
	k := w.keptOpenAPI(u)
	useless := func(err error) error {
		return &upstream.Error{
			Upstream: upstream.ID(u.Name), Op: "connect", Kind: upstream.Unavailable,
			Public: "its OpenAPI document is of no use; the operator has to see to it", Err: err,
		}
	}
	if _, works := w.built[u.Name]; works && !remote(k.from) {
		if _, err := k.compiled(ctx); err != nil {
			return nil, err
		}
	}
	d := &documented{}
	d.deferred = newDeferred(upstream.ID(u.Name), w.log, func(ctx context.Context) (upstream.Adapter, error) {
		c, err := k.compiled(ctx)
		if err != nil {
			return nil, useless(err)
		}
		warnOpenAPI(w.log, u.Name, c)
		left := leftOutOf(c)
		h, err := w.http(ctx, u, signedIn)
		if err != nil {
			return nil, err
		}
		a, err := rest.New(rest.Options{
			ID: upstream.ID(u.Name), Definition: &c.Definition, BaseURL: u.URL, Key: w.key(), MaxMessage: u.MaxMessage,
			Writes: u.Writes != "deny", Log: w.log, ClientFor: h.clientFor,
		}, h.client)
		if err != nil {
			h.release()
			return nil, useless(err)
		}
		d.left.Store(&left)
		return h.around(a), nil
	})
	return d, nil
}

// documented is a source whose document may have more in it than became tools.
type documented struct {
	*deferred
	left atomic.Pointer[[]upstream.Held]
}

// Held implements upstream.Holder.
func (d *documented) Held() []upstream.Held {
	if left := d.left.Load(); left != nil {
		return *left
	}
	return nil
}

// leftOutOf tells what of the operations that were asked for became no tool.
func leftOutOf(c *openapi.Compiled) []upstream.Held {
	var out []upstream.Held
	for _, p := range c.Unmatched {
		out = append(out, upstream.Held{Tool: p, Reason: "no operation of the document has this name"})
	}
	for _, o := range c.Operations {
		if o.Problem != "" {
			out = append(out, upstream.Held{Tool: o.Named, Reason: o.Problem})
		}
	}
	return out
}

// nothingLeft says why no operation became a tool, by the first of them.
func nothingLeft(left []upstream.Held) error {
	if len(left) == 0 {
		return errors.New("nothing in the document became a tool: bulkhead import-openapi says what there is")
	}
	return fmt.Errorf("nothing in the document became a tool: %q: %s; bulkhead import-openapi says what there is", left[0].Tool, left[0].Reason)
}

// maxWarnings is how many operations are named in the log that became no tool.
const maxWarnings = 20

func warnOpenAPI(log *slog.Logger, name string, c *openapi.Compiled) {
	left := maxWarnings
	warn := func(args ...any) {
		if left--; left >= 0 {
			log.Warn("not in the catalog", append([]any{"upstream", name}, args...)...)
		}
	}
	for _, p := range c.Unmatched {
		warn("operations", p, "problem", "names no operation of the document")
	}
	for _, o := range c.Operations {
		if o.Problem != "" {
			warn("operation", o.Method+" "+o.Path, "problem", o.Problem)
		}
	}
	for _, l := range c.Lost {
		warn("problem", l)
	}
}

// keptOpenAPI is the compiled form of a document, and where it is kept.
type keptOpenAPI struct {
	from string // path or URL
	sum  string // of a file, as it was when the configuration was read; "" if it was not there
	want openapi.Selection
	dir  string // "" keeps nothing
	name string // the upstream's
}

func (w *wiring) keptOpenAPI(u config.Upstream) *keptOpenAPI {
	k := &keptOpenAPI{from: u.OpenAPI.Document.Path, sum: u.OpenAPI.Document.Sum, want: openapi.Selection{Operations: u.OpenAPI.Operations, Room: maxToolName}, name: u.Name}
	if prefix := w.prefix(u); prefix != "" {
		k.want.Room -= len(prefix) + len("_")
	}
	if w.state != "" {
		k.dir = filepath.Join(w.state, "openapi")
	}
	return k
}

// key is what the compiled form is bound to: the content of a file, but the address
// of a URL, so that a start asks nobody.
func (k *keptOpenAPI) key(sum string) string {
	if remote(k.from) {
		return openapi.Key(k.from, k.want)
	}
	return openapi.Key(sum, k.want)
}

func (k *keptOpenAPI) file(key string) string {
	return filepath.Join(k.dir, k.name+"."+key[:16]+".gz")
}

// compiled returns the compiled form, from what is kept or anew. It has tools.
func (k *keptOpenAPI) compiled(ctx context.Context) (*openapi.Compiled, error) {
	c, err := k.load()
	if err != nil {
		c, err = k.compile(ctx)
	}
	if err == nil && len(c.Definition.Actions) == 0 {
		err = nothingLeft(leftOutOf(c))
	}
	return c, err
}

// load returns the compiled form if it is kept.
func (k *keptOpenAPI) load() (*openapi.Compiled, error) {
	if k.dir == "" {
		return nil, os.ErrNotExist
	}
	key := k.key(k.sum)
	raw, err := os.ReadFile(k.file(key))
	if err != nil {
		return nil, err
	}
	return openapi.Decode(raw, key)
}

// compile reads the document, and keeps what it comes to instead of what was
// kept before. Losing that costs a compilation at the next start.
func (k *keptOpenAPI) compile(ctx context.Context) (*openapi.Compiled, error) {
	text, err := readDocument(ctx, k.from)
	if err != nil {
		return nil, err
	}
	c, err := openapi.Compile(ctx, text, k.want)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.from, err)
	}
	sum := sha256.Sum256(text)
	c.Key = k.key(hex.EncodeToString(sum[:]))
	raw, err := c.Encode()
	if err != nil {
		return nil, err
	}
	if k.dir != "" && os.MkdirAll(k.dir, 0o700) == nil {
		old, _ := filepath.Glob(filepath.Join(k.dir, k.name+".*")) // names are plain
		for _, file := range old {
			_ = os.Remove(file)
		}
		_ = writeWhole(k.file(c.Key), raw)
	}
	return c, nil
}

// writeWhole writes a file so that nobody ever sees a part of it.
func writeWhole(path string, raw []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func remote(from string) bool { return strings.Contains(from, "://") }

// documentTime is how long fetching a document may take.
const documentTime = time.Minute

// readDocument reads a document from a file or from an address, without any
// credential. The address is the operator's, so its host may be one inside the
// network; redirects are not followed.
func readDocument(ctx context.Context, from string) ([]byte, error) {
	if !remote(from) {
		f, err := openRegular(from)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // only read from
		return io.ReadAll(io.LimitReader(f, openapi.MaxDocument+1))
	}
	at, err := url.Parse(from)
	if err != nil {
		return nil, errors.New("the document's address is no URL")
	}
	g, err := egress.NewGuard(egress.Options{Allow: []string{at.Host}, MaxBody: openapi.MaxDocument, Timeout: documentTime})
	if err != nil {
		return nil, fmt.Errorf("the document's address: %w", err)
	}
	defer g.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, errors.New("the document's address is no URL")
	}
	req.Header.Set("Accept", "application/json, application/yaml, */*;q=0.5")
	resp, err := (&http.Client{Transport: g}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching the document: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching the document: HTTP %d from %s", resp.StatusCode, at.Host)
	}
	return io.ReadAll(resp.Body)
}
