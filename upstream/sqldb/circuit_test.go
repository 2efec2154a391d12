package sqldb_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

// gated is an adapter behind the layers that watch its failures, which count each.
type gated struct {
	whole *gate.Breaker
	tools *gate.Breakers
	asked int
	h     upstream.Handler
}

func behindGates(a *sqldb.Adapter, limit time.Duration) *gated {
	o := gate.BreakerOptions{Failures: 3, CoolDown: time.Hour}
	whole := o
	whole.Whole = true
	g := &gated{whole: gate.NewBreaker(whole), tools: gate.NewBreakers(o)}
	g.h = upstream.Chain(gate.NewRetry(3, func(*upstream.Call) bool { return true }).Layer, g.whole.Layer, g.tools.Layer, gate.Timeout(limit))(
		func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			g.asked++
			return a.Call(ctx, c)
		})
	return g
}

func (g *gated) call(t *testing.T, tool, args string) error {
	t.Helper()
	_, err := g.h(t.Context(), callOf(tool, args))
	return err
}

// TestAnswersOpenNoCircuit has what the database answers to a statement keep nobody
// from it, however often, and a database that is not there do.
func TestAnswersOpenNoCircuit(t *testing.T) {
	forbidden := map[sqldb.Driver]string{sqldb.Postgres: "SELECT * FROM pg_authid", sqldb.MySQL: "SELECT * FROM mysql.user", sqldb.SQLite: "SELECT load_extension('x')"}
	odd := map[sqldb.Driver]string{sqldb.Postgres: "SELECT pg_describe_object(99999999, 1, 0)", sqldb.MySQL: "SELECT 18446744073709551615 + 1", sqldb.SQLite: "SELECT abs(-9223372036854775808)"}
	each(t, func(t *testing.T, d sqldb.Driver) {
		a := start(t, sqldb.Options{Driver: d, Writes: true, AllowPrivileged: true, Statements: map[string]sqldb.Statement{
			"old": {SQL: "SELECT gone FROM orders"}, "older": {SQL: "SELECT * FROM gone"}, "fine": {SQL: "SELECT id FROM orders"}, "forbidden": {SQL: forbidden[d]}, "odd": {SQL: odd[d]},
			"huge": {SQL: cells(d, 1, 5_000_000)}, "twice": {SQL: "INSERT INTO orders (id, customer) VALUES (1, 'x')", Write: true},
		}}, "writer")
		g := behindGates(a, time.Minute)
		for range 4 {
			for _, tool := range []string{"old", "older", "forbidden", "huge", "twice", "odd"} {
				if err := g.call(t, tool, `{}`); err != nil && strings.Contains(public(err), "circuit") {
					t.Fatalf("%s: %v (public %q)", tool, err, public(err))
				}
			}
		}
		if g.asked != 24 {
			t.Errorf("they were asked %d times", g.asked)
		}
		if err := g.call(t, "fine", `{}`); err != nil {
			t.Error(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_ = g.call(t, "fine", `{}`)
			time.Sleep(250 * time.Millisecond) // less is one failure
		}
		if s := g.whole.Status(); s.State != gate.Open {
			t.Errorf("of a database that is not there: %+v", s)
		}
	})
}

// TestSlowIsAskedOnce has a statement that was given up for its time not be asked
// again, and one that the model wrote keep nobody from asking another.
func TestSlowIsAskedOnce(t *testing.T) {
	each(t, func(t *testing.T, d sqldb.Driver) {
		const limit = 150 * time.Millisecond
		a := start(t, sqldb.Options{Driver: d, Query: true, Timeout: time.Hour, Statements: map[string]sqldb.Statement{"slow": {SQL: endless[d][0]}}}, "reader")
		if _, err := query(t, a, "SELECT 1"); err != nil {
			t.Fatal(err)
		}
		g := behindGates(a, limit)
		for range 5 {
			err := g.call(t, "query", `{"sql":"`+endless[d][0]+`"}`)
			if e, _ := errors.AsType[*upstream.Error](err); kindOf(err) != "timeout" || !e.Sent || !strings.HasPrefix(e.Public, "no answer within 150ms; ") || !strings.Contains(e.Public, "LIMIT") {
				t.Errorf("%v (public %q)", err, public(err))
			}
		}
		if g.asked != 5 || g.whole.Status().State != gate.Closed || len(g.tools.Status()) != 0 {
			t.Errorf("asked %d times; %+v, %+v", g.asked, g.whole.Status(), g.tools.Status())
		}
		for range 5 {
			if err := g.call(t, "slow", `{}`); kindOf(err) != "timeout" && !strings.Contains(public(err), "circuit") {
				t.Errorf("%v (public %q)", err, public(err))
			}
		}
		if g.asked != 8 || g.tools.Status()["slow"].State != gate.Open || g.whole.Status().State != gate.Closed {
			t.Errorf("the operator's: asked %d times; %+v, %+v", g.asked-5, g.whole.Status(), g.tools.Status())
		}
		idle(t, d)
	})
}
