package inbound

import (
	"slices"
	"sync"
)

const (
	mailMost  = 4096    // messages that may wait in one mailbox
	mailBytes = 4 << 20 // of them
	mailSpare = 64      // places that may be empty
	// maxStreams is how many readers a mailbox may have.
	maxStreams = 4
)

// mailbox holds the messages for one client that belong to no request of its
// own, until one of its readers takes them. A message replaces an older one
// that waits with the same key; beyond the bounds the oldest give way. Each
// message goes to one reader (MCP 2025-11-25, transports, §Multiple
// Connections). The zero value is ready for use.
type mailbox struct {
	mu      sync.Mutex
	queue   []mail          // oldest first; one without text was taken back
	at      map[mailKey]int // of the others: where in queue
	size    int             // bytes
	readers []*reader       // the newest is last and gets the messages
	awake   bool            // it knows that there are some
	closed  bool
}

type mailKey struct{ method, key string }

type mail struct {
	key  mailKey
	text []byte // a whole message
	kept bool   // does not give way
}

// reader is one open stream.
type reader struct {
	wake func() // says that there is something to take; returns at once
	end  func() // ends the stream; nil if it ends otherwise
}

// attach adds a reader. It reports false if there are too many.
func (b *mailbox) attach(r *reader) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.readers) >= maxStreams || b.closed {
		return false
	}
	b.readers = append(b.readers, r)
	b.awake = false
	b.announce()
	return true
}

// detach removes a reader; what it has not taken goes to another. Those in rest
// it took in vain.
func (b *mailbox) detach(r *reader, rest []mail) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers = slices.DeleteFunc(b.readers, func(other *reader) bool { return other == r })
	if b.closed {
		return
	}
	later := b.drain()
	for _, m := range append(rest, later...) {
		b.insert(m)
	}
	b.announce()
}

// announce needs b.mu.
func (b *mailbox) announce() {
	if n := len(b.readers); n > 0 && len(b.at) > 0 {
		b.awake = true
		b.readers[n-1].wake()
	}
}

// put adds a message. It returns at once.
func (b *mailbox) put(m mail) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(m)
}

// add needs b.mu.
func (b *mailbox) add(m mail) {
	if b.closed {
		return
	}
	b.insert(m)
	if !b.awake { // also if all was taken back since
		b.announce()
	}
}

// insert needs b.mu.
func (b *mailbox) insert(m mail) {
	if i, ok := b.at[m.key]; ok {
		old := &b.queue[i]
		b.size += len(m.text) - len(old.text)
		*old = m
	} else {
		if b.at == nil {
			b.at = make(map[mailKey]int)
		}
		b.at[m.key] = len(b.queue)
		b.queue = append(b.queue, m)
		b.size += len(m.text)
	}
	for i := 0; i < len(b.queue) && (len(b.at) > mailMost || b.size > mailBytes); i++ {
		if old := b.queue[i]; old.text != nil && !old.kept && old.key != m.key {
			b.remove(old.key)
		}
	}
	b.compact()
}

// compact keeps the places of messages that were taken back from piling up. It
// needs b.mu.
func (b *mailbox) compact() {
	if len(b.queue) < 2*len(b.at)+mailSpare {
		return
	}
	b.queue = slices.DeleteFunc(b.queue, func(m mail) bool { return m.text == nil })
	for i, m := range b.queue {
		b.at[m.key] = i
	}
}

// remove takes a message back. It reports false if it does not wait. It needs
// b.mu.
func (b *mailbox) remove(k mailKey) bool {
	i, ok := b.at[k]
	if ok {
		b.size -= len(b.queue[i].text)
		b.queue[i] = mail{}
		delete(b.at, k)
	}
	return ok
}

// drop takes a message back.
func (b *mailbox) drop(k mailKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(k)
}

// collect returns all messages that wait.
func (b *mailbox) collect() []mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.drain()
}

// drain needs b.mu.
func (b *mailbox) drain() (all []mail) {
	for _, m := range b.queue {
		if m.text != nil {
			all = append(all, m)
		}
	}
	b.queue, b.size, b.awake = nil, 0, false
	clear(b.at)
	return all
}

// take makes b a [source].
func (b *mailbox) take() (texts [][]byte) {
	for _, m := range b.collect() {
		texts = append(texts, m.text)
	}
	return texts
}

// close ends the streams of all readers and drops what waits.
func (b *mailbox) close() {
	b.mu.Lock()
	b.closed = true
	b.drain()
	readers := slices.Clone(b.readers)
	b.mu.Unlock()
	for _, r := range readers {
		if r.end != nil {
			r.end()
		}
	}
}

// send, conclude and lost make b a [courier], by which a question goes that has no
// stream of its own.
func (b *mailbox) send(id string, text []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.readers) == 0 {
		return false
	}
	b.add(mail{mailKey{key: id}, text, true})
	return true
}

func (b *mailbox) conclude(id string, answered bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.remove(mailKey{key: id}) && !answered {
		b.add(mail{mailKey{methodCancelled, id}, recallText(id), true})
	}
}

func (b *mailbox) lost() <-chan struct{} { return nil }
