package sqldb

import (
	"strings"
	"testing"
)

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
