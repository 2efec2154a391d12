package sqldb_test

import (
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

var drivers = []sqldb.Driver{sqldb.Postgres, sqldb.MySQL, sqldb.SQLite}

// each runs a test for each database.
func each(t *testing.T, test func(t *testing.T, d sqldb.Driver)) {
	for _, d := range drivers {
		t.Run(string(d), func(t *testing.T) { test(t, d) })
	}
}

func TestQuery(t *testing.T) {
	each(t, func(t *testing.T, d sqldb.Driver) {
		a := start(t, sqldb.Options{Driver: d, Query: true, MaxRows: 3}, "reader")
		r, err := query(t, a, "SELECT id, customer, total FROM orders ORDER BY id -- all;")
		t.Log(body(t, r, err))
		r, err = call(t, a, "schema", `{}`)
		t.Log(body(t, r, err))
		r, err = call(t, a, "schema", `{"detail":"summary"}`)
		t.Log(body(t, r, err))
		r, err = call(t, a, "schema", `{"detail":"full"}`)
		t.Log(body(t, r, err))
	})
}
