package inbound

import (
	"strings"
	"testing"
)

// counted is a stream that nobody reads.
type counted struct{ sources []source }

func (c *counted) ready(s source)        { c.sources = append(c.sources, s) }
func (c *counted) lost() <-chan struct{} { return nil }

// An upstream may ask and withdraw without end while the client does not read:
// nothing may pile up.
func TestQuestionsTakenBackLeaveNothing(t *testing.T) {
	var stream counted
	n := &news{to: &stream, flight: &flight{s: &session{}}}
	var wakes int
	var box mailbox
	box.attach(&reader{wake: func() { wakes++ }})
	for range 1000 {
		for _, c := range []courier{n, &box} {
			if !c.send("id", []byte("q")) {
				t.Fatal("not taken")
			}
			c.conclude("id", false)
		}
	}
	if len(stream.sources) != 1 || wakes != 1 {
		t.Fatalf("%d places in the queue, %d wakes", len(stream.sources), wakes)
	}
	// The one place is enough, and is made again once it is used.
	for range 2 {
		n.send("id", []byte("q"))
		box.send("id", []byte("q"))
		for _, s := range []source{n, &box} {
			if got := s.take(); len(got) == 0 || string(got[len(got)-1]) != "q" {
				t.Fatalf("%q", got)
			}
		}
		n.conclude("id", false)
		box.conclude("id", false)
	}
	if len(stream.sources) != 3 || wakes != 3 {
		t.Fatalf("%d places in the queue, %d wakes", len(stream.sources), wakes)
	}
	for _, s := range []source{n, &box} {
		if got := s.take(); len(got) != 1 || !strings.Contains(string(got[0]), methodCancelled) {
			t.Fatalf("%q", got)
		}
	}
}
