// Package connectors holds the definitions of well-known REST services that are
// shipped in the binary, one file each.
//
// It owns the files. It must not know what is made of them, and reads one only
// when it is asked for.
package connectors

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rest"
)

//go:embed *.toml
var files embed.FS

const suffix = ".toml"

// Names returns the names of the connectors, sorted.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil { // it is part of the binary
		return nil
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && !e.IsDir() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Load returns the definition of the connector of this name.
func Load(name string) (*rest.Definition, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("there is no connector %.60q", name)
	}
	text, err := files.ReadFile(name + suffix)
	if err != nil {
		return nil, err
	}
	return rest.Parse(text, "connector "+name)
}
