package config

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// File is a file that is part of the configuration, as it was when that was read:
// another content is another value, and the same one at another time is not.
type File struct {
	Path string // absolute; "" if there is none
	Sum  string // SHA-256 of its content, in hexadecimal; "" if it cannot be read
}

// maxPart is how many bytes of a part of the configuration count. What is larger is
// refused by those who read it.
const maxPart = 64 << 20

// readFile returns the file at an absolute path. Whether there is one is not looked
// at: who needs it says so.
func readFile(path string) File {
	none := File{Path: path}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() { // a pipe may never end
		return none
	}
	f, err := os.Open(path)
	if err != nil {
		return none
	}
	defer f.Close() //nolint:errcheck // only read from
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxPart)); err != nil {
		return none
	}
	return File{path, hex.EncodeToString(h.Sum(nil))}
}

var (
	file  = &kind{"path", decodeFile, textSchema}
	files = &kind{"list of paths or patterns", decodeFiles, listSchema}
)

func decodeFile(d *decoder, k *key, path string, raw, into any) {
	if v, ok := asText(d, k, path, raw); ok && d.fits(k, path, v) && v != "" {
		*into.(*File) = readFile(d.local(path, v))
	}
}

// decodeFiles reads a list of documents, each once and sorted. A pattern may match
// nothing yet.
func decodeFiles(d *decoder, k *key, path string, raw, into any) {
	patterns, ok := d.strings(k, path, raw)
	if !ok {
		return
	}
	var paths, unmatched []string
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
		if matches == nil {
			unmatched = append(unmatched, p)
		}
		paths = append(paths, matches...)
	}
	slices.Sort(paths)
	out := make([]File, 0, len(paths))
	for _, p := range slices.Compact(paths) {
		out = append(out, readFile(p))
	}
	documents := into.(*GraphQL)
	documents.Documents, documents.Unmatched = out, unmatched
}
