package mutants_test

// querying are bugs by which a query of the model does more than read, or a
// statement that writes less than it says.
var querying = []mutant{
	{"what only reads may write", "upstream/sqldb/pgrun.go", "", "TestStatementsOnlyRead/postgres", changes{
		`"begin read only", "rollback"`, `"begin read write", "rollback"`}},
	{"nobody asks whether it is a query", "upstream/sqldb/sqlite.go", "", "TestProbe/sqlite", changes{
		`	if req.probe != "" {
		texts =`, `	if false {
		texts =`}},
	{"every function may be called", "upstream/sqldb/deny.go", "", "TestDenied", changes{
		`slices.ContainsFunc(denied[driver],`, `slices.ContainsFunc(denied[""],`}},
	{"a carriage return hides what comes after it", "upstream/sqldb/lex.go", "", "TestHidden", changes{
		`ends = "\r\n"`, `ends = "\n"`}},
	{"a string that goes on loses its escapes", "upstream/sqldb/lex.go", "", "TestHidden", changes{
		`l.escaped > 0 &&`, `l.escaped < 0 &&`}},
	{"two statements are one", "upstream/sqldb/text.go", "", "FuzzParse", changes{
		`{ return is(sql, t, ";") }`, `{ return is(sql, t, ";;") }`}},
	{"SQLite is told of no policy", "upstream/sqldb/sqlite.go", "", "TestEscapes/sqlite", changes{
		`authorize(conn, policy(write))`, `authorize(conn, nil)`}},
	{"any role of PostgreSQL is used", "upstream/sqldb/postgres.go", "", "TestRoles/postgres", changes{
		`	if p.opt.AllowPrivileged {`, `	if true {`}},
	{"who may write the accounts is a reader", "upstream/sqldb/role.go", "", "TestMighty", changes{
		`		case ofServer(on):`, `		case false:`}},
	{"a write ends with the last row that is shown", "upstream/sqldb/pgrun.go", "", "TestWholeWrites/postgres", changes{
		`"commit", 0`, `"commit", uint32(req.rows)+1`}},
	{"what a database answers opens its circuit", "upstream/gate/breaker.go", "upstream/sqldb", "TestAnswersOpenNoCircuit/sqlite", changes{
		`	if errors.Is(err, upstream.ErrNoOutage) {`, `	if false {`}},
	{"a query that was too slow is asked again", "upstream/sqldb/errors.go", "", "TestSlowIsAskedOnce/sqlite", changes{
		`upstream.Caused(err, upstream.ErrFinal, upstream.ErrNoOutage)
	}
	return`, `upstream.Caused(err, upstream.ErrNoOutage)
	}
	return`}},
	{"a file that was replaced is read on", "upstream/sqldb/sqlitefile.go", "", "TestReplacedFile", changes{
		`	if !c.current() {`, `	if false {`}},
	{"what waited for a lock may have been written", "upstream/sqldb/sqlite.go", "", "TestLockedFile", changes{
		`		return undone(err) // it was given up`, `		return at(running, err) // it was given up`}},
}
