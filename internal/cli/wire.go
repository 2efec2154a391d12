package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/metrics"
	"github.com/bulkhead-mcp/bulkhead/internal/procguard"
	"github.com/bulkhead-mcp/bulkhead/internal/telemetry"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// wiring builds what a configuration describes.
type wiring struct {
	built  map[string]built // what stands, by upstream
	env    Env
	cfg    *config.Config
	log    *slog.Logger
	state  string // directory; "" keeps nothing
	shelf  *tokenShelf
	exe    string
	guard  *procguard.Guard
	users  userbase
	count  *metrics.Metrics // of this process
	ending atomic.Bool      // it takes nothing new any more
}

// built is an upstream as it was described and what was made of it.
type built struct {
	from   config.Upstream
	member aggregate.Member
	signed fileStamp // of its bell, before it was built
}

// wire prepares the building. quiet logs errors only.
func wire(env Env, cfg *config.Config, quiet bool) (*wiring, error) {
	level := cfg.Server.LogLevel
	if quiet {
		level = "error"
	}
	log, err := telemetry.NewLogger(env.Err, level, cfg.Server.LogFormat)
	if err != nil {
		return nil, err
	}
	exe, err := env.Exe()
	if err != nil {
		return nil, fmt.Errorf("the path of this program is not known: %w", err)
	}
	state := env.stateDir(cfg)
	return &wiring{
		env: env, cfg: cfg, log: log, state: state, exe: exe, shelf: newTokenShelf(state, cfg.Server.TokenKey, log),
		guard: procguard.New(exe, []string{"guard"}), count: metrics.New(Version()),
	}, nil
}

// aggregate builds the aggregate of all enabled upstreams.
func (w *wiring) aggregate(ctx context.Context) (*aggregate.Aggregate, error) {
	members, err := w.members(ctx)
	if err != nil {
		return nil, err
	}
	catalogs := ""
	if w.state != "" {
		catalogs = filepath.Join(w.state, "catalog")
	}
	listWait := w.cfg.Server.ListWait
	if listWait == 0 { // configured as 0, which the aggregate takes for its default
		listWait = -1
	}
	return aggregate.New(members, aggregate.Options{
		Log: w.log, Observer: w.count, Deadline: w.cfg.Server.Deadline.Limit, MaxResult: int(w.cfg.Server.MaxResult),
		PageSize: w.cfg.Server.PageSize, ListBudget: w.cfg.Server.ListBudget,
		Discovery: aggregate.Discovery(w.cfg.Server.Discovery), Pinned: w.cfg.Server.Pinned, AskTimeout: w.cfg.Server.AskTimeout,
		ListWait: listWait, CatalogDir: catalogs, StateKey: w.key(), CacheSize: w.cfg.Server.CacheSize,
		Ending: w.ending.Load,
	})
}

// key returns what seals the ids of sessions and whatever else clients bring
// back. nil, where it cannot be kept, makes each run use its own.
func (w *wiring) key() []byte {
	key, err := sessionKey(w.state)
	if err != nil {
		w.log.Warn("key not kept: sessions and open questions will not outlive a restart", "error", err)
		return nil
	}
	return key
}

// members builds every enabled upstream; what is described as before is what
// was built before. Building asks nobody, so what fails is the description: it
// returns [config.Faults] with what is wrong of all.
func (w *wiring) members(ctx context.Context) ([]aggregate.Member, error) {
	var members []aggregate.Member
	var faults config.Faults
	standing := make(map[string]built)
	for _, u := range w.cfg.Upstreams {
		if !u.Enabled {
			continue
		}
		b, ok := w.built[u.Name]
		if !ok || !reflect.DeepEqual(b.from, u) {
			signed := stamped(w.bell(u.Name))
			m, err := w.member(ctx, u)
			if err != nil {
				faults = append(faults, buildFaults(u.Name, err)...)
				continue
			}
			b = built{u, m, signed}
		}
		standing[u.Name] = b
		members = append(members, b.member)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	w.built = standing
	return members, nil
}

// buildFaults turns why an upstream could not be built into faults of the
// configuration, one for each error that is joined in err.
func buildFaults(name string, err error) config.Faults {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // what wraps several is looked into
		var out config.Faults
		for _, one := range joined.Unwrap() {
			out = append(out, buildFaults(name, one)...)
		}
		return out
	}
	if e, ok := errors.AsType[*upstream.Error](err); ok && e.Err != nil {
		return buildFaults(name, e.Err) // the rest of it is for the model
	}
	f := config.Fault{Path: "upstream." + name, Problem: err.Error()}
	if hinted, ok := errors.AsType[*hintError](err); ok {
		f.Hint = hinted.hint
	}
	return config.Faults{f}
}

func (w *wiring) member(ctx context.Context, u config.Upstream) (aggregate.Member, error) {
	var signedIn atomic.Pointer[signIn] // nil until its secrets are there
	adapter, err := w.adapter(ctx, u, &signedIn)
	if err != nil {
		return aggregate.Member{}, err
	}
	m := aggregate.Member{
		ID: upstream.ID(u.Name), Adapter: adapter, Prefix: w.prefix(u), Keep: keep(u.Tools),
		Attempt: u.Timeout, CheckSchema: u.Validate == "schema", Identity: identity(u),
		Cautious: u.Annotations == "cautious", Override: make(map[string]aggregate.Hints), Requires: make(map[string][]string), DenyAsk: u.Ask == "deny",
		Limits: limits(u), Cache: kept(u), Fingerprint: identity(u), Credential: credential(u),
	}
	if m.Shape, err = shapes(u); err != nil {
		return aggregate.Member{}, err
	}
	for tool, h := range u.Tools.Override {
		m.Override[tool] = aggregate.Hints(h.Hints)
		if h.Requires != nil {
			m.Requires[tool] = h.Requires
		}
	}
	switch {
	case u.Auth.PerUser():
		m.Users = usersOf{w, u}
	case signsIn(u):
		m.SignIn = func() *aggregate.SignInStatus {
			if s := signedIn.Load(); s != nil {
				return s.status(time.Now())
			}
			return &aggregate.SignInStatus{State: aggregate.SignInUnused, Command: loginCommand(u)}
		}
	}
	if u.Limit.Per == "credential" {
		m.Quota = u.Account()
	}
	return m, nil
}

// prefix returns what the names of an upstream's tools begin with.
func (w *wiring) prefix(u config.Upstream) string {
	switch {
	case u.Prefix != nil:
		return *u.Prefix
	case w.cfg.Server.Names == "flat":
		return ""
	}
	return u.Name
}

func limits(u config.Upstream) aggregate.Limits {
	l := aggregate.Limits{
		Concurrency: places(u), Queue: u.Limit.Queue, QueueWait: u.Limit.QueueWait,
		Rate: u.Limit.Refill(), Burst: float64(u.Limit.Burst), Per: aggregate.Per(u.Limit.Per),
		Attempts: u.Retry.Attempts, Failures: u.Breaker.Failures, CoolDown: u.Breaker.CoolDown,
		Writes: aggregate.Writes(u.Writes), Unannotated: aggregate.Writes(u.Unannotated),
		SerializeBy: u.SerializeBy, TrustAnnotations: u.TrustAnnotations,
	}
	for name, c := range u.Limit.Classes {
		l.Classes = append(l.Classes, aggregate.Class{Name: name, Tools: c.Tools, Rate: c.Refill(), Burst: float64(c.Burst)})
	}
	for tool, o := range u.Tools.Override {
		if o.Hedge {
			if l.Hedge == nil {
				l.Hedge = make(map[string]bool)
			}
			l.Hedge[tool] = true
		}
		if o.Cost > 0 {
			if l.Costs == nil {
				l.Costs = make(map[string]float64)
			}
			l.Costs[tool] = float64(o.Cost)
		}
	}
	return l
}

// kept says what of an upstream's answers is kept.
func kept(u config.Upstream) aggregate.Cache {
	c := aggregate.Cache{Stale: u.Cache.Stale, Tools: make(map[string]time.Duration)}
	if ttl := u.Cache.TTL; ttl != nil {
		c.TTL = *ttl
		if c.TTL == 0 { // which is nothing at all
			c.TTL = -1
		}
	}
	for tool, o := range u.Tools.Override {
		if o.TTL != nil {
			c.Tools[tool] = *o.TTL
		}
	}
	return c
}

// shapes says what is shown of the results of an upstream's tools.
func shapes(u config.Upstream) (map[string]*shaping.Shaper, error) {
	var out map[string]*shaping.Shaper
	for tool, o := range u.Tools.Override {
		s := o.Shape
		if s.JQ == "" && s.Fields == nil && s.MaxRows == 0 && s.MaxBytes == 0 {
			continue
		}
		shaper, err := shaping.New(shaping.Rules{JQ: s.JQ, RowsAt: s.RowsAt, Fields: s.Fields, MaxRows: s.MaxRows, MaxBytes: int(s.MaxBytes)})
		if err != nil { // the reader of the configuration has looked at it
			return nil, fmt.Errorf("tools.override.%s.%w", tool, err)
		}
		if out == nil {
			out = make(map[string]*shaping.Shaper)
		}
		out[tool] = shaper
	}
	return out, nil
}

// keep turns the allow and deny patterns into a filter.
func keep(f config.ToolFilter) func(string) bool {
	any := func(patterns []string, name string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return aggregate.Match(p, name) })
	}
	return func(name string) bool { return any(f.Allow, name) && !any(f.Deny, name) }
}

// identity changes when another source stands behind an upstream's name.
func identity(u config.Upstream) string {
	raw, err := json.Marshal([]any{u.Kind, u.Command, u.URL, u.Sandbox, u.Dir, u.Env, u.Auth, u.REST, u.OpenAPI, u.GraphQL, u.SQL})
	if err != nil { // strings only, and of secrets only where they are kept
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// close ends what wire has started.
func (w *wiring) close() error { return w.guard.Close() }

// guardProcesses is the hidden command that procguard starts.
func guardProcesses(_ context.Context, inv *invocation) error {
	if code := procguard.Main(inv.In); code != 0 {
		return failedError{}
	}
	return nil
}
