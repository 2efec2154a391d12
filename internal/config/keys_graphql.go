package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// GraphQL is what an upstream of kind "graphql" has besides.
type GraphQL struct {
	Documents []File
	Schema    File // Path is "" if there is none
}

// File is a file that is part of the configuration, as it was when that was
// read: another content is another value. One that is not there has no Size.
type File struct {
	Path     string // absolute
	Size     int64
	Modified int64 // ns since the epoch
}

var graphqlKind = sourceKind{
	name: "graphql", where: []string{"url"}, also: []string{"documents", "schema_file", "allow_http", "auth"},
	hint: `add url = "https://...", the address of the GraphQL service`,
}

// graphqlKeys stand in the table of the upstream itself.
var graphqlKeys = []key{
	{name: "documents", kind: files, example: []any{"queries/*.graphql"},
		doc:   "Files with GraphQL operations, or patterns of their names; they are read again with the configuration. Each named query is a tool, and with another `writes` than `deny` each named mutation; its variables are the arguments and the comment above it is the description. Fragments are shared among the files. `bulkhead import-graphql` proposes some. With `kind = \"graphql\"` only.",
		field: func(t target) any { return &t.upstream.GraphQL.Documents }},
	{name: "schema_file", kind: file, example: "schema.graphql",
		doc:   "The schema of the GraphQL service, in the schema definition language or as the JSON answer to introspection. With it, operations are checked before anything is sent, and enums, input objects and answers are described to the model. With `kind = \"graphql\"` only.",
		field: func(t target) any { return &t.upstream.GraphQL.Schema }},
}

// graphqlSections are the tables below it.
var graphqlSections = []section{}

var (
	file  = &kind{"path", decodeFile, textSchema}
	files = &kind{"list of paths or patterns", decodeFiles, listSchema}
)

func decodeFile(d *decoder, k *key, path string, raw, into any) {
	if v, ok := asText(d, k, path, raw); ok && d.fits(k, path, v) && v != "" {
		*into.(*File) = stat(d.local(path, v))
	}
}

// decodeFiles reads a list of files, each once and sorted. A pattern may match
// nothing yet.
func decodeFiles(d *decoder, k *key, path string, raw, into any) {
	patterns, ok := d.strings(k, path, raw)
	if !ok {
		return
	}
	var paths []string
	for _, p := range patterns {
		p = d.local(path, p)
		if !strings.ContainsAny(p, "*?[") {
			paths = append(paths, p)
			continue
		}
		matches, err := filepath.Glob(p)
		if err != nil {
			d.fault(path, quote(p)+" is no pattern", `for example "queries/*.graphql"; a [ needs its ]`)
			return
		}
		paths = append(paths, matches...)
	}
	slices.Sort(paths)
	out := make([]File, 0, len(paths))
	for _, p := range slices.Compact(paths) {
		out = append(out, stat(p))
	}
	*into.(*[]File) = out
}

func stat(path string) File {
	info, err := os.Stat(path)
	if err != nil {
		return File{Path: path}
	}
	return File{path, info.Size(), info.ModTime().UnixNano()}
}
