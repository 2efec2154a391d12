package cli

import (
	"context"
	"errors"
	"maps"
	"os"
	"reflect"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// lookEvery is how often the configuration file is looked at for a change.
const lookEvery = time.Second

// reloader applies a changed configuration to a running aggregate: upstreams
// that are new or changed start, those that are gone finish their calls and
// end, all others go on undisturbed.
type reloader struct {
	inv *invocation
	w   *wiring
	agg *aggregate.Aggregate
}

// watch reloads whenever the file, or one that it names, changes, or a hangup
// signal comes, until ctx ends.
func (r *reloader) watch(ctx context.Context, hangup <-chan os.Signal) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	seen := r.look(nil)
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			asked = true
		case <-tick.C:
			r.heedBells(ctx)
		}
		now := r.look(seen)
		if !asked && maps.Equal(now, seen) {
			continue
		}
		r.reload(ctx)
		seen = r.look(nil) // other files may be named now
		for path, stamp := range now {
			if _, ok := seen[path]; ok {
				seen[path] = stamp // a change meanwhile is one still
			}
		}
	}
}

// look stamps the configuration file and those that it names. One that was seen
// and is gone is as it was: an editor is saving.
func (r *reloader) look(seen map[string]fileStamp) map[string]fileStamp {
	now := map[string]fileStamp{}
	at := func(path string) {
		if path == "" || remote(path) {
			return
		}
		stamp := stamped(path)
		if stamp == (fileStamp{}) {
			stamp = seen[path]
		}
		now[path] = stamp
	}
	at(r.w.cfg.Path)
	for _, u := range r.w.cfg.Upstreams {
		at(u.REST.Definition.Path)
		at(u.OpenAPI.Document.Path)
		at(u.GraphQL.Schema.Path)
		for _, d := range u.GraphQL.Documents {
			at(d.Path)
		}
	}
	return now
}

// fileStamp tells two contents of a file apart.
type fileStamp struct {
	size     int64
	modified time.Time
}

func stamped(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{info.Size(), info.ModTime()}
}

// heedBells takes every upstream anew that somebody has signed in to or out of:
// its next call is made with what is in the store now, or with nothing, on a new
// connection, and no earlier answer is given any more.
func (r *reloader) heedBells(ctx context.Context) {
	before := maps.Clone(r.w.built)
	for name, b := range before {
		if !b.from.Auth.Interactive() || stamped(r.w.bell(name)) == b.signed {
			continue
		}
		delete(r.w.built, name)
		r.agg.Forget(upstream.ID(name))
		r.w.log.Info("signed in or out", "upstream", name)
	}
	if len(r.w.built) == len(before) {
		return
	}
	if _, err := r.swap(ctx, before); err != nil {
		r.w.log.Error("upstreams not taken anew after a sign-in", "error", err)
	}
}

// swap puts the members of the configuration in the place of those that run, and
// returns how many they are. If it cannot, what was built before counts again.
func (r *reloader) swap(ctx context.Context, before map[string]built) (int, error) {
	members, err := r.w.members(ctx)
	if err == nil {
		err = r.agg.Swap(members) //nolint:contextcheck // they live as long as the aggregate runs
	}
	if err != nil {
		r.w.built = before
	}
	return len(members), err
}

// reload reads the configuration again. A faulty one changes nothing.
func (r *reloader) reload(ctx context.Context) {
	cfg, err := r.inv.load()
	if err != nil {
		r.complain(err)
		return
	}
	if !reflect.DeepEqual(cfg.Server, r.w.cfg.Server) {
		r.w.log.Warn("the [server] table has changed; that takes a restart")
		cfg.Server = r.w.cfg.Server
	}
	old := r.w.cfg
	r.w.cfg = cfg
	members, err := r.swap(ctx, r.w.built)
	if err != nil {
		r.w.cfg = old
		r.complain(err)
		return
	}
	r.w.log.Info("configuration reloaded", "file", cfg.Path, "upstreams", members)
}

// complain logs why everything stays as it was.
func (r *reloader) complain(err error) {
	faults, ok := errors.AsType[config.Faults](err)
	if !ok {
		r.w.log.Error("configuration not reloaded", "error", err)
	}
	for _, f := range faults {
		r.w.log.Error("configuration not reloaded", "key", f.Path, "problem", f.Problem, "hint", f.Hint)
	}
}
