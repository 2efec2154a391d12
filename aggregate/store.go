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

// catalogStore keeps the last good lists of each upstream on disk, a file for
// each, so that the next start can answer at once.
type catalogStore struct{ dir string }

// savedCatalog is the file's content. A list that is not in it was not known.
type savedCatalog struct {
	Version  int                                 `json:"version"`
	Identity string                              `json:"identity"`
	Saved    time.Time                           `json:"saved"`
	Lists    map[upstream.List][]json.RawMessage `json:"lists,omitempty"`
}

const (
	catalogVersion = 2
	catalogSuffix  = ".catalog.json"
	tempPrefix     = ".catalog-"
	tempAge        = time.Hour // by then no write is under way any longer
)

func (s catalogStore) path(id upstream.ID) string {
	return filepath.Join(s.dir, string(id)+catalogSuffix)
}

// save writes the lists that are known, replacing the file in one step.
func (s catalogStore) save(id upstream.ID, identity string, known perList[*contents]) error {
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
	// Not through Marshal, which rewrites raw JSON: the next start would find
	// every list changed.
	saved := []byte{'{'}
	for _, l := range lists {
		if known.at(l) == nil {
			continue
		}
		if len(saved) > 1 {
			saved = append(saved, ',')
		}
		saved = append(append(saved, rawjson.Quote(string(l))...), ':')
		raws := make([]json.RawMessage, len(known.at(l).all))
		for i, t := range known.at(l).all {
			raws[i] = t.raw
		}
		saved = append(saved, array(raws)...)
	}
	raw, err := rawjson.Add(head, "lists", append(saved, '}'))
	if err != nil {
		return err
	}
	return s.write(id, raw)
}

func (s catalogStore) write(id upstream.ID, raw []byte) error {
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

// load returns the lists kept for an upstream and when they were saved; nil if
// there are none that belong to this identity. A list that is nil is not known.
func (s catalogStore) load(id upstream.ID, identity string) (*perList[[]thing], time.Time, error) {
	if s.dir == "" {
		return nil, time.Time{}, nil
	}
	raw, err := os.ReadFile(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := rawjson.Check(raw, rawjson.Limits{}); err != nil {
		return nil, time.Time{}, err
	}
	var f savedCatalog
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, time.Time{}, err
	}
	if f.Version != catalogVersion || f.Identity != identity {
		return nil, time.Time{}, nil
	}
	var kept perList[[]thing]
	for _, l := range lists {
		if f.Lists[l] != nil {
			*kept.of(l) = make([]thing, 0, len(f.Lists[l]))
		}
		for i, raw := range f.Lists[l] {
			t, err := parseThing(id, l, raw)
			if err != nil {
				return nil, time.Time{}, fmt.Errorf("%s[%d]: %w", l, i, err)
			}
			*kept.of(l) = append(kept.at(l), t)
		}
	}
	return &kept, f.Saved, nil
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

// loadCatalog puts the lists kept on disk in place, marked stale. A file that
// cannot be read costs only the quick start.
func (m *member) loadCatalog() {
	kept, at, err := m.agg.store.load(m.ID, m.Identity)
	if err != nil {
		m.log.Warn("catalog on disk not usable", "file", m.agg.store.path(m.ID), "error", err)
	}
	if kept == nil {
		return
	}
	for _, f := range m.feeds {
		if f.read != nil && kept.at(f.list) != nil {
			f.last.Store(&listed{contents: m.newContents(kept.at(f.list)), at: at, stale: true})
		}
	}
}

// save logs that a list is known or has changed, and keeps it on disk. One that
// is empty, and was not known to be anything else, is nothing to speak of, as
// most upstreams have but tools.
func (m *member) save(l upstream.List, old, fresh *listed) {
	switch {
	case l == upstream.Tools || len(fresh.all) > 0 || old != nil && len(old.all) > 0:
		m.log.Info(string(l)+" listed", string(l), len(fresh.all))
	case old != nil: // it stands on disk as it is
		return
	}
	m.saving.Lock()
	defer m.saving.Unlock()
	var known perList[*contents]
	for i, f := range m.feeds {
		known[i] = f.contents()
	}
	if err := m.agg.store.save(m.ID, m.Identity, known); err != nil {
		m.log.Warn("catalog not kept on disk", "error", err)
	}
}
