// Package aggregate makes one MCP server out of many upstreams.
//
// Job: keep the catalog of everything the upstreams offer, give each tool and
// prompt its name, find the upstream of a name, URI or task, run each call
// through the pipeline, put what an upstream asks in mid-call into the words of
// the client's era, tell clients of changes, and turn every failure into words
// the model can act on.
//
// It owns the catalog snapshots, the order of the pipeline's layers, our own
// tools, the calls that wait for answers of their clients, who is told of which
// change, the seals of what clients bring back, and what is known of hosts. It
// must not know how a client is connected (aggregate/inbound), how an upstream
// is spoken to (upstream/<kind>), or any credential.
package aggregate

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/cache"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Member is one upstream as the aggregate sees it.
type Member struct {
	ID      upstream.ID
	Adapter upstream.Adapter
	Prefix  string                 // before each tool name; "" for none
	Keep    func(tool string) bool // which of its tools are offered; nil for all
	Attempt time.Duration          // attempt timeout; 0 for none but the deadline
	// CheckSchema refuses arguments that do not match the tool's input schema
	// before the upstream sees them.
	CheckSchema bool
	// DenyAsk lets the upstream ask the client nothing: no elicitation, sampling
	// or roots.
	DenyAsk bool
	// Identity changes whenever the source behind the ID does, so that a
	// catalog kept on disk is never served for another source.
	Identity string
	// Cautious takes from its tools' annotations what speaks in their favour.
	Cautious bool
	// Override sets hints of single tools, by the upstream's own names. It wins
	// over the annotations and over Cautious.
	Override map[string]Hints
	// Requires names, by a tool's own name, the tools of the same upstream whose
	// output it needs. Its description says so, and a plan must have it so.
	Requires map[string][]string
	// Shape is what is shown of the results of single tools, by the upstream's own
	// names; the others' are shown whole.
	Shape map[string]*shaping.Shaper
	// Limits is what it is asked at most.
	Limits Limits
	// Quota is what the vendor counts calls by where Limits.Per is PerCredential:
	// members with the same one, and the same rate and burst, share it. "" shares
	// with nobody.
	Quota string
	// Cache is what of its answers is kept.
	Cache Cache
	// Fingerprint identifies the credential that it is asked with: answers got
	// with one are never given for another.
	Fingerprint string
	// SignIn tells how the sign-in stands; nil where nothing is to be told. It
	// asks nobody.
	SignIn func() *SignInStatus
	// Credential names what the operator has to look at where the source refuses
	// it, as words for a reader: its key and its kind. "" where a person signs in,
	// or where there is none.
	Credential string
	// Users is set where each user signs in for himself: then whatever depends on
	// the credential is kept apart for each, and SignIn is not looked at.
	Users Users
}

// Options sets an aggregate up; the zero value of a field means its default.
type Options struct {
	Log *slog.Logger // default: discard
	// Observer is told what happens; default: nobody.
	Observer Observer
	// Deadline is the time one call may take altogether; 0 follows the
	// connected host's own limit.
	Deadline time.Duration
	// MaxResult is how many bytes of a result are answered at once; the rest
	// is read with bulkhead_read_more. Default 1 MiB.
	MaxResult int
	// ListBudget is how many tools are listed at most, our own among them; 0 is
	// all.
	ListBudget int
	// Discovery is how clients get to know the tools; "" is DiscoverAuto. Pinned
	// are patterns of the tools, by the names that clients know, that are listed
	// in any case.
	Discovery Discovery
	Pinned    []string
	// ListWait is how long the first list of a cold start waits for upstreams
	// that have not answered yet. Default 2 s; negative for not at all.
	ListWait time.Duration
	// CatalogDir is where the last good catalog of each upstream is kept; ""
	// keeps none.
	CatalogDir string
	// Plain offers no tools of our own.
	Plain bool
	// PageSize is how many entries of a list are answered at once; the client
	// asks for the next ones. 0 answers each list whole.
	PageSize int
	// AskTimeout is how long a question to the client may stay open; such time
	// counts towards no other limit. Default 5 min.
	AskTimeout time.Duration
	// StateKey seals what clients have to bring back: the state of a call that
	// asks for input, the ids of tasks, and the cursors of lists. With the same
	// key these are good in another process and after a restart, except where a
	// call waits in this one. That a state counts once is seen to in each process
	// alone. At least 16 bytes; random if nil.
	StateKey []byte
	// Ending reports whether the process takes no new calls any more, and will forget
	// what it knows of plans; nil is never. It returns at once.
	Ending func() bool
	// CacheSize is how many bytes of answers are kept of all members together.
	// Default 64 MiB.
	CacheSize int64
}

// Aggregate is one MCP server over its members.
type Aggregate struct {
	opt     Options
	log     *slog.Logger
	current atomic.Pointer[[]*member] // sorted by ID
	snap    atomic.Pointer[snapshot]
	subs    subscribers
	rests   *restStore
	kept    *cache.Store[*memo]
	calls   callIDs
	made    atomic.Uint64 // members
	clients clients
	store   catalogStore
	cursors cursors
	own     []*entry  // our own tools; none if Plain
	finders []*entry  // those by which others are found, where they are needed
	plans   *planning // nil if Plain
	asked   *conversations

	building sync.Mutex      // one build at a time
	names    perList[*namer] // guarded by building, as are the members' own
	built    chan struct{}   // capacity 1: there is a new snapshot to announce
	arrived  perList[*arrivals]
	coldTime sync.Once
	coldDone chan struct{} // closed ListWait after the first request

	mu       sync.Mutex      // guards what follows
	running  context.Context // of Run; nil before and after
	working  sync.WaitGroup  // members at work or being retired
	closeErr error           // why adapters did not close
}

// New puts an aggregate together. It starts nothing; call Run.
func New(members []Member, opt Options) (*Aggregate, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Observer == nil {
		opt.Observer = nobody{}
	}
	if opt.Ending == nil {
		opt.Ending = func() bool { return false }
	}
	if opt.MaxResult <= 0 {
		opt.MaxResult = 1 << 20
	}
	if opt.CacheSize <= 0 {
		opt.CacheSize = 64 << 20
	}
	if opt.ListWait == 0 {
		opt.ListWait = 2 * time.Second
	}
	var err error
	if opt.StateKey, err = stateKey(opt.StateKey); err != nil {
		return nil, err
	}
	asked, err := newConversations(opt)
	if err != nil {
		return nil, err
	}
	pages, err := newCursors(opt.StateKey, opt.PageSize)
	if err != nil {
		return nil, err
	}
	a := &Aggregate{
		asked: asked, opt: opt, log: opt.Log, rests: newRestStore(), kept: newStore(opt.CacheSize), names: newNamers(),
		store: catalogStore{dir: opt.CatalogDir}, cursors: pages,
		built: make(chan struct{}, 1), coldDone: make(chan struct{}),
	}
	if !opt.Plain {
		a.plans = &planning{a, &schemaCache{log: a.log}, newBatchMemory()}
		a.own, a.finders = ownToolsOf(a, "").entries(), ownToolsOf(a, "").finders()
	}
	list, err := a.assemble(members, nil)
	if err != nil {
		return nil, err
	}
	a.current.Store(&list)
	for _, l := range lists {
		*a.arrived.of(l) = newArrivals(list, l)
	}
	a.build()
	return a, nil
}

// members returns the members, sorted by ID.
func (a *Aggregate) members() []*member { return *a.current.Load() }

// Settled waits until every upstream has answered for each list or failed once,
// or ctx ends.
func (a *Aggregate) Settled(ctx context.Context) error {
	for _, arrived := range a.arrived {
		select {
		case <-arrived.all:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// arrivals tells when every member has been heard of for one list.
type arrivals struct {
	missing atomic.Int32
	all     chan struct{} // closed when none is missing
}

func newArrivals(members []*member, l upstream.List) *arrivals {
	a := &arrivals{all: make(chan struct{})}
	for _, m := range members {
		if !m.feeds.at(l).isHeard.Load() {
			a.missing.Add(1)
		}
	}
	if a.missing.Load() == 0 {
		close(a.all)
	}
	return a
}

func (a *arrivals) one() {
	if a.missing.Add(-1) == 0 {
		close(a.all)
	}
}

// ready waits, on a cold start, until every upstream has been heard of for a
// list, or ListWait has passed since the first request, or enough says so;
// later it returns at once.
func (a *Aggregate) ready(ctx context.Context, l upstream.List, enough func() bool) {
	if a.opt.ListWait < 0 || enough() {
		return
	}
	a.coldTime.Do(func() {
		time.AfterFunc(a.opt.ListWait, func() { close(a.coldDone) })
	})
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for !enough() {
		select {
		case <-a.arrived.at(l).all:
			return
		case <-a.coldDone:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
