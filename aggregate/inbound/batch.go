package inbound

import (
	"context"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// maxBatch is how many messages one batch may have. Without it the answers to
// four megabytes of "{}," would take a hundred times as much.
const maxBatch = 1000

// batch admits the messages of a batch and returns the work for them: it runs
// them side by side and returns the text of the answer, nil if there is nothing
// to say. What is told before goes to to, unless that is nil. release is called when the answer
// is delivered.
func (d *dispatcher) batch(ctx context.Context, s *session, msgs []message, to notes) (run func() (text []byte, release func()), fault *upstream.RPCError) {
	// Only this revision has batches (MCP 2025-03-26, basic, §Batching).
	if t, _ := s.settled(); t.version != mcp.ProtocolVersion20250326 {
		return nil, noBatches()
	}
	replies := make([]*reply, len(msgs))
	later := make([]work, len(msgs))
	for i := range msgs {
		m := &msgs[i]
		if !m.wantsAnswer() {
			d.notice(s, m)
			continue
		}
		if m.fault == nil && (m.era.modern || m.method == methodInitialize) {
			m.fault = invalid("%s cannot be part of a batch", m.method)
		}
		r := s.request(m)
		r.notes = to
		replies[i], later[i] = d.admit(ctx, r)
	}
	return func() ([]byte, func()) { return runBatch(replies, later) }, nil
}

func runBatch(replies []*reply, later []work) (text []byte, release func()) {
	releases := make([]func(), len(later))
	var wg sync.WaitGroup
	for i, run := range later {
		if run != nil {
			wg.Go(func() { replies[i], releases[i] = run() })
		}
	}
	wg.Wait()
	return joinReplies(replies), func() {
		for _, release := range releases {
			if release != nil {
				release()
			}
		}
	}
}

func noBatches() *upstream.RPCError {
	return invalid("batches exist in protocol version %s only: send one message at a time", mcp.ProtocolVersion20250326)
}

// joinReplies returns the answer to a batch, nil if there is nothing to say.
func joinReplies(replies []*reply) []byte {
	var out []byte
	for _, r := range replies {
		if r == nil {
			continue
		}
		sep := byte(',')
		if out == nil {
			sep = '['
		}
		out = append(append(out, sep), r.text().join()...)
	}
	if out == nil {
		return nil
	}
	return append(out, ']')
}
