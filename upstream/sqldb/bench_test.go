package sqldb_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

const hundred = "SELECT i AS id, 'C-' || i AS customer, i * 1.5 AS total, now() AS placed FROM generate_series(1, 100) i"

// BenchmarkRows asks PostgreSQL for 100 rows of four columns, by turns through the
// adapter, in a read-only transaction and with the answer written as a result, and
// by pgx directly, which only scans them. It reports the medians and their ratio,
// which is to be 1.3 at most: measured 1.00 to 1.16 on two cores. The transaction costs no
// round trip of its own, and text goes from the wire into JSON without being decoded
// in between.
func BenchmarkRows(b *testing.B) {
	s := pgServer.need(b)
	a := start(b, sqldb.Options{Driver: sqldb.Postgres, Statements: map[string]sqldb.Statement{"hundred": {SQL: hundred}}}, "reader")
	c := callOf("hundred", `{}`)
	conn, err := pgx.Connect(b.Context(), s.dsn("reader"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(b.Context()) //nolint:errcheck // of a benchmark
	var ours, theirs []time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := a.Call(b.Context(), c); err != nil {
			b.Fatal(err)
		}
		between := time.Now()
		scan(b, conn)
		ours, theirs = append(ours, between.Sub(began)), append(theirs, time.Since(between))
	}
	adapter, direct := median(ours), median(theirs)
	b.ReportMetric(float64(adapter.Microseconds()), "adapter-us")
	b.ReportMetric(float64(direct.Microseconds()), "pgx-us")
	b.ReportMetric(float64(adapter)/float64(direct), "ratio")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func scan(b *testing.B, conn *pgx.Conn) {
	rows, err := conn.Query(b.Context(), hundred)
	if err != nil {
		b.Fatal(err)
	}
	for rows.Next() {
		var id int
		var customer string
		var total float64
		var placed time.Time
		if err := rows.Scan(&id, &customer, &total, &placed); err != nil {
			b.Fatal(err)
		}
	}
	if rows.Err() != nil {
		b.Fatal(rows.Err())
	}
}
