package aggregate_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Only who was asked to open an address hears that the user is done there,
// whichever way it was asked.
func TestTheEndOfAnElicitationReachesWhoWasAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, other := newRich(t, "crm", "get"), newRich(t, "other")
		byError := false
		r.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			if byError {
				return nil, &upstream.Error{Kind: upstream.UpstreamError, RPC: &upstream.RPCError{Code: -32042,
					Data: []byte(`{"elicitations":[{"mode":"url","elicitationId":"e2","url":"https://b","message":"m"}]}`)}}
			}
			_, err := c.Back.Ask(ctx, upstream.Question{Method: upstream.AskElicitation,
				Params: []byte(`{"mode":"url","elicitationId":"e1","url":"https://a","message":"m"}`)})
			return upstream.TextResult("done", false), err
		}
		v, _ := start(t, aggregate.Options{}, asMember(r), asMember(other))
		names(t, v)
		var hers, herOther, his, modern told
		for _, s := range []aggregate.Subscription{
			{Principal: alice, Session: "s1", Tell: hers.note}, {Principal: alice, Session: "s2", Tell: herOther.note},
			{Principal: bob, Session: "s1", Tell: his.note}, {Principal: alice, Tell: modern.note},
		} {
			_, cancel := v.Subscribe(t.Context(), s)
			defer cancel()
		}
		for _, byError = range []bool{false, true} {
			q := legacyRequest(everything, accept)
			q.Session = "s1"
			_, _ = send(t, t.Context(), v, q)
		}
		// Another user is given the same id: it stays the first one's.
		q := legacyRequest(everything, accept)
		q.Principal, q.Session = bob, "s1"
		_, _ = send(t, t.Context(), v, q)
		for _, id := range []string{"e1", "e2", "e3"} {
			r.events().Note(upstream.NoteElicited, json.RawMessage(`{"elicitationId":"`+id+`","x":1}`))
			other.events().Note(upstream.NoteElicited, json.RawMessage(`{"elicitationId":"`+id+`"}`))
		}
		const m = "notifications/elicitation/complete crm "
		if diff := cmp.Diff([]string{m + `e1 {"elicitationId":"e1","x":1}`, m + `e2 {"elicitationId":"e2","x":1}`}, hers.take()); diff != "" {
			t.Error(diff)
		}
		if got := append(append(herOther.take(), his.take()...), modern.take()...); len(got) != 0 {
			t.Errorf("others were told %q", got)
		}
	})
}
