package inbound

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// What of one call may wait for its client, in bytes. Beyond, the oldest give
// way: the newest progress says all that the older said.
const (
	progressBytes = 64 << 10
	logBytes      = 256 << 10
)

const methodMessage = "notifications/message"

// notes is where goes what calls have to tell. ready says that there is something
// to take from s, in its turn among the messages of the same stream. It returns
// at once.
type notes interface {
	ready(s source)
	// lost is closed when the client is gone for good; nil is never.
	lost() <-chan struct{}
}

// source has whole messages to send. They are taken in the order in which they
// have to be sent.
type source interface{ take() [][]byte }

// news is what one call has to tell, and to ask, before its answer: what its
// client has not been told yet, in order.
type news struct {
	to     notes
	flight *flight
	level  int // the least severity of log messages to tell

	mu       sync.Mutex
	progress progress
	next     int     // number of the next note
	told     backlog // progress
	logged   backlog
	asked    backlog         // questions, and that they are recalled
	sent     map[string]bool // of the questions that are open: whether it was taken
	ready    bool            // to knows that there is something
	settled  bool            // the call is over
}

// backlog is what waits of one kind, oldest first.
type backlog struct {
	notes []note
	size  int // bytes
}

type note struct {
	number int
	text   []byte
	id     string // of a question; "" otherwise
}

// add drops the oldest beyond so many bytes.
func (b *backlog) add(n note, most int) {
	b.notes = append(b.notes, n)
	for b.size += len(n.text); b.size > most; b.notes = b.notes[1:] {
		b.size -= len(b.notes[0].text)
	}
}

// add queues a message; the lock is held.
func (n *news) add(to *backlog, text []byte, id string, most int) {
	to.add(note{n.next, text, id}, most)
	n.next++
	if !n.ready { // also if all was taken back since
		n.ready = true
		n.to.ready(n) // under the lock: settle, and so the result, comes after
	}
}

// tell takes the params of an upstream's notification of progress.
func (n *news) tell(params json.RawMessage) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.settled {
		return
	}
	if text := n.progress.text(params); text != nil {
		n.add(&n.told, text, "", progressBytes)
	}
}

// log takes the params of an upstream's log message.
func (n *news) log(params json.RawMessage) {
	level, _ := rawjson.GetString(params, "level")
	if upstream.Severity(level) < n.level { // also if it has none
		return
	}
	text := noteText(methodMessage, params)
	if len(text) > logBytes {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.settled {
		n.add(&n.logged, text, "", logBytes)
	}
}

// send, conclude and lost make n a [courier].
func (n *news) send(id string, text []byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.settled {
		return false
	}
	if n.sent == nil {
		n.sent = make(map[string]bool)
	}
	n.sent[id] = false
	n.add(&n.asked, text, id, noBound)
	return true
}

// noBound is for questions, which are bounded by their number.
const noBound = int(^uint(0) >> 1)

func (n *news) conclude(id string, answered bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if answered {
		delete(n.sent, id)
		return
	}
	n.takeBack(id)
}

// takeBack needs n.mu.
func (n *news) takeBack(id string) {
	sent, open := n.sent[id]
	delete(n.sent, id)
	switch {
	case !open:
	case sent:
		n.add(&n.asked, recallText(id), "", noBound)
	default:
		n.asked.notes = slices.DeleteFunc(n.asked.notes, func(q note) bool { return q.id == id })
	}
}

func (n *news) lost() <-chan struct{} { return n.to.lost() }

// settle ends what is added; what was, is still told. Questions that are open
// are recalled.
func (n *news) settle() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range n.sent {
		n.takeBack(id)
	}
	n.settled = true
}

// take makes n a [source]. To a client that cancelled the call nothing is told,
// but that questions are recalled.
func (n *news) take() [][]byte {
	wanted := n.flight.wanted()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = false
	all := n.asked.notes
	if wanted {
		all = append(append(all, n.told.notes...), n.logged.notes...)
		slices.SortFunc(all, func(a, b note) int { return cmp.Compare(a.number, b.number) })
	}
	n.asked, n.told, n.logged = backlog{}, backlog{}, backlog{}
	var texts [][]byte
	for _, q := range all {
		if _, open := n.sent[q.id]; q.id != "" {
			if !open || !wanted {
				delete(n.sent, q.id)
				continue
			}
			n.sent[q.id] = true
		}
		texts = append(texts, q.text)
	}
	return texts
}
