package config

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

var (
	wordBreak = newForm(`[^A-Za-z0-9]+|([a-z0-9])([A-Z])`)

	// secretWords are the words that say that a name holds a secret, alone or
	// at the end of a longer word such as PGPASSWORD.
	secretWords = []string{"TOKEN", "SECRET", "SECRETS", "PASSWORD", "PASSWD", "PASSPHRASE", "APIKEY", "ACCESSKEY", "SECRETKEY", "PRIVATEKEY", "CREDENTIAL", "CREDENTIALS"}
	// secretParts say so only as a whole word.
	secretParts = []string{"KEY", "PAT", "PASS", "PWD", "AUTHORIZATION", "BEARER"}
	// plainEnds are last words of names that describe a secret without being one.
	plainEnds = []string{"FILE", "PATH", "DIR", "URL", "URI", "ID", "NAME", "TTL", "TIMEOUT", "TYPE", "ENABLED", "LIMIT", "HEADER", "PREFIX", "ENDPOINT", "HOST", "VERSION", "ALGORITHM", "COUNT", "SIZE", "FORMAT"}
	// plainWords turn the key of a lock into the key of a table.
	plainWords = []string{"PUBLIC", "PRIMARY", "FOREIGN", "SORT", "PARTITION"}

	// tokenShapes are the published shapes of tokens that vendors hand out.
	tokenShapes = newForm(`(^|[^A-Za-z0-9])(gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,}|sk-[A-Za-z0-9_-]{16,}|[sr]k_(live|test)_[A-Za-z0-9]{8,}|xox[abeoprs]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,}|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{30,}|npm_[A-Za-z0-9]{30,}|pat-[a-z]{2}[0-9]-[0-9a-f-]{30,}|shp(at|ss|ca|pa)_[A-Za-z0-9]{16,}|lin_api_[A-Za-z0-9]{16,}|ntn_[A-Za-z0-9]{16,}|dop_v1_[0-9a-f]{32,}|hf_[A-Za-z0-9]{24,}|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)|-----BEGIN [A-Z ]*PRIVATE KEY`)
	authValue   = newForm(`(?i)^([a-z-]*authorization\s*:\s*\S|bearer\s+\S{8,}|basic\s+[A-Za-z0-9+/=]{8,})`)
	urlPassword = newForm(`[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@`)
)

// secretName reports whether a variable, flag or parameter of this name
// usually holds a secret.
func secretName(name string) bool {
	words := strings.FieldsFunc(strings.ToUpper(wordBreak.compiled().ReplaceAllString(name, "${1}_${2}")), func(r rune) bool { return r == '_' })
	if len(words) == 0 || slices.Contains(plainEnds, words[len(words)-1]) || slices.ContainsFunc(words, func(w string) bool { return slices.Contains(plainWords, w) }) {
		return false
	}
	if len(words) == 1 && (words[0] == "PWD" || words[0] == "PAT") {
		return false // the working directory; a name
	}
	for i, w := range words {
		if slices.ContainsFunc(secretWords, func(s string) bool { return strings.HasSuffix(w, s) }) {
			return true
		}
		if slices.Contains(secretParts, w) && (i == len(words)-1 || w == "AUTHORIZATION") {
			return true
		}
	}
	return false
}

// secretValue reports whether the value itself has the shape of a secret.
func secretValue(v string) bool {
	return tokenShapes.MatchString(v) || authValue.MatchString(v) || urlPassword.MatchString(v)
}

// plainValue has the shape of a switch, a small number or a file name, or is a
// ${...} that the program expands from its environment.
var plainValue = newForm(`(?i)^(|true|false|none|[0-9]{1,7}|(~|\.{1,2})?[/\\][^/\\]+[/\\].*|(~|\.{1,2})[/\\].*|\S+\.(pem|key|crt|json|txt|toml|ya?ml)|.*\$\{[A-Za-z_].*)$`)

// secretLiteral reports whether name = v in clear text gives a secret away.
func secretLiteral(name, v string) bool {
	return !plainValue.MatchString(v) && secretName(name) || secretValue(v)
}

// secretArgument returns the index of the first argument of a command that
// carries a secret, -1 if there is none. It sees --name=value, --name value,
// "Name: value" and known shapes.
func secretArgument(args []string) int {
	for i, a := range args {
		if strings.Contains(a, "${") {
			continue
		}
		if secretValue(a) {
			return i
		}
		at := strings.IndexAny(a, "=:")
		switch {
		case at >= 0:
			if secretLiteral(strings.TrimLeft(a[:at], "-/"), strings.TrimSpace(a[at+1:])) {
				return i
			}
		case i+1 < len(args) && strings.HasPrefix(a, "-") && !strings.HasPrefix(args[i+1], "-"):
			if secretName(a) && !plainValue.MatchString(args[i+1]) {
				return i + 1
			}
		}
	}
	return -1
}

// secretQuery returns the name of the first query parameter of u that carries
// a secret, "" if there is none.
func secretQuery(u *url.URL) string {
	query := u.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if slices.ContainsFunc(query[name], func(v string) bool { return secretLiteral(name, v) }) {
			return name
		}
	}
	return ""
}
