package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

// write writes the page and its pictures into the docs of the module that this
// was started in.
func write(ctx context.Context, doc *report.Document) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("finding the module: %w", err)
	}
	module := strings.TrimSpace(string(out))
	if filepath.Base(module) != "go.mod" {
		return errors.New("-write: run this inside the repository")
	}
	return writeTo(filepath.Join(filepath.Dir(module), "docs"), doc)
}

func writeTo(dir string, doc *report.Document) error {
	picture := func(n int) string { return fmt.Sprintf("performance-%d.svg", n+1) }
	err := os.WriteFile(filepath.Join(dir, "performance.md"), []byte(doc.Markdown(picture)), 0o644)
	for n, c := range doc.Charts() {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, picture(n)), []byte(c.SVG()), 0o644))
	}
	return err
}
