// Command gen writes docs/config.md and docs/config.schema.json from the table
// of keys in internal/config. It runs in that directory, by go generate. It
// must not know any key.
package main

import (
	"log"
	"os"
	"path/filepath"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

func main() {
	docs := filepath.Join("..", "..", "docs")
	for name, content := range map[string][]byte{"config.md": config.Reference(), "config.schema.json": config.Schema()} {
		if err := os.WriteFile(filepath.Join(docs, name), content, 0o644); err != nil { //nolint:gosec // public documentation
			log.Fatal(err)
		}
	}
}
