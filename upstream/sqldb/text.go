package sqldb

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// parsed is one statement, ready for the driver.
type parsed struct {
	sql    string
	order  []string // parameters in the order in which the driver wants them
	tokens []token  // of the text that it was made of
	source string   // that text
}

// parse holds sql to one statement. With params, :name stands for a parameter.
func parse(driver Driver, sql string, params bool) (*parsed, error) {
	tokens, err := lex(driver, sql, params)
	if err != nil {
		return nil, err
	}
	end := len(tokens)
	for end > 0 && is(sql, tokens[end-1], ";") {
		end--
	}
	tokens = tokens[:end]
	if end == 0 {
		return nil, errors.New("there is no statement in it")
	}
	if slices.ContainsFunc(tokens, func(t token) bool { return is(sql, t, ";") }) {
		return nil, errors.New("it has more than one statement; send one at a time")
	}
	p := &parsed{tokens: tokens, source: sql[:tokens[end-1].to]}
	p.place(driver)
	return p, nil
}

// place puts the driver's placeholders in the place of parameters.
func (p *parsed) place(driver Driver) {
	var b strings.Builder
	at := 0
	for _, t := range p.tokens {
		if t.kind != param {
			continue
		}
		b.WriteString(p.source[at:t.from])
		at = t.to
		i := slices.Index(p.order, t.name)
		if i < 0 || driver == MySQL {
			i = len(p.order)
			p.order = append(p.order, t.name)
		}
		switch driver {
		case Postgres:
			b.WriteString("$" + strconv.Itoa(i+1))
		case SQLite:
			b.WriteString("?" + strconv.Itoa(i+1))
		default:
			b.WriteByte('?')
		}
	}
	b.WriteString(p.source[at:])
	p.sql = b.String()
}

func is(sql string, t token, s string) bool { return t.kind == other && sql[t.from:t.to] == s }

// keyword returns the i-th token if it is a word.
func (p *parsed) keyword(i int) string {
	if i < len(p.tokens) && p.tokens[i].kind == word {
		return p.tokens[i].name
	}
	return ""
}

// queries are the words that a statement begins with that returns rows and, by
// itself, changes nothing.
var queries = []string{"select", "with", "values", "table"}

// shape returns the part of the statement that can stand in a subquery, which is
// how the server is asked whether it is a query; "" where it is one of the few
// that cannot and are harmless: SHOW, DESCRIBE. Everything else is refused.
func (p *parsed) shape(driver Driver) (string, error) {
	first := p.keyword(0)
	if is(p.source, p.tokens[0], "(") || slices.Contains(queries, first) {
		return p.sql, nil
	}
	switch {
	case first == "show" && driver != SQLite:
		return "", nil
	case (first == "describe" || first == "desc") && driver == MySQL && p.onlyNames():
		return "", nil
	case first == "explain":
		if i := p.explained(); i >= 0 {
			return p.sql[p.tokens[i].from:], nil // parameters come later
		}
	}
	return "", fmt.Errorf("it is no query; only %s can be asked", strings.ToUpper(strings.Join(queries, ", "))+" and EXPLAIN of these")
}

// inSubquery is what the server has to be able to prepare of a query, which it never
// runs.
func inSubquery(query string) string { return "SELECT * FROM (\n" + query + "\n) AS q WHERE 1=0" }

// onlyNames reports whether nothing but names follows the first word.
func (p *parsed) onlyNames() bool {
	return len(p.tokens) > 1 && !slices.ContainsFunc(p.tokens[1:], func(t token) bool {
		return t.kind != word && t.kind != quoted && !is(p.source, t, ".")
	})
}

// explainOptions may stand between EXPLAIN and the query.
var explainOptions = []string{"analyze", "verbose", "format", "json", "traditional", "tree", "extended", "partitions", "query", "plan"}

// explained returns the index of the token at which the query begins that EXPLAIN
// is asked of; -1 if it is of something else.
func (p *parsed) explained() int {
	depth := 0
	for i := 1; i < len(p.tokens); i++ {
		t := p.tokens[i]
		switch {
		case is(p.source, t, "("):
			if depth == 0 && slices.Contains(append(queries, ""), p.keyword(i+1)) {
				return i
			}
			depth++
		case is(p.source, t, ")"):
			depth--
		case depth > 0 || is(p.source, t, "="):
		case t.kind != word:
			return -1
		case slices.Contains(queries, t.name):
			return i
		case !slices.Contains(explainOptions, t.name):
			return -1
		}
	}
	return -1
}

// calls returns the names of what may be called in the text: whatever stands
// before a parenthesis.
func (p *parsed) calls() []string {
	var out []string
	for i, t := range p.tokens {
		if (t.kind == word || t.kind == quoted) && i+1 < len(p.tokens) && is(p.source, p.tokens[i+1], "(") {
			out = append(out, strings.ToLower(t.name))
		}
	}
	return out
}
