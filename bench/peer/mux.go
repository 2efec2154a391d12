package peer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"sync"
)

// mux is the floor over stdio: it gives every request an id of its own and every
// answer the client's back, and looks at nothing else. Several clients could
// share its child that way. It takes the first "id" of a line for the message's,
// which holds for the messages it is measured with.
type mux struct {
	mu   sync.Mutex
	next int64
	ids  map[int64][]byte // the client's, by ours
}

// runMux runs a program and relays between it and a client until in ends, with
// which the program's own input ends too.
func runMux(ctx context.Context, program []string, in io.Reader, out io.Writer) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program[0], program[1:]...)
	down, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	up, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	m := &mux{ids: make(map[int64][]byte)}
	answered := make(chan error, 1)
	go func() { answered <- copyLines(out, up, m.theirs) }()
	err = errors.Join(copyLines(down, in, m.ours), down.Close())
	return errors.Join(err, <-answered, cmd.Wait())
}

// ours notes the client's id and returns the one that replaces it.
func (m *mux) ours(id []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	m.ids[m.next] = bytes.Clone(id)
	return strconv.AppendInt(nil, m.next, 10)
}

// theirs returns the client's id for one of ours.
func (m *mux) theirs(id []byte) []byte {
	n, err := strconv.ParseInt(string(id), 10, 64)
	if err != nil {
		return id
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.ids[n]
	delete(m.ids, n)
	return was
}

// copyLines copies lines and replaces their ids. It writes when nothing more is
// there to be read.
func copyLines(to io.Writer, from io.Reader, replace func([]byte) []byte) error {
	r, w := bufio.NewReaderSize(from, 64<<10), bufio.NewWriterSize(to, 64<<10)
	for begun := false; ; {
		part, err := r.ReadSlice('\n')
		if !begun {
			if at, end := findID(part); at > 0 {
				_, _ = w.Write(part[:at]) // an error stays until Flush returns it
				_, _ = w.Write(replace(part[at:end]))
				part = part[end:]
			}
		}
		_, _ = w.Write(part)
		begun = errors.Is(err, bufio.ErrBufferFull)
		if r.Buffered() == 0 || (err != nil && !begun) {
			if err := w.Flush(); err != nil {
				return err
			}
		}
		switch {
		case err == nil || begun:
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

// findID returns where the value of the first "id" of a line begins and ends;
// 0 if there is none.
func findID(line []byte) (at, end int) {
	const key = `"id":`
	at = bytes.Index(line, []byte(key))
	if at < 0 {
		return 0, 0
	}
	at += len(key)
	n := bytes.IndexAny(line[at:], ",}")
	if n < 0 {
		return 0, 0
	}
	return at, at + n
}
