package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/near"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
	"github.com/bulkhead-mcp/bulkhead/upstream/rest/connectors"
)

// maxDefinition is the largest file of a definition read, in bytes.
const maxDefinition = 4 << 20

// definition reads the definition of a REST source: one that is built in, or a
// file.
func definition(connector, file string) (*rest.Definition, error) {
	if connector != "" {
		return connectors.Load(connector)
	}
	f, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(f, maxDefinition+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxDefinition {
		return nil, fmt.Errorf("%s: larger than %d bytes", file, maxDefinition)
	}
	return rest.Parse(text, file)
}

// openRegular opens a file that has an end: a pipe would be waited for.
func openRegular(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	return os.Open(path)
}

// newREST builds what speaks to a REST source.
func newREST(ctx context.Context, w *wiring, u config.Upstream, signedIn *atomic.Pointer[signIn]) (upstream.Adapter, error) {
	if u.Sandbox != "" {
		return newCRM(ctx, w, u, signedIn)
	}
	d, err := definition(u.REST.Connector, u.REST.Definition.Path)
	if err != nil {
		return nil, err
	}
	h, err := w.http(ctx, u, signedIn)
	if err != nil {
		return nil, err
	}
	return w.overREST(u, d, h)
}

// overREST builds the adapter of a REST source; closing it releases h.
func (w *wiring) overREST(u config.Upstream, d *rest.Definition, h *httpSide) (upstream.Adapter, error) {
	a, err := rest.New(rest.Options{
		ID: upstream.ID(u.Name), Definition: d, Values: u.REST.Values, BaseURL: u.URL, Key: w.key(),
		MaxMessage: u.MaxMessage, Writes: u.Writes != "deny", Log: w.log, ClientFor: h.clientFor,
		TokenValue: h.value,
	}, h.client)
	if err != nil {
		h.release()
		return nil, err
	}
	return h.around(a), nil
}

// value returns a member of the answer that the token in use came with.
func (s *signIn) value(ctx context.Context, _ *upstream.Call, member string) (string, error) {
	if s == nil {
		return "", errors.New("there is no token: auth is of a type that gets none; set url")
	}
	t, err := s.sets[0].tokens.Token(ctx)
	if err != nil {
		return "", err
	}
	if t.Values[member] == "" {
		return "", fmt.Errorf("the token response has no %s", member)
	}
	return t.Values[member], nil
}

// fromToken says which members of the token response say where a source is, and
// what a host that they name must end in; nothing where its URL is known.
func fromToken(u config.Upstream) (members, suffixes []string, err error) {
	if u.Kind != "rest" || u.URL != "" {
		return nil, nil, nil
	}
	d, err := definition(u.REST.Connector, u.REST.Definition.Path)
	if err != nil {
		return nil, nil, err
	}
	f, err := d.Fill(u.REST.Values)
	if err != nil {
		return nil, nil, err
	}
	return f.Members, f.Suffixes, nil
}

// restPresets returns what a definition lays under the table of its upstream.
func restPresets(base string, u map[string]any) (map[string]any, config.Faults) {
	under := sourcePresets()
	under["kind"] = "rest"
	connector, _ := u["connector"].(string)
	file, _ := u["definition"].(string)
	if connector == "" && file == "" {
		return under, nil
	}
	d, err := definition(connector, located(base, file))
	if err != nil {
		if connector != "" {
			hint := "one of " + strings.Join(connectors.Names(), ", ")
			if meant := near.Name(connector, connectors.Names()); meant != "" {
				hint = "did you mean " + meant + "? " + hint
			}
			return under, config.Faults{{Path: "connector", Problem: err.Error(), Hint: hint}}
		}
		return under, definitionFaults(err)
	}
	filled, err := d.Fill(textsOf(u["values"]))
	if err != nil {
		return under, definitionFaults(err)
	}
	maps.Copy(under, filled.Preset)
	if filled.BaseURL != "" {
		under["url"] = filled.BaseURL
	}
	auth := presetAuth(filled, u)
	if auth != nil {
		under["auth"] = auth
	}
	tokens := getsTokens(auth["type"])
	overrides(under, d, u, tokens)
	switch _, given := u["url"]; {
	case filled.BaseURL != "", given:
	case d.BaseURL == "":
		return under, config.Faults{{Path: "url", Problem: "is missing: the definition has no base_url", Hint: "write the address here or there"}}
	case !tokens:
		return under, config.Faults{{Path: "url", Problem: "is missing: the source says in the token response where it is, and this auth gets no tokens", Hint: "write the address, or use a type of auth that gets tokens"}}
	}
	return under, nil
}

// located is a path in the configuration, as it counts there.
func located(base, path string) string {
	if rest, ok := strings.CutPrefix(filepath.ToSlash(path), "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, filepath.FromSlash(rest))
		}
	}
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(base, path)
}

func textsOf(table any) map[string]string {
	out := map[string]string{}
	t, _ := table.(map[string]any)
	for name, v := range t {
		if s, ok := v.(string); ok {
			out[name] = s
		}
	}
	return out
}

// definitionFaults turns what is wrong with a definition, or with the values for
// it, into faults of the configuration.
func definitionFaults(err error) config.Faults {
	faults, ok := errors.AsType[rest.Faults](err)
	if !ok {
		return config.Faults{{Path: "definition", Problem: err.Error(), Hint: "the file must be a definition in TOML; see docs/rest.md"}}
	}
	var out config.Faults
	for _, f := range faults {
		if strings.HasPrefix(f.Key, "values.") && err.Error() == faults.Error() { // not of the file itself
			out = append(out, config.Fault{Path: f.Key, Problem: f.Problem})
			continue
		}
		out = append(out, config.Fault{Path: "definition", Problem: f.Key + ": " + f.Problem, Hint: "correct the file"})
	}
	return out
}

// presetAuth returns what a definition knows of the sign-in that the operator has
// chosen, or else of the first that it names; nil if that is nothing.
func presetAuth(f *rest.Filled, u map[string]any) map[string]any {
	own, _ := u["auth"].(map[string]any)
	typ, chosen := own["type"].(string)
	for _, a := range f.Auth {
		if chosen && a.Type != typ {
			continue
		}
		out := maps.Clone(a.Keys)
		if out == nil {
			out = map[string]any{}
		}
		out["type"] = a.Type
		return out
	}
	if chosen {
		return map[string]any{"type": typ}
	}
	return nil
}

func getsTokens(typ any) bool {
	name, _ := typ.(string)
	return config.Auth{Type: name}.Tokens()
}

// overrides lays what actions cost, and the scopes that they need, under the
// tools of an upstream. What is not offered gets none.
func overrides(under map[string]any, d *rest.Definition, u map[string]any, scopes bool) {
	writes, ok := u["writes"].(string)
	if !ok {
		writes, _ = under["writes"].(string)
	}
	tools := map[string]any{}
	for i := range d.Actions {
		a := &d.Actions[i]
		if a.Writes() && writes == "deny" {
			continue
		}
		o := map[string]any{}
		if a.Cost > 1 {
			o["cost"] = a.Cost
		}
		if scopes && len(a.Scopes) > 0 {
			list := make([]any, len(a.Scopes))
			for i, s := range a.Scopes {
				list[i] = s
			}
			o["scopes"] = list
		}
		if len(o) > 0 {
			tools[a.Name] = o
		}
	}
	if len(tools) == 0 {
		return
	}
	layUnder(under, map[string]any{"tools": map[string]any{"override": tools}})
}

// layUnder adds to a table what it has not.
func layUnder(over, under map[string]any) {
	for name, v := range under {
		below, table := v.(map[string]any)
		own, both := over[name].(map[string]any)
		switch _, there := over[name]; {
		case table && both:
			layUnder(own, below)
		case !there:
			over[name] = v
		}
	}
}
