package sqldb

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// stage is how far a call came.
type stage uint8

const (
	connecting stage = iota // nothing was sent
	preparing               // the server has read the statement, but not run it
	running
)

// failure is what a call failed of.
type failure struct {
	stage  stage
	err    error
	undone bool // it ran, but provably nothing is left of what it wrote
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

func at(s stage, err error) error {
	if err == nil {
		return nil
	}
	return &failure{stage: s, err: err}
}

func stageOf(err error) stage {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.stage
	}
	return running
}

// undone is what a statement that writes failed of if it was never committed.
func undone(err error) error { return &failure{stage: running, err: err, undone: true} }

// cause is what an error of a server means.
type cause uint8

const (
	lost      cause = iota // none of the server's: the connection, or what made it
	faulty                 // running the statement failed: its own fault, such as a division by zero
	misshapen              // the statement does not fit the database
	unfit                  // a value does not fit
	login
	forbidden
	again  // undone by the server, for others' sake
	locked // what it needs is in use, and was waited for long enough
	crowded
	away
	late
	large // a row, or what it is made of, is longer than what is taken
)

// refusal is an error of ours that the model may read.
type refusal struct {
	kind upstream.Kind
	text string
}

func (r *refusal) Error() string { return r.text }

// errClosed is why calls end when the adapter is closed.
var errClosed = errors.New("the source has been closed")

// errLarge is why a connection is given up whose server sends too long a row.
var errLarge = errors.New("the server sends a row that is too large")

// serverText bounds what a server says.
const serverText = 400

func brief(s string) string {
	s = strings.TrimSpace(s)
	if len(s) <= serverText {
		return s
	}
	end := serverText
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// explain turns what a call failed of into the error for the model; or into a
// result where the statement ran and failed by itself. free says that the model
// wrote the statement.
func (a *Adapter) explain(ctx context.Context, tool string, free bool, err error) (*upstream.Result, error) {
	e := &upstream.Error{Upstream: a.opt.ID, Tool: tool, Op: "tools/call", Err: err}
	stage, kept := running, true
	if f, ok := errors.AsType[*failure](err); ok {
		stage, kept = f.stage, !f.undone
	}
	e.Sent = stage == running && kept
	if own, ok := errors.AsType[*upstream.Error](err); ok {
		e.Kind, e.Public, e.Err = own.Kind, own.Public, own.Err
		return nil, e
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		e.Kind, e.Public = r.kind, r.text
		return nil, e
	}
	cause, said := a.dialect.meaning(err)
	if stage == connecting && (cause == misshapen || cause == faulty || cause == unfit) {
		cause = away // of what a connection asks for itself, no statement is to blame
	}
	if cause == lost && ctx.Err() != nil || cause == late && ctx.Err() != nil {
		ended := upstream.AsError(a.opt.ID, tool, ctx.Err())
		e.Kind = ended.Kind
		switch {
		case errors.Is(context.Cause(ctx), errClosed):
			e.Kind, e.Public = upstream.Unavailable, errClosed.Error()
		case stage > connecting:
			e.Public = a.advice(tool, free)
			e.Err = slow(stage, free, err)
		}
		return nil, e
	}
	said = a.clean(brief(said))
	if cause == faulty && stage == running {
		return upstream.TextResult(said, true), nil
	}
	e.Kind, e.Public = kindOf(cause, stage, free, said)
	switch cause { //nolint:exhaustive // the others are told by their kind
	case again:
		e.Sent = false // it was undone
		e.Err = upstream.Caused(err, upstream.ErrNoOutage)
	case locked:
		e.Sent = false
		e.Err = upstream.Caused(err, upstream.ErrNoOutage, upstream.ErrFinal)
	case misshapen, faulty, unfit, forbidden, large:
		e.Err = upstream.Caused(err, upstream.ErrNoOutage)
	case late:
		if advice := a.advice(tool, free); advice != "" {
			e.Public += "; " + advice
		}
		e.Err = slow(stage, free, err)
	}
	return nil, e
}

// slow marks a statement that took too long: the same one would again. One that the
// model wrote differs each time, so that the time of one says nothing of the next.
// That the database works it has just shown by preparing it; and as a connection is
// closed on which a statement was given up, one that has died since is noticed when
// the next has to connect.
func slow(s stage, free bool, err error) error {
	if free && s == running {
		return upstream.Caused(err, upstream.ErrFinal, upstream.ErrNoOutage)
	}
	return upstream.Caused(err, upstream.ErrFinal)
}

// advice says what may be done about a statement that took too long.
func (a *Adapter) advice(tool string, free bool) string {
	act := a.actions[tool]
	switch {
	case free:
		return "the same again would take as long: ask for less, with narrower conditions, fewer joins or a LIMIT; how long it may take is the operator's to say (timeout)"
	case act == nil || act.statement != nil && act.statement.write:
		return ""
	}
	return "the same again would take as long: narrower arguments may help, or else the operator has to look at the statement, or at how long it may take (timeout)"
}

func kindOf(c cause, s stage, free bool, said string) (upstream.Kind, string) {
	switch c {
	case misshapen, faulty:
		if free {
			return upstream.InvalidArguments, "the database does not take this statement: " + said
		}
		return upstream.UpstreamError, "the statement of this tool does not fit the database any more; the operator has to see to it: " + said
	case unfit:
		return upstream.InvalidArguments, "the database does not take a value: " + said
	case login:
		return upstream.NeedsLogin, "the database refuses its credential; the operator has to see to it"
	case forbidden:
		return upstream.Denied, "the database does not allow it: " + said
	case again:
		return upstream.Unavailable, "the database undid it in favour of others that ran at the same time"
	case locked:
		return upstream.Unavailable, said + "; it was waited for, and nothing was done"
	case crowded:
		return upstream.RateLimited, "the database has too many connections"
	case away:
		return upstream.Unavailable, "the database is not taking statements: " + said
	case large:
		text := "a row of the answer, or a value that is needed for it, is too large; ask for fewer columns, or for the beginning of long values only, as with substr()"
		if free {
			return upstream.InvalidArguments, text
		}
		return upstream.UpstreamError, text
	case late:
		return upstream.Timeout, "the database ended the statement because it took too long"
	}
	if s == connecting {
		return upstream.Unavailable, "the database cannot be reached"
	}
	return upstream.Unavailable, "the connection to the database was lost"
}

func (a *Adapter) clean(s string) string {
	if a.opt.Clean == nil {
		return s
	}
	b := []byte(s)
	a.opt.Clean(b)
	return string(b)
}
