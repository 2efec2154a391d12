package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

// bare replaces the file that puts the layers before an upstream by one that
// puts none.
//
//go:embed bare.go.txt
var bare []byte

const (
	module      = "github.com/bulkhead-mcp/bulkhead"
	layersLimit = 1.15
)

// bareOverlay returns the overlay that takes every layer away.
func (s *stage) bareOverlay(ctx context.Context) (string, error) {
	dir, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", module+"/aggregate").Output()
	if err != nil {
		return "", fmt.Errorf("finding the pipeline: %w", err)
	}
	real := filepath.Join(strings.TrimSpace(string(dir)), "pipeline.go")
	if _, err := os.Stat(real); err != nil {
		return "", err
	}
	instead, overlay := filepath.Join(s.dir, "bare.go"), filepath.Join(s.dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{real: instead}})
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile(instead, bare, 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return "", err
	}
	return overlay, nil
}

// buildBare builds Bulkhead without any layer. It differs from the real one in
// that file alone.
func (s *stage) buildBare(ctx context.Context) (string, error) {
	overlay, err := s.bareOverlay(ctx)
	if err != nil {
		return "", err
	}
	out := filepath.Join(s.dir, "bulkhead-bare")
	build := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", out, module) //nolint:gosec // our own files
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building Bulkhead without layers: %w: %s", err, text)
	}
	return out, nil
}

// The settings that the layers are measured with: each of them has something to
// do, and none of them anything to refuse.
const (
	quietServer = server + "log_level = \"warn\"\n"
	limited     = "limit = { concurrency = 256, rate = \"1000000/1s\", burst = 1000000 }\n"
	everyLayer  = "timeout = \"20s\"\nlimit = { concurrency = 256, rate = \"1000000/1s\", burst = 1000000 }\n" +
		"cache = { ttl = \"1m\" }\n[upstream.u.tools.override.echo]\nread_only = true\nidempotent = true\nhedge = true\n"
	cached = "cache = { ttl = \"1h\" }\n[upstream.u.tools.override.echo]\nread_only = true\n"
)

// layered is one way to run Bulkhead.
type layered struct {
	name, binary, settings string
}

// before returns the families of the ways to run Bulkhead, the upstream alone
// first, over pipes and over HTTP.
func (s *stage) before(ctx context.Context, ways []layered) ([]family, error) {
	pipes, http := family{name: "stdio, modern"}, family{name: "HTTP, legacy"}
	alone, err := start(ctx, false, s.self, "peer", "stdio", "-tools", fmt.Sprint(few))
	if err != nil {
		return nil, err
	}
	s.running = append(s.running, alone)
	pipes.targets = []target{overStdio("direct", alone)}
	http.targets = []target{overHTTP("direct", s.echoPID, s.upstream+path("legacy", few), false)}
	for i, w := range ways {
		config, err := s.configure(fmt.Sprintf("way-stdio-%d", i), quietServer+s.stdioUpstream("u", "-tools", fmt.Sprint(few))+"prefix = \"\"\n"+w.settings)
		if err != nil {
			return nil, err
		}
		child, err := start(ctx, true, w.binary, "serve", "--config", config)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		child.drain(child.log)
		s.running = append(s.running, child)
		pipes.targets = append(pipes.targets, overStdio(w.name, child))

		// The line that says that the tools are listed is an ordinary one.
		config, err = s.configure(fmt.Sprintf("way-http-%d", i), server+"listen = \"127.0.0.1:0\"\n"+s.httpUpstream("u", "legacy", few)+"prefix = \"\"\n"+w.settings)
		if err != nil {
			return nil, err
		}
		own, url, err := startServing(ctx, w.binary, config, 1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		s.running = append(s.running, own)
		http.targets = append(http.targets, overHTTP(w.name, own.pid(), url+"/mcp", false))
	}
	return []family{pipes, http}, nil
}

// layers compares Bulkhead with every layer at work with one that has none.
func layers(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "What the layers cost",
		Text: "The same program built without any layer before its upstream, as configured by default, with a quota, and with every layer at work: attempt timeout, places, a quota, retry, breakers, " +
			"cache and coalescing (each call is another question, so each is looked for, not found, and kept), hedging. 16 callers, one session. Over stdio no line is logged for a call; over HTTP the rows with layers log one, which the bare relay has not.",
	}
	plain, err := s.buildBare(ctx)
	if err != nil {
		return out, err
	}
	families, err := s.before(ctx, []layered{
		{"bare relay", plain, ""}, {"Bulkhead, defaults", s.binary, ""}, {"Bulkhead, with a quota", s.binary, limited},
		{"Bulkhead, every layer", s.binary, everyLayer},
	})
	if err != nil {
		return out, err
	}
	got, err := measure(ctx, families, load{request: numberedCall(), callers: 16, sessions: 1, length: o.burst}, o.rounds)
	if err != nil {
		return out, err
	}
	t := report.Table{Head: []string{"client", "through", "calls/s", "CPU µs a call", "× bare relay's CPU"}}
	for f, fam := range families {
		for i, target := range fam.targets {
			row := []string{fam.name, target.name, middle(got[f][i].rate), middle(got[f][i].cpu), ""}
			if i > 1 {
				row[4] = spread(ratio(got[f], i, 1))
			}
			t.Rows = append(t.Rows, row)
		}
		out.Goals = append(out.Goals, report.Goal{
			Figure: "CPU a call with every layer, " + fam.name, Limit: layersLimit, Unit: " × bare relay", Got: report.Of(ratio(got[f], 4, 1)),
		})
	}
	out.Tables = []report.Table{t}
	return out, nil
}

// hits compares an answer from memory with one that goes to the upstream.
func hits(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "An answer from memory",
		Text:  "One caller asks the same again and again. The upstream answers at once, which is the worst case for a cache: a real one takes longer, and the answer from memory does not.",
	}
	families, err := s.before(ctx, []layered{{"Bulkhead, asking", s.binary, ""}, {"Bulkhead, from memory", s.binary, cached}})
	if err != nil {
		return out, err
	}
	got, err := measure(ctx, families, load{request: echoCall(), callers: 1, sessions: 1, length: o.burst}, o.rounds)
	if err != nil {
		return out, err
	}
	t := report.Table{Head: []string{"client", "through", "p50 µs", "p99 µs", "CPU µs a call", "× asking"}}
	for f, fam := range families {
		share := report.Ratios(got[f][2].p50, got[f][1].p50)
		for i, target := range fam.targets {
			row := []string{fam.name, target.name, middle(got[f][i].p50), middle(got[f][i].p99), middle(got[f][i].cpu), ""}
			if i == 2 {
				row[5] = spread(share)
			}
			t.Rows = append(t.Rows, row)
		}
		out.Goals = append(out.Goals, report.Goal{
			Figure: "p50 of an answer from memory, " + fam.name, Limit: 0.33, Unit: " × asking", Got: report.Of(share),
		})
	}
	out.Tables = []report.Table{t}
	return out, nil
}
