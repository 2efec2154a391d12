package inbound

import (
	"context"
	"encoding/json"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// wants is what a client wants to be told while a request is worked on, and
// whether it can be asked something.
type wants struct {
	terms        terms // of a legacy client
	token        json.RawMessage
	level        string // "" is none
	capabilities json.RawMessage
	asks         bool
}

func (r *request) wants() wants {
	if r.era.modern {
		return wants{token: r.token, level: r.era.said.level, capabilities: r.era.said.capabilities}
	}
	t, level := r.session.settled()
	return wants{terms: t, token: r.token, level: level, capabilities: t.capabilities, asks: t.asks}
}

func (w *wants) any() bool { return w.token != nil || w.level != "" || w.asks }

// tells reports whether there may be something to tell before the answer.
func (r *request) tells() bool {
	w := r.wants()
	return w.any() && routeOf(r.method).tells
}

// back returns the way back to the client. What goes that way is in n, which has
// to be settled when the work is done; nil if nothing can be told.
func (r *request) back(ctx context.Context, f *flight) (b upstream.Back, n *news) {
	if !routeOf(r.method).service {
		return b, nil
	}
	w := r.wants()
	b.Capabilities = w.capabilities
	if !w.any() || !routeOf(r.method).tells {
		return b, nil
	}
	if r.notes != nil {
		n = &news{to: r.notes, flight: f, level: upstream.Severity(w.level), progress: newProgress(w.token)}
		if w.token != nil {
			b.Progress = n.tell
		}
		if w.level != "" {
			b.Log, b.LogLevel = n.log, w.level
		}
	}
	if w.asks {
		b.Ask = r.asker(ctx, w.terms, n)
	}
	return b, n
}

// asker returns what puts questions to a legacy client, until call ends.
func (r *request) asker(call context.Context, t terms, n *news) func(context.Context, upstream.Question) (json.RawMessage, error) {
	return func(ctx context.Context, q upstream.Question) (json.RawMessage, error) {
		if fault := t.allows(q); fault != nil {
			return nil, fault
		}
		return r.session.questions.ask(ctx, call, r.courier(n), q)
	}
}

// courier returns the way for a question: the request's own stream, or where the
// client takes none there or has left it, one of its session.
func (r *request) courier(n *news) courier {
	if n != nil {
		select {
		case <-n.lost():
		default:
			return n
		}
	}
	return &r.session.mail
}
