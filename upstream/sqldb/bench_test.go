//go:build unix

package sqldb_test

import (
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

const hundred = "SELECT i AS id, 'C-' || i AS customer, i * 1.5 AS total, now() AS placed FROM generate_series(1, 100) i"

// turn is how often PostgreSQL is asked one way before the other has its turn.
const turn = 100

// BenchmarkRows asks PostgreSQL for 100 rows of four columns, by turns through the
// adapter, in a read-only transaction and with the answer written as a result, and
// by pgx directly, which only scans them. It reports the medians over the turns of
// what one statement takes, and of the processor time that it costs this process.
// The transaction costs no round trip of its own, and text goes from the wire into
// JSON without being decoded in between. go run ./bench compares them.
func BenchmarkRows(b *testing.B) {
	s := pgServer.need(b)
	a := start(b, sqldb.Options{Driver: sqldb.Postgres, Statements: map[string]sqldb.Statement{"hundred": {SQL: hundred}}}, "reader")
	c := callOf("hundred", `{}`)
	conn, err := pgx.Connect(b.Context(), s.dsn("reader"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(b.Context()) //nolint:errcheck // of a benchmark
	ways := []struct {
		name      string
		once      func()
		took, cpu []time.Duration
	}{
		{name: "adapter", once: func() {
			if _, err := a.Call(b.Context(), c); err != nil {
				b.Fatal(err)
			}
		}},
		{name: "pgx", once: func() { scan(b, conn) }},
	}
	for _, w := range ways {
		w.once() // prepares the statement
	}
	for b.Loop() {
		for i := range ways {
			w := &ways[i]
			runtime.GC()
			used, began := cpu(b), time.Now()
			for range turn {
				w.once()
			}
			w.took, w.cpu = append(w.took, time.Since(began)), append(w.cpu, cpu(b)-used)
		}
	}
	for _, w := range ways {
		b.ReportMetric(median(w.took), w.name+"-us")
		b.ReportMetric(median(w.cpu), w.name+"-cpu-us")
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// median returns that of one statement, in µs.
func median(turns []time.Duration) float64 {
	slices.Sort(turns)
	return float64(turns[len(turns)/2].Nanoseconds()) / turn / 1000
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
