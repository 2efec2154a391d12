package config

import (
	"fmt"
	"strings"
)

// Fault is one thing that is wrong with a configuration. It never contains a
// value that may be a secret.
type Fault struct {
	Path    string // the key, e.g. "upstream.crm.timeout"; "line 3, column 7" for syntax
	Problem string
	Hint    string // what to do; "" if there is nothing to add
}

func (f Fault) String() string {
	s := f.Problem
	if f.Path != "" {
		s = f.Path + ": " + s
	}
	if f.Hint != "" {
		s += " (hint: " + f.Hint + ")"
	}
	return s
}

// Faults is everything that is wrong with a configuration, never empty where it
// is returned as an error.
type Faults []Fault

// Error returns one line per fault.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// FileError is a configuration file that cannot be read. It unwraps to the
// operating system's error, so errors.Is(err, fs.ErrNotExist) works.
type FileError struct {
	Path string
	Hint string
	Err  error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("config file %q: %v (hint: %s)", e.Path, e.Err, e.Hint)
}

func (e *FileError) Unwrap() error { return e.Err }
