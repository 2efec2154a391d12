package config

import (
	"regexp"
	"sync"
)

// form is a pattern that is compiled when it is first needed. Most belong to keys
// that a configuration does not have, and a start is not to pay for those.
type form struct {
	text     string
	compiled func() *regexp.Regexp
}

func newForm(text string) *form {
	return &form{text, sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })}
}

// MatchString reports whether s has the form, or a part of it where the pattern
// is not bound to both ends.
func (f *form) MatchString(s string) bool { return f.compiled().MatchString(s) }

// String returns the pattern.
func (f *form) String() string { return f.text }
