package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/peer"
	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

// mcpOnly stands in for what is left out of a Bulkhead that has no kinds of
// upstreams but MCP servers.
//
//go:embed mcponly.go.txt
var mcpOnly []byte

// kindPackages are those of the other kinds, and whatever is linked for their sake
// alone.
var kindPackages = []string{
	"upstream/graphql", "upstream/openapi", "upstream/rest", "upstream/rest/connectors", "upstream/sqldb",
	"internal/sandbox/restapi", "internal/sandbox/warehousedb",
}

// mcpOnlyOverlay writes the overlay for a Bulkhead that knows MCP servers only: the
// files of internal/cli that import a package of another kind are not there, and
// the table of kinds is empty.
func (s *stage) mcpOnlyOverlay(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}\n{{range .GoFiles}}{{.}}\n{{end}}", module+"/internal/cli").Output()
	if err != nil {
		return "", fmt.Errorf("finding the wiring: %w", err)
	}
	lines := strings.Fields(string(out))
	dir, files := lines[0], lines[1:]
	stub, table := filepath.Join(s.dir, "mcponly.go"), filepath.Join(s.dir, "kinds.go")
	replace := map[string]string{filepath.Join(dir, "mcponly.go"): stub, filepath.Join(dir, "kinds.go"): table}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			return "", err
		}
		if slices.ContainsFunc(kindPackages, func(pkg string) bool { return bytes.Contains(text, []byte(`"`+module+"/"+pkg+`"`)) }) {
			replace[filepath.Join(dir, f)] = "" // as if it were not there
		}
	}
	kinds, err := os.ReadFile(filepath.Join(dir, "kinds.go"))
	if err != nil {
		return "", err
	}
	for _, name := range []string{"kinds", "checks"} {
		if kinds, err = emptied(kinds, name); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.dir, "mcponly.json")
	return path, errors.Join(os.WriteFile(stub, mcpOnly, 0o600), os.WriteFile(table, kinds, 0o600), os.WriteFile(path, overlay, 0o600))
}

// emptied takes the entries out of a table at the top of a Go file.
func emptied(text []byte, name string) ([]byte, error) {
	from := bytes.Index(text, []byte("\nvar "+name+" = "))
	if from >= 0 {
		if open := bytes.Index(text[from:], []byte("{\n")); open >= 0 {
			open += from + len("{\n")
			if length := bytes.Index(text[open:], []byte("\n}\n")); length >= 0 {
				return slices.Concat(text[:open], text[open+length+1:]), nil
			}
		}
	}
	return nil, fmt.Errorf("the table %s is not where it was", name)
}

// twin is a Bulkhead under comparison, and what it came to.
type twin struct {
	name, binary          string
	start, cpu            []float64 // ms
	resident, anon, files []float64 // MiB
}

// linked compares Bulkhead with one that has nothing but MCP servers linked in,
// where nothing else is configured.
func linked(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "Kinds that are not used",
		Text: "The same program built without REST, OpenAPI, GraphQL and SQL and their libraries, and the real one, with MCP servers configured only. A start is from the start of the process to a full list over stdio, with one HTTP upstream. " +
			"Memory is that of a process with three HTTP upstreams, three seconds after its start. Anonymous memory is the process's own. Pages of the program file are clean: the system drops them when it needs the memory, " +
			"and all processes of the same program share them; the kernel maps them sixteen at a time around each that is touched (`fault_around_bytes`), so a larger program has more of them for the same work. " +
			coldText,
	}
	overlay, err := s.mcpOnlyOverlay(ctx)
	if err != nil {
		return out, err
	}
	plain := filepath.Join(s.dir, "bulkhead-mcponly")
	build := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", plain, module) //nolint:gosec // our own files
	if text, err := build.CombinedOutput(); err != nil {
		return out, fmt.Errorf("building Bulkhead for MCP servers only: %w: %s", err, text)
	}
	twins := []*twin{{name: "MCP servers only", binary: plain}, {name: "Bulkhead", binary: s.binary}}
	config, err := s.configure("linked", server+s.httpUpstream("u", "legacy", few))
	if err != nil {
		return out, err
	}
	for round := range 6*o.rounds + 1 {
		for _, t := range twins {
			took, used, err := startToList(ctx, holds(1), t.binary, "serve", "--config", config)
			if err != nil {
				return out, fmt.Errorf("%s: %w", t.name, err)
			}
			if round > 0 { // the first reads the file
				t.start, t.cpu = append(t.start, 1000*took.Seconds()), append(t.cpu, 1000*used.Seconds())
			}
		}
	}
	for i, t := range twins {
		if t.binary, err = s.cold(t.binary, fmt.Sprintf("linked-%d", i)); err != nil {
			return out, err
		}
	}
	for range min(o.rounds, 3) {
		if err := s.weigh(ctx, twins); err != nil {
			return out, err
		}
	}
	out.Tables = []report.Table{{Head: []string{"program", "start, ms", "CPU, ms", "resident MiB", "anonymous", "of the file"}}}
	for _, t := range twins {
		out.Tables[0].Rows = append(out.Tables[0].Rows, []string{t.name, spread(t.start), spread(t.cpu), spread(t.resident), spread(t.anon), spread(t.files)})
	}
	for _, f := range []struct {
		figure      string
		ours, plain []float64
	}{
		{"start with unused kinds linked in", twins[1].start, twins[0].start},
		{"anonymous memory with unused kinds linked in", twins[1].anon, twins[0].anon},
		{"resident memory with unused kinds linked in, shared pages of the program included", twins[1].resident, twins[0].resident},
	} {
		out.Goals = append(out.Goals, report.Goal{Figure: f.figure, Limit: linkedLimit, Unit: " × without them", Got: report.Of(report.Ratios(f.ours, f.plain))})
	}
	return out, nil
}

// linkedLimit allows for what two runs of one and the same program differ by.
const linkedLimit = 1.05

// weigh starts the twins and notes what memory each has.
func (s *stage) weigh(ctx context.Context, twins []*twin) error {
	running := make([]*process, 0, len(twins))
	defer func() {
		for _, p := range running {
			p.end()
		}
	}()
	for _, t := range twins {
		p, _, err := s.startThree(ctx, t.binary)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		running = append(running, p)
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for i, t := range twins {
		for name, into := range map[string]*[]float64{"VmRSS": &t.resident, "RssAnon": &t.anon, "RssFile": &t.files} {
			kib, err := kibOf(running[i].pid(), name)
			if err != nil {
				return err
			}
			*into = append(*into, kib/1024)
		}
	}
	return nil
}

// holds reports of a list of tools whether those of n of our upstreams are in it.
func holds(n int) func([]byte) bool {
	return func(list []byte) bool { return bytes.Count(list, []byte(peer.Longer+`"`)) >= n }
}
