package sqldb

import (
	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteHeap is how much memory all SQLite databases of this process may take
// together, in bytes: there is no such limit for one connection. A statement that
// needs more fails, and so may one that runs beside it
// (https://sqlite.org/c3ref/hard_heap_limit64.html). Pages that are only kept to be
// read again are given back before.
const sqliteHeap = 256 << 20

// heapCounted reports whether SQLite counts its memory, without which it holds
// itself to no limit. It takes the wish only before the first database is opened
// anywhere in the process (https://sqlite.org/c3ref/c_config_covering_index_scan.html,
// SQLITE_CONFIG_MEMSTATUS), so that it is told when the program is loaded.
var heapCounted = countHeap()

func countHeap() bool {
	const size = 8 // of the list of arguments
	tls := libc.NewTLS()
	defer tls.Close()
	list := tls.Alloc(size)
	defer tls.Free(size)
	return sqlite3.Xsqlite3_config(tls, sqlite3.SQLITE_CONFIG_MEMSTATUS, libc.VaList(list, int32(1))) == sqlite3.SQLITE_OK
}

// boundHeap sets the limit.
func boundHeap() {
	if !heapCounted {
		return
	}
	tls := libc.NewTLS()
	defer tls.Close()
	sqlite3.Xsqlite3_hard_heap_limit64(tls, sqliteHeap)
}
