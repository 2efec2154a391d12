package mcpserver

import (
	"os"
	"strings"
	"sync"
	"time"
)

const (
	stderrLine = 2 << 10 // bytes of one line that reach the log
	stderrRate = 50      // lines a second that reach the log
	stderrTail = 4 << 10 // bytes kept to explain an exit
)

// ticker lets per events a second pass and counts the others. It is for one
// goroutine at a time.
type ticker struct {
	per    int
	since  time.Time
	passed int
	missed int
}

// ok reports whether the event may pass and how many were held back before it.
func (t *ticker) ok() (pass bool, missed int) {
	if now := time.Now(); now.Sub(t.since) >= time.Second {
		t.since, t.passed = now, 0
	}
	if t.passed == t.per {
		t.missed++
		return false, 0
	}
	t.passed++
	missed, t.missed = t.missed, 0
	return true, missed
}

// stderrLog copies a child's stderr to the log: labelled, escaped, bounded in
// length and rate. It always keeps reading, so the child never blocks on it.
type stderrLog struct {
	f    *os.File
	opt  *Options
	done chan struct{}

	mu   sync.Mutex
	last []byte // the tail of everything
}

func newStderrLog(f *os.File, o *Options) *stderrLog {
	return &stderrLog{f: f, opt: o, done: make(chan struct{})}
}

func (s *stderrLog) run() {
	defer close(s.done)
	defer s.f.Close()
	t := ticker{per: stderrRate}
	lr := newLineReader(s.f, stderrLine)
	for {
		ln, err := lr.next()
		if len(ln.text) > 0 {
			s.line(&t, ln)
		}
		if err != nil {
			if t.missed > 0 {
				s.opt.Log.Warn("stderr lines dropped", "upstream", s.opt.ID, "lines", t.missed)
			}
			return
		}
	}
}

func (s *stderrLog) line(t *ticker, ln line) {
	text := ln.text[:min(len(ln.text), stderrLine)]
	s.mu.Lock()
	s.last = append(append(s.last, text...), '\n')
	if over := len(s.last) - stderrTail; over > 0 {
		s.last = append(s.last[:0], s.last[over:]...)
	}
	s.mu.Unlock()
	ok, missed := t.ok()
	if !ok {
		return
	}
	if missed > 0 {
		s.opt.Log.Warn("stderr lines dropped", "upstream", s.opt.ID, "lines", missed)
	}
	s.opt.Log.Info("stderr", "upstream", s.opt.ID, "line", escape(string(text)))
}

// finish lets the reader take what is still in the pipe and waits for it.
func (s *stderrLog) finish(limit time.Duration) {
	_ = s.f.SetReadDeadline(time.Now().Add(limit))
	<-s.done
}

// tail returns the last lines, escaped and joined.
func (s *stderrLog) tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(s.last)), "\n")
	for i := range lines {
		lines[i] = escape(lines[i])
	}
	return strings.Join(lines, " | ")
}

// pipes are the three pipes of a child: its ends and ours.
type pipes struct {
	child, ours [3]*os.File // stdin, stdout, stderr
}

func openPipes() (pipes, error) {
	var p pipes
	for i := range p.child {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(p.child[:])
			closeAll(p.ours[:])
			return p, err
		}
		if i == 0 {
			p.child[i], p.ours[i] = r, w
		} else {
			p.child[i], p.ours[i] = w, r
		}
	}
	return p, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}
