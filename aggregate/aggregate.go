// Package aggregate makes one MCP server out of many upstreams.
//
// Job: keep the catalog of everything the upstreams offer, give each tool its
// name, run each call through the pipeline, and turn every failure into words
// the model can act on.
//
// It owns the catalog snapshots, the order of the pipeline's layers and our own
// tools. It must not know how a client is connected (aggregate/inbound), how an
// upstream is spoken to (upstream/<kind>), or any credential.
package aggregate

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

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
}

// Options sets an aggregate up; the zero value of a field means its default.
type Options struct {
	Log *slog.Logger // default: discard
	// Deadline is the time one call may take altogether; 0 follows the
	// connected host's own limit.
	Deadline time.Duration
	// MaxResult is how many bytes of a result are answered at once; the rest
	// is read with bulkhead_read_more. Default 1 MiB.
	MaxResult int
	// ListBudget is how many tools are listed at most, our own among them; 0 is
	// all.
	ListBudget int
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
}

// Aggregate is one MCP server over its members.
type Aggregate struct {
	opt     Options
	log     *slog.Logger
	current atomic.Pointer[[]*member] // sorted by ID
	snap    atomic.Pointer[snapshot]
	subs    subscribers
	rests   *restStore
	calls   atomic.Uint64
	store   catalogStore
	own     []*entry // our own tools; none if Plain

	building sync.Mutex    // one build at a time
	names    *namer        // guarded by building, as are the members' own
	built    chan struct{} // capacity 1: there is a new snapshot to announce
	settled  chan struct{} // closed when every member has been heard of
	unheard  atomic.Int32  // members not heard of yet
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
	if opt.MaxResult <= 0 {
		opt.MaxResult = 1 << 20
	}
	if opt.ListWait == 0 {
		opt.ListWait = 2 * time.Second
	}
	a := &Aggregate{
		opt: opt, log: opt.Log, rests: newRestStore(), names: newNamer(),
		store:   catalogStore{dir: opt.CatalogDir},
		built:   make(chan struct{}, 1),
		settled: make(chan struct{}), coldDone: make(chan struct{}),
	}
	if !opt.Plain {
		a.own = ownTools{a}.entries()
	}
	list, err := a.assemble(members, nil)
	if err != nil {
		return nil, err
	}
	a.current.Store(&list)
	a.unheard.Store(int32(len(list)))
	if len(list) == 0 {
		close(a.settled)
	}
	a.build()
	return a, nil
}

// members returns the members, sorted by ID.
func (a *Aggregate) members() []*member { return *a.current.Load() }

// Settled waits until every upstream has answered or failed once, or ctx ends.
func (a *Aggregate) Settled(ctx context.Context) error {
	select {
	case <-a.settled:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// heard notes that a member has answered or failed for the first time.
func (a *Aggregate) heard() {
	if a.unheard.Add(-1) == 0 {
		close(a.settled)
	}
}

// ready waits, on a cold start, until every upstream has been heard of, or
// ListWait has passed since the first request, or enough says so; later it
// returns at once.
func (a *Aggregate) ready(ctx context.Context, enough func() bool) {
	if a.opt.ListWait < 0 {
		return
	}
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for !enough() {
		a.coldTime.Do(func() {
			time.AfterFunc(a.opt.ListWait, func() { close(a.coldDone) })
		})
		select {
		case <-a.settled:
			return
		case <-a.coldDone:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// subscribers are told when the catalog has changed.
type subscribers struct {
	mu   sync.Mutex
	next int
	subs map[int]subscriber
}

type subscriber struct {
	upstream upstream.ID // "" for any
	notify   func()
}

func (s *subscribers) add(id upstream.ID, notify func()) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs == nil {
		s.subs = make(map[int]subscriber)
	}
	key := s.next
	s.next++
	s.subs[key] = subscriber{id, notify}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, key)
	}
}

// tell notifies everybody for whom changed says so. notify functions return at
// once, by contract, so they run outside the lock but in turn.
func (s *subscribers) tell(changed func(upstream.ID) bool) {
	s.mu.Lock()
	var due []func()
	for _, sub := range s.subs {
		if changed(sub.upstream) {
			due = append(due, sub.notify)
		}
	}
	s.mu.Unlock()
	for _, notify := range due {
		notify()
	}
}
