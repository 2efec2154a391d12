package inbound

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

type noService struct{ subscribed *int }

func (noService) Handle(context.Context, *aggregate.Request) (json.RawMessage, error) {
	return nil, nil
}
func (noService) Instructions() string                   { return "" }
func (noService) Extensions() map[string]json.RawMessage { return nil }
func (n noService) Subscribe(_ context.Context, s aggregate.Subscription) (aggregate.Subscription, func()) {
	*n.subscribed++
	return s, func() { *n.subscribed-- }
}

func TestSessionTableIsBounded(t *testing.T) {
	s, err := newSeal(nil)
	if err != nil {
		t.Fatal(err)
	}
	subscribed := 0
	svc, me := noService{&subscribed}, upstream.Local()
	table := newSessionTable(s, 10)
	enter := func(id string) *httpSession {
		h, ok := table.enter(id, "", svc, me)
		if !ok {
			t.Fatal("refused")
		}
		return h
	}
	ids := make([]string, maxSessions+2)
	for i := range ids {
		ids[i] = table.open("", me, newTerms("2025-11-25", clientInfo{"c", "1"}, nil))
	}
	if n := len(table.byID); n != 0 {
		t.Fatalf("%d sessions are kept that nobody has used", n)
	}
	busy := enter(ids[0]) // all the time
	stream := &reader{wake: func() {}, end: func() {}}
	for _, id := range ids[1:] {
		h := enter(id)
		h.mail.attach(stream)
		h.watchLists(t.Context())
		h.mail.detach(stream, nil)
		table.leave(h)
	}
	if n := len(table.byID); n != maxSessions || subscribed != maxSessions-1 {
		t.Fatalf("%d sessions and %d subscriptions", n, subscribed)
	}
	if again := enter(ids[0]); again != busy {
		t.Fatal("a session in use was dropped")
	}
	if table.byID[ids[1]] != nil || table.byID[ids[2]] != nil || table.byID[ids[3]] == nil {
		t.Fatal("not the least recently used was dropped")
	}
	for _, id := range ids {
		table.end(enter(id))
		if _, ok := table.enter(id, "", svc, me); ok {
			t.Fatal("a terminated session goes on")
		}
	}
	if subscribed != 0 || len(table.byID) != 0 || table.idle.Len() != 0 || len(table.gone) != maxEnded || len(table.order) != maxEnded {
		t.Fatalf("%d subscriptions, %d sessions, %d idle, %d ended", subscribed, len(table.byID), table.idle.Len(), len(table.gone))
	}
}

// The late end of a cancelled request is not that of the next with its id.
func TestLateEndLeavesTheNextRequestAlone(t *testing.T) {
	s := &session{max: 2}
	id := json.RawMessage("1")
	_, old, err := s.begin(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	s.stop(id)
	ctx, next, err := s.begin(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if old.settle() {
		t.Error("a cancelled request wants to be answered")
	}
	if _, _, err := s.begin(t.Context(), id); err == nil {
		t.Error("an id in use was taken")
	}
	s.stop(id)
	if ctx.Err() == nil || next.settle() {
		t.Error("the next request could not be cancelled")
	}
}
