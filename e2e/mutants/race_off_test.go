//go:build !race

package mutants_test

const raced = false
