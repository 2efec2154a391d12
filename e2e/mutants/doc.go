// Package mutants plants bugs on purpose and expects the tests to find them: a
// proof is worth as much as what it would notice.
//
// It owns the tables of these bugs, a file for each subject, and the two ways to
// plant one, both by an overlay of the go command, so nothing of it can get into
// a build: all woven into the code, each off until it is asked for, so that a
// package is compiled once; or one alone. It must not know more of the packages
// than the text that it changes and the names of their tests, and imports none of
// them.
package mutants
