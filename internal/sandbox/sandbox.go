// Package sandbox serves a small CRM, a warehouse and a ticket system with
// sample data, so that Bulkhead can be tried without any account anywhere.
//
// Job: [New] makes one of the three as an [upstream.Adapter]. It owns their
// tools, the checks of the arguments, and what is written to them, which lives
// in memory and is gone with the adapter. Where the data comes from is package
// data's business. It must not know any protocol, transport or configuration.
package sandbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/data"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// maxWrites bounds what one adapter keeps in memory.
const maxWrites = 1_000

// Options adjusts a sandbox. The zero value answers at once.
type Options struct {
	Latency time.Duration // every call takes at least this long; listing does not
	Jitter  time.Duration // a random part on top, from 0 up to this
	Now     time.Time     // what the data calls today; zero means data.Reference
}

// Names returns the names that [New] knows, in the order in which the demo
// asks them.
func Names() []string { return []string{"crm", "warehouse", "tickets"} }

// New makes the sandbox of that name.
func New(name string, opt Options) (upstream.Adapter, error) {
	if opt.Latency < 0 || opt.Jitter < 0 {
		return nil, fmt.Errorf("sandbox %q: latency and jitter must not be negative (got %s and %s)", name, opt.Latency, opt.Jitter)
	}
	d := data.Generate(opt.Now)
	var actions []action
	switch name {
	case "crm":
		actions = newCRM(d).actions()
	case "warehouse":
		actions = newWarehouse(d).actions()
	case "tickets":
		actions = newTickets(d).actions()
	default:
		return nil, fmt.Errorf("no sandbox is called %q; there are %s", name, strings.Join(Names(), ", "))
	}
	s := &source{id: upstream.ID(name), opt: opt, byName: make(map[string]*action, len(actions)), closed: make(chan struct{})}
	for i := range actions {
		a := &actions[i]
		t, err := upstream.NewTool(s.id, upstream.ToolSpec{
			Name: a.name, Title: a.title, Description: a.description, Input: a.params.schema(), Hints: a.traits,
		})
		if err != nil {
			return nil, fmt.Errorf("sandbox %s: tool %s: %w", name, a.name, err)
		}
		s.tools = append(s.tools, t)
		s.byName[a.name] = a
	}
	return s, nil
}

// action is one tool: what the model reads and what answers it.
type action struct {
	name, title, description string
	traits                   upstream.Traits
	params                   params
	// run returns a value that marshals to an object, or an *upstream.Error
	// that lacks only the names of source and tool.
	run func(args) (any, error)
}

// source is one sandbox as an adapter.
type source struct {
	id     upstream.ID
	opt    Options
	tools  []upstream.Tool
	byName map[string]*action

	mu     sync.Mutex // guards the adding to calls against Close
	done   bool
	closed chan struct{}
	calls  sync.WaitGroup
}

// Tools implements [upstream.Adapter].
func (s *source) Tools(ctx context.Context) ([]upstream.Tool, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.failed("", upstream.AsError(s.id, "", err))
	}
	return append([]upstream.Tool(nil), s.tools...), nil
}

// Call implements [upstream.Adapter]. The latency passes before anything is
// done: a call that is given up meanwhile has had no effect.
func (s *source) Call(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	if c.Op != upstream.CallTool {
		return nil, s.failed("", &upstream.Error{Op: string(c.Op), Kind: upstream.NotFound, Public: fmt.Sprintf("%s has tools only", s.id)})
	}
	name := c.Name
	a, ok := s.byName[name]
	if !ok {
		return nil, s.failed(name, &upstream.Error{Kind: upstream.NotFound, Public: fmt.Sprintf("%s has no tool %.60q", s.id, name)})
	}
	if !s.begin() {
		return nil, s.failed(name, errClosed())
	}
	defer s.calls.Done()
	if err := s.wait(ctx); err != nil {
		return nil, s.failed(name, err)
	}
	in, err := a.params.decode(name, c.Arguments)
	if err != nil {
		return nil, s.failed(name, err)
	}
	in.by = c.Principal.String()
	out, err := a.run(in)
	if err != nil {
		return nil, s.failed(name, err)
	}
	res, err := upstream.StructuredResult(out)
	if err != nil {
		return nil, s.failed(name, err)
	}
	return res, nil
}

// Close implements [upstream.Adapter]: calls that wait are answered with an
// error.
func (s *source) Close() error {
	s.mu.Lock()
	if !s.done {
		s.done = true
		close(s.closed)
	}
	s.mu.Unlock()
	s.calls.Wait()
	return nil
}

func (s *source) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done {
		s.calls.Add(1)
	}
	return !s.done
}

func (s *source) wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return notSent(upstream.AsError(s.id, "", err))
	}
	d := s.opt.Latency
	if s.opt.Jitter > 0 {
		d += rand.N(s.opt.Jitter)
	}
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return notSent(upstream.AsError(s.id, "", ctx.Err()))
	case <-s.closed:
		return errClosed()
	}
}

// failed puts the names of source and tool on an error of this package.
func (s *source) failed(tool string, err error) error {
	e := *upstream.AsError(s.id, tool, err)
	e.Upstream, e.Tool = s.id, tool
	if e.Op == "" && tool != "" {
		e.Op = "tools/call"
	}
	return &e
}

func errClosed() error {
	return &upstream.Error{Kind: upstream.Unavailable, Public: "the sandbox has been closed"}
}

// notSent says of an error that nothing was executed.
func notSent(e *upstream.Error) error {
	e.Sent = false
	return e
}

func notFound(format string, v ...any) error {
	return &upstream.Error{Kind: upstream.NotFound, Sent: true, Public: fmt.Sprintf(format, v...)}
}

func errFull() error {
	return &upstream.Error{Kind: upstream.Denied, Public: fmt.Sprintf(
		"the sandbox keeps at most %d written records; restart it to begin afresh", maxWrites)}
}

// read and write are the hints of the tools here: nothing destroys anything,
// and nothing that writes may be repeated.
func read() upstream.Traits  { return upstream.Traits{ReadOnly: true, Idempotent: true} }
func write() upstream.Traits { return upstream.Traits{} }
