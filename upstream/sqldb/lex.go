package sqldb

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// tokenKind is what a piece of SQL text is.
type tokenKind uint8

const (
	word   tokenKind = iota // a name or keyword without quotes
	quoted                  // a name in quotes, or what may be one
	text                    // a string
	number                  // digits
	param                   // :name
	other                   // one other character
)

// token is a piece of SQL text: [from, to) of it.
type token struct {
	kind     tokenKind
	from, to int
	name     string // of a word (lower case), a quoted name (as it is), a parameter
}

// lexer takes SQL text apart as far as it takes to know where names, strings
// and comments are. It follows the documentation of the lexical structure:
// https://www.postgresql.org/docs/current/sql-syntax-lexical.html,
// https://mariadb.com/docs/server/reference/sql-structure/sql-language-structure,
// https://dev.mysql.com/doc/refman/8.4/en/language-structure.html,
// https://sqlite.org/lang_expr.html. What is ambiguous between modes of a server
// is refused: whoever reads the text must not take it for something else than
// the server does.
type lexer struct {
	sql    string
	driver Driver
	params bool // whether :name is a parameter
	at     int
	tokens []token
	// escaped is how many tokens there were when the last one was an E'...'; 0 if
	// there was none.
	escaped int
}

// lex takes sql apart.
func lex(driver Driver, sql string, params bool) ([]token, error) {
	if strings.Contains(sql, "\x00") {
		return nil, errors.New("it has a NUL character")
	}
	l := &lexer{sql: sql, driver: driver, params: params}
	for l.at < len(sql) {
		if err := l.next(); err != nil {
			return nil, err
		}
	}
	return l.tokens, nil
}

func (l *lexer) peek(n int) byte {
	if l.at+n < len(l.sql) {
		return l.sql[l.at+n]
	}
	return 0
}

func (l *lexer) add(kind tokenKind, to int, name string) {
	l.tokens = append(l.tokens, token{kind, l.at, to, name})
	l.at = to
}

func (l *lexer) next() error {
	c := l.sql[l.at]
	switch {
	case space(c):
		l.at++
	// https://dev.mysql.com/doc/refman/8.4/en/comments.html; and to MariaDB in the
	// mode ORACLE it needs nothing behind it.
	case c == '-' && l.peek(1) == '-' && l.driver == MySQL && l.at+2 < len(l.sql) && !space(l.peek(2)):
		return errors.New("it has -- without a space after it, which is a comment to some servers only; write a space after it, or between the two")
	case c == '-' && l.peek(1) == '-', c == '#' && l.driver == MySQL:
		l.line()
	case c == '/' && l.peek(1) == '*':
		return l.block()
	case c == '\'':
		return l.quotes(text)
	case c == '"', c == '`' && l.driver != Postgres:
		return l.quotes(quoted)
	case c == '[' && l.driver == SQLite:
		end := strings.IndexByte(l.sql[l.at:], ']')
		if end < 0 {
			return errors.New("a [ is not closed")
		}
		l.add(quoted, l.at+end+1, l.sql[l.at+1:l.at+end])
	case c == '$' && l.driver == Postgres && (l.peek(1) == '$' || begins(l.peek(1))):
		return l.dollars()
	case begins(c):
		l.word()
	case c >= '0' && c <= '9':
		return l.number()
	case c == ':' && l.peek(1) == ':':
		l.add(other, l.at+2, "")
	case c == ':' && l.params && begins(l.peek(1)):
		end := l.at + 1
		for end < len(l.sql) && continues(l.sql[end]) {
			end++
		}
		l.add(param, end, l.sql[l.at+1:end])
	default:
		l.add(other, l.at+1, "")
	}
	return nil
}

func begins(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80 }

func continues(c byte) bool { return begins(c) || c >= '0' && c <= '9' }

func space(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// line skips a comment that ends with the line. To PostgreSQL, and to no other, a
// carriage return ends it too
// (https://github.com/postgres/postgres/blob/master/src/backend/parser/scan.l).
func (l *lexer) line() {
	ends := "\n"
	if l.driver == Postgres {
		ends = "\r\n"
	}
	end := strings.IndexAny(l.sql[l.at:], ends)
	if end < 0 {
		l.at = len(l.sql)
		return
	}
	l.at += end + 1
}

// block skips a comment. PostgreSQL's nest; MySQL executes what stands in those
// that begin with /*! or /*M!.
func (l *lexer) block() error {
	if l.driver == MySQL && (l.peek(2) == '!' || l.peek(2) == 'M' && l.peek(3) == '!' || l.peek(2) == '+') {
		return errors.New("it has a comment that the server would carry out; write it without")
	}
	depth := 1
	for l.at += 2; l.at < len(l.sql); l.at++ {
		switch {
		case l.sql[l.at] == '*' && l.peek(1) == '/':
			l.at++
			if depth--; depth == 0 {
				l.at++
				return nil
			}
		case l.sql[l.at] == '/' && l.peek(1) == '*':
			if l.driver != Postgres {
				return errors.New("it has a comment within a comment")
			}
			l.at++
			depth++
		}
	}
	return errors.New("a comment is not closed")
}

// quotes reads what is quoted; the quote itself is doubled within. Where a
// backslash escapes, which depends on the server's modes, only the operator's text
// may have one before a quote or another backslash.
func (l *lexer) quotes(kind tokenKind) error {
	quote := l.sql[l.at]
	if l.unicodeName(quote) {
		return errors.New(`it has a name with Unicode escapes (U&"..."); write it without`)
	}
	if kind == text && l.escaped > 0 && l.escaped == len(l.tokens) {
		return errors.New("it has a string E'...' that goes on in another; write it as one")
	}
	escapes := l.escapes(quote)
	from := l.at + 1
	for i := from; i < len(l.sql); i++ {
		switch c := l.sql[i]; {
		case c == '\\' && escapes:
			if i++; !l.params && i < len(l.sql) && (l.sql[i] == quote || l.sql[i] == '\\') {
				return errors.New("it has a backslash before a quote or another backslash in a string; double the quote instead")
			}
		case c != quote:
		case i+1 < len(l.sql) && l.sql[i+1] == quote:
			i++
		default:
			name := ""
			if kind == quoted {
				name = strings.ReplaceAll(l.sql[from:i], string([]byte{quote, quote}), string(quote))
			}
			l.add(kind, i+1, name)
			if escapes && l.driver == Postgres {
				l.escaped = len(l.tokens)
			}
			return nil
		}
	}
	return fmt.Errorf("a %c is not closed", quote)
}

// escapes reports whether a backslash may escape what follows it: in MySQL's
// strings, and in PostgreSQL's E'...'; our sessions there say
// standard_conforming_strings.
func (l *lexer) escapes(quote byte) bool {
	if l.driver == Postgres && quote == '\'' {
		last, ok := l.adjacent(1)
		return ok && last.kind == word && last.name == "e"
	}
	return l.driver == MySQL && quote != '`'
}

// adjacent returns the n-th token from the end if nothing stands between.
func (l *lexer) adjacent(n int) (token, bool) {
	if len(l.tokens) < n {
		return token{}, false
	}
	at := l.at
	for i := 1; i <= n; i++ {
		t := l.tokens[len(l.tokens)-i]
		if t.to != at {
			return token{}, false
		}
		at = t.from
	}
	return l.tokens[len(l.tokens)-n], true
}

func (l *lexer) unicodeName(quote byte) bool {
	if l.driver != Postgres || quote != '"' {
		return false
	}
	last, ok := l.adjacent(2)
	return ok && last.kind == word && last.name == "u" && l.sql[l.at-1] == '&'
}

// dollars reads PostgreSQL's $tag$...$tag$.
func (l *lexer) dollars() error {
	end := l.at + 1
	for end < len(l.sql) && continues(l.sql[end]) {
		end++
	}
	if end == len(l.sql) || l.sql[end] != '$' {
		l.add(other, l.at+1, "")
		return nil
	}
	tag := l.sql[l.at : end+1]
	body := strings.Index(l.sql[end+1:], tag)
	if body < 0 {
		return fmt.Errorf("the string that begins with %.40s is not closed", tag)
	}
	l.add(text, end+1+body+len(tag), "")
	return nil
}

func (l *lexer) word() {
	end := l.at
	for end < len(l.sql) && (continues(l.sql[end]) || l.sql[end] == '$') {
		end++
	}
	l.add(word, end, strings.ToLower(l.sql[l.at:end]))
}

// numeral is a number as most servers write it.
var numeral = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(0[xXoObB][0-9A-Fa-f_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][+-]?[0-9_]+)?)`)
})

// number reads a number. In the model's text no name may begin right behind it:
// where the one ends and the other begins differs. To MySQL 1e5for is two words,
// but 1for is one.
func (l *lexer) number() error {
	end := l.at + len(numeral().FindString(l.sql[l.at:]))
	if !l.params && end < len(l.sql) && continues(l.sql[end]) {
		return errors.New("it has a number and a name without a space between them; write one, or put a name that begins with a digit in quotes")
	}
	l.add(number, end, "")
	return nil
}
