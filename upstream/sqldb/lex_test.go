package sqldb

import (
	"slices"
	"strings"
	"testing"
)

// TestHidden has nothing be taken for a comment or a string that a server carries
// out: each text either calls f here too, or is refused.
func TestHidden(t *testing.T) {
	for _, c := range []struct {
		driver Driver
		text   string
		want   string // in the error; "" where the call is seen
	}{
		{Postgres, "SELECT 1 --\r, f()", ""}, {Postgres, "SELECT 1 -- '\r\n, f() -- '", ""},
		{Postgres, "SELECT E'a'\n'b\\'' || f() -- '", "goes on in another"}, {Postgres, "SELECT E'a' -- '\r\t'\\'' || f() -- '", "goes on in another"}, {Postgres, "SELECT e'a'\n'b'\n'\\'' || f() -- '", "goes on in another"},
		{Postgres, "SELECT 'a\\' || f()", ""}, {Postgres, "SELECT U&'a'\n'b\\' || f()", ""}, {Postgres, "SELECT E'a\\'' || f() -- '", "backslash before a quote"}, {Postgres, "SELECT U&\"\\0066\"()", "Unicode escapes"},
		{Postgres, "SELECT a$$, f() FROM (SELECT 1 AS a$$) AS b", ""}, {Postgres, "SELECT 1 /* /* */ -- */, f()", ""}, {Postgres, "SELECT 1e5f()", "without a space"},
		{MySQL, "SELECT 1 --\x7f'\n, f() -- '", "without a space after it"}, {MySQL, "SELECT 5--f()", "without a space after it"}, {MySQL, "SELECT 1 # '\n, f() # '", ""}, {MySQL, "SELECT 1 --\t'\n, f() -- '", ""},
		{MySQL, "SELECT 'a\\', f(), '", "backslash before a quote"}, {MySQL, "SELECT \"a\\\\\", f()", "backslash before a quote"}, {MySQL, "SELECT 1 /*! , f() */", "would carry out"}, {MySQL, "SELECT 1 /*M!100000 , f() */", "would carry out"}, {MySQL, "SELECT 1 /* /*! */ , f() */", "within a comment"}, {MySQL, "SELECT \"f\"()", ""}, {MySQL, "SELECT 1e5f()", "without a space"},
		{SQLite, "SELECT [a]]f()", ""}, {SQLite, "SELECT 'a\\', f() -- '", ""}, {SQLite, "SELECT 1 -- '\n, f() -- '", ""}, {SQLite, "SELECT `f`()", ""},
	} {
		p, err := parse(c.driver, c.text, false)
		switch {
		case c.want == "" && (err != nil || !slices.Contains(p.calls(), "f")):
			t.Errorf("%s: %q: the call is not seen, %v", c.driver, c.text, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %q: %v, want %q", c.driver, c.text, err, c.want)
		}
	}
}

// TestDenied has the model be told which function it may not call, and what else it
// may not write.
func TestDenied(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT pg_sleep(1)": "pg_sleep", "SELECT \"PG_Read_File\"('x')": "pg_read_file", "SELECT pg_catalog.pg_advisory_lock /* x */ (1)": "pg_advisory_lock", "SELECT dblink_exec('x')": "dblink_exec",
		"SELECT 1 INTO x": "INTO", "SELECT 1 FROM a FOR KEY SHARE": "FOR KEY",
	} {
		p, err := parse(Postgres, text, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.refuse(Postgres); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"SELECT length('pg_sleep(1)'), pg_sleep FROM a -- pg_sleep(1)", "SELECT \"into\" FROM a"} {
		if p, err := parse(Postgres, text, false); err != nil || p.refuse(Postgres) != nil {
			t.Errorf("%s is refused: %v, %v", text, err, p.refuse(Postgres))
		}
	}
}

// FuzzParse has any text be taken apart without harm: tokens are in order and
// within the text, and what counts as one statement has no semicolon outside them.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"SELECT 1", "SELECT 'a''b' -- x\n;", "SELECT $a$;$a$, E'\\'', U&\"x\"", "/* /* */ */ SELECT [a]]", "SELECT :a, b::text, `c`, \"d\"\"e\" # x", "EXPLAIN (ANALYZE) (SELECT 1)", "\xff'\\", "'", "$", "$1$"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		for _, d := range []Driver{Postgres, MySQL, SQLite} {
			for _, params := range []bool{true, false} {
				p, err := parse(d, sql, params)
				if err != nil {
					continue
				}
				at := 0
				for _, tok := range p.tokens {
					if tok.from < at || tok.to <= tok.from || tok.to > len(p.source) {
						t.Fatalf("%s: a token at %d to %d after %d", d, tok.from, tok.to, at)
					}
					at = tok.to
					if is(p.source, tok, ";") {
						t.Fatalf("%s: two statements in %q", d, sql)
					}
				}
				if !params && !strings.HasPrefix(sql, p.sql) {
					t.Fatalf("%s: %q has become %q", d, sql, p.sql)
				}
				_, _ = p.shape(d)
				_ = p.refuse(d)
			}
		}
	})
}
