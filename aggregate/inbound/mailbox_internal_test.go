package inbound

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A mailbox gives out what was put and not taken back, the newest of each key,
// whatever comes and goes; its reader is woken whenever it may sleep.
func TestMailbox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b mailbox
		woken := false
		r := &reader{wake: func() { woken = true }}
		attached := b.attach(r)
		want := map[mailKey]string{}
		key := func() mailKey {
			return mailKey{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "method"), fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "key"))}
		}
		n := 0
		t.Repeat(map[string]func(*rapid.T){
			"put": func(*rapid.T) {
				n++
				m := mail{key: key(), text: []byte(fmt.Sprint(n))}
				b.put(m)
				want[m.key] = string(m.text)
			},
			"drop": func(*rapid.T) {
				k := key()
				b.drop(k)
				delete(want, k)
			},
			"take": func(t *rapid.T) {
				if !attached || !woken {
					t.Skip()
				}
				woken = false
				all := b.collect()
				if len(all) != len(want) {
					t.Fatalf("%d messages instead of %d", len(all), len(want))
				}
				for _, m := range all {
					if want[m.key] != string(m.text) {
						t.Fatalf("%v: %s instead of %s", m.key, m.text, want[m.key])
					}
				}
				if rapid.Bool().Draw(t, "fails") {
					b.detach(r, all)
					attached = false
					return
				}
				clear(want)
			},
			"attach": func(*rapid.T) {
				if !attached {
					woken = false
					attached = b.attach(r)
				}
			},
			"": func(t *rapid.T) {
				if attached && !woken && len(want) > 0 {
					t.Fatal("the reader sleeps")
				}
				if len(b.queue) > 2*len(b.at)+mailSpare {
					t.Fatalf("%d places for %d messages", len(b.queue), len(b.at))
				}
			},
		})
	})
}

func TestMailboxIsBounded(t *testing.T) {
	var b mailbox
	for range maxStreams {
		if !b.attach(&reader{wake: func() {}}) {
			t.Fatal("refused")
		}
	}
	if b.attach(&reader{wake: func() {}}) {
		t.Error("too many readers")
	}
	b.send("question", []byte("q"))
	for i := range 2 * mailMost {
		b.put(mail{key: mailKey{"m", fmt.Sprint(i)}, text: []byte("x")})
		b.drop(mailKey{"m", fmt.Sprint(i - 1000)})
	}
	if len(b.queue) > 3000 {
		t.Errorf("%d places for 1000 messages", len(b.queue))
	}
	for i := range 2 * mailMost {
		b.put(mail{key: mailKey{"n", fmt.Sprint(i)}, text: []byte("x")})
	}
	all := b.collect()
	if len(all) != mailMost || string(all[0].text) != "q" || all[1].key.key != fmt.Sprint(mailMost+1) || b.size != 0 {
		t.Errorf("%d messages from %v, %v on", len(all), all[0], all[1])
	}
	long := []byte(strings.Repeat("x", mailBytes/4+1))
	for i := range 10 {
		b.put(mail{key: mailKey{"n", fmt.Sprint(i)}, text: long})
	}
	b.put(mail{key: mailKey{"n", "longest"}, text: make([]byte, 2*mailBytes)})
	if all := b.collect(); len(all) != 1 || all[0].key.key != "longest" {
		t.Errorf("%d messages", len(all))
	}
	b.close()
	b.put(mail{key: mailKey{"n", ""}, text: long})
	if b.attach(&reader{}) || len(b.collect()) != 0 {
		t.Error("it is used after its end")
	}
}
