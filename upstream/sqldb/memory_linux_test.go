package sqldb_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

// resident returns how much memory the process has now, and how much it had at
// most since forget, in MiB: SQLite's is not among that of Go
// (https://man7.org/linux/man-pages/man5/proc_pid_status.5.html).
func resident(t *testing.T) (now, most int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) int {
		found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)
		if found == nil {
			t.Skipf("the system does not tell %s", name)
		}
		n, _ := strconv.Atoi(string(found[1]))
		return n / 1024
	}
	return read("VmRSS"), read("VmHWM")
}

// forget sets the most back to what there is now
// (https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html).
func forget(t *testing.T) {
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600); err != nil {
		t.Skip(err)
	}
}

// TestMemory has rows that are too large take a part of the memory that they would:
// two hundred megabytes of a server's, gigabytes of SQLite's.
func TestMemory(t *testing.T) {
	for _, c := range []struct {
		name   string
		driver sqldb.Driver
		text   string
		bound  int // MiB
	}{
		{"PostgreSQL", sqldb.Postgres, cells(sqldb.Postgres, 5, 40_000_000), 100},
		{"MariaDB", sqldb.MySQL, cells(sqldb.MySQL, 14, 15_000_000), 100},
		{"columns that SQLite fills when they are read", sqldb.SQLite, cells(sqldb.SQLite, 600, 4_000_000), 1000},
		{"columns that it fills itself", sqldb.SQLite, strings.ReplaceAll(cells(sqldb.SQLite, 600, 2_000_000), "(2000000)", "(id * 0 + 2000000) || id") + " FROM orders", 1000},
		{"what it needs beside columns", sqldb.SQLite, "SELECT max(id" + strings.Repeat(", zeroblob(4000000+id) || id", 100) + ") + max(id" + strings.Repeat(", zeroblob(4000001+id) || id", 100) + ") FROM orders", 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := start(t, sqldb.Options{Driver: c.driver, Query: true}, "reader")
			if _, err := query(t, a, "SELECT 1 AS a"); err != nil {
				t.Fatal(err)
			}
			forget(t)
			before, _ := resident(t)
			_, err := query(t, a, c.text)
			_, most := resident(t)
			t.Logf("%d MiB, then at most %d MiB; %v", before, most, err)
			if kindOf(err) != "invalid_arguments" || !strings.Contains(public(err), "too large") {
				t.Errorf("%v", err)
			}
			if most-before > c.bound {
				t.Errorf("it took %d MiB", most-before)
			}
			if r, err := query(t, a, "SELECT 1 AS a"); rowsOf(t, r, err) != "[[1]]" {
				t.Errorf("the next: %v", err)
			}
		})
	}
}
