package aggregate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// catalogStore keeps the last good list of each upstream on disk, a file for
// each, so that the next start can answer at once.
type catalogStore struct{ dir string }

// savedCatalog is the file's content.
type savedCatalog struct {
	Version  int               `json:"version"`
	Identity string            `json:"identity"`
	Saved    time.Time         `json:"saved"`
	Tools    []json.RawMessage `json:"tools,omitempty"`
}

const (
	catalogVersion = 1
	catalogSuffix  = ".catalog.json"
	tempPrefix     = ".catalog-"
	tempAge        = time.Hour // by then no write is under way any longer
)

func (s catalogStore) path(id upstream.ID) string {
	return filepath.Join(s.dir, string(id)+catalogSuffix)
}

// save writes the list, replacing the file in one step.
func (s catalogStore) save(id upstream.ID, identity string, tools []upstream.Tool) error {
	if s.dir == "" {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	head, err := json.Marshal(savedCatalog{Version: catalogVersion, Identity: identity, Saved: time.Now()})
	if err != nil {
		return err
	}
	raws := make([]json.RawMessage, len(tools))
	for i, t := range tools {
		raws[i] = t.Raw
	}
	// Not through Marshal, which rewrites raw JSON: the next start would find
	// every list changed.
	raw, err := rawjson.Set(head, "tools", array(raws))
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(s.dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(raw)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), s.path(id))
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

// load returns the list kept for an upstream; nil if there is none that
// belongs to this identity.
func (s catalogStore) load(id upstream.ID, identity string, keep func(string) bool) (*toolList, error) {
	if s.dir == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := rawjson.Check(raw, rawjson.Limits{}); err != nil {
		return nil, err
	}
	var f savedCatalog
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	if f.Version != catalogVersion || f.Identity != identity {
		return nil, nil
	}
	tools := make([]upstream.Tool, 0, len(f.Tools))
	for _, raw := range f.Tools {
		t, err := upstream.ParseTool(id, raw)
		if err != nil {
			return nil, fmt.Errorf("tool %s: %w", t.Name, err)
		}
		tools = append(tools, t)
	}
	return newToolList(tools, keep, f.Saved, true), nil
}

// prune deletes the files of upstreams that are not known, and what a write
// that was cut off has left behind.
func (s catalogStore) prune(known map[upstream.ID]bool) error {
	if s.dir == "" {
		return nil
	}
	files, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, f := range files {
		id, ours := strings.CutSuffix(f.Name(), catalogSuffix)
		if ours = ours && !known[upstream.ID(id)]; !ours && strings.HasPrefix(f.Name(), tempPrefix) {
			info, statErr := f.Info()
			ours = statErr == nil && time.Since(info.ModTime()) > tempAge
		}
		if ours {
			err = errors.Join(err, os.Remove(filepath.Join(s.dir, f.Name())))
		}
	}
	return err
}

// loadCatalog puts the list kept on disk in place, marked stale. A file that
// cannot be read costs only the quick start.
func (m *member) loadCatalog() {
	l, err := m.agg.store.load(m.ID, m.Identity, m.Keep)
	if err != nil {
		m.log.Warn("catalog on disk not usable", "file", m.agg.store.path(m.ID), "error", err)
	}
	if l != nil {
		m.list.Store(l)
	}
}
