// Package e2e holds the end-to-end tests: they build the program, run it as a
// user would and speak to it from outside, with real peers on both sides.
//
// It owns the scripts in testdata, the misbehaving upstreams (this test binary,
// started again), the pinned programs of npm/ and the faults that Toxiproxy puts
// between. It must not know anything of
// the program's inside but its table of configuration keys, so that the tests
// hold whatever is rearranged there.
package e2e
