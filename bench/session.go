package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
)

// session is a client's conversation; many may ask at once.
type session interface {
	// ask sends a request and checks its answer.
	ask(ctx context.Context, r request) error
	close()
}

// httpSession is one over Streamable HTTP.
type httpSession struct {
	client *http.Client
	url    string
	modern bool
	id     string // of a legacy session; "" if the server gave none
	last   atomic.Int64
	spare  sync.Pool // of *bytes.Buffer
}

func openHTTP(ctx context.Context, client *http.Client, url string, modern bool) (*httpSession, error) {
	s := &httpSession{client: client, url: url, modern: modern, spare: sync.Pool{New: func() any { return new(bytes.Buffer) }}}
	if modern {
		return s, nil
	}
	hello := initialize()
	answer, header, err := s.post(ctx, hello, hello.body(false, s.last.Add(1)), new(bytes.Buffer))
	if err == nil {
		err = hello.check(answer)
	}
	if err != nil {
		return nil, err
	}
	s.id = header.Get("Mcp-Session-Id")
	_, _, err = s.post(ctx, hello, []byte(initialized), new(bytes.Buffer))
	return s, err
}

func (s *httpSession) ask(ctx context.Context, r request) error {
	buf := s.spare.Get().(*bytes.Buffer)
	defer s.spare.Put(buf)
	answer, _, err := s.post(ctx, r, r.body(s.modern, s.last.Add(1)), buf)
	if err != nil {
		return err
	}
	return r.check(answer)
}

// post returns the body of the response, which is in buf.
func (s *httpSession) post(ctx context.Context, r request, body []byte, buf *bytes.Buffer) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header = s.header(r)
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	buf.Reset()
	if _, err := buf.ReadFrom(resp.Body); err != nil {
		return nil, nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, nil, fmt.Errorf("%s: HTTP status %d: %.300s", r.method, resp.StatusCode, buf.Bytes())
	}
	return buf.Bytes(), resp.Header, nil
}

func (s *httpSession) header(r request) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	if !s.modern {
		h["Mcp-Protocol-Version"] = []string{"2025-11-25"}
		if s.id != "" {
			h["Mcp-Session-Id"] = []string{s.id}
		}
		return h
	}
	h["Mcp-Protocol-Version"] = []string{"2026-07-28"}
	h["Mcp-Method"] = []string{r.method}
	if r.tool != "" {
		h["Mcp-Name"] = []string{r.tool}
	}
	return h
}

// listen opens the session's stream of notifications, until it is closed.
func (s *httpSession) listen(ctx context.Context) (io.Closer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header = s.header(request{})
	req.Header["Accept"] = []string{"text/event-stream"}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("GET: HTTP status %d", resp.StatusCode), resp.Body.Close())
	}
	return resp.Body, nil
}

func (s *httpSession) close() { s.client.CloseIdleConnections() }

// waiting is who waits for answers that come over one stream.
type waiting struct {
	mu    sync.Mutex
	last  int64
	byID  map[int64]chan []byte
	ended chan struct{}
}

func newWaiting() *waiting {
	return &waiting{byID: make(map[int64]chan []byte), ended: make(chan struct{})}
}

// ask sends a request under an id of its own and waits for the answer.
func (w *waiting) ask(ctx context.Context, r request, modern bool, send func([]byte) error) error {
	answer := make(chan []byte, 1)
	w.mu.Lock()
	w.last++
	id := w.last
	w.byID[id] = answer
	w.mu.Unlock()
	if err := send(r.body(modern, id)); err != nil {
		return err
	}
	select {
	case message := <-answer:
		return r.check(message)
	case <-w.ended:
		return errors.New("the stream of answers ended")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// deliver hands an answer, which it may keep, to who waits for it. The id is
// the first one in it, as all that are measured write it.
func (w *waiting) deliver(message []byte) {
	_, rest, ok := bytes.Cut(message[:min(len(message), 256)], []byte(`"id":`))
	end := bytes.IndexAny(rest, ",}")
	if !ok || end < 0 {
		return
	}
	id, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	if err != nil {
		return
	}
	w.mu.Lock()
	answer := w.byID[id]
	delete(w.byID, id)
	w.mu.Unlock()
	if answer != nil {
		answer <- message
	}
}

// sseSession is one over the older HTTP+SSE.
type sseSession struct {
	*waiting
	client *http.Client
	url    string // for messages
	cut    context.CancelFunc
}

func openSSE(ctx context.Context, client *http.Client, origin, path string) (*sseSession, error) {
	streaming, cut := context.WithCancel(ctx)
	s := &sseSession{waiting: newWaiting(), client: client, cut: cut}
	if err := s.open(streaming, origin, path); err != nil {
		cut()
		return nil, err
	}
	if err := s.ask(ctx, initialize()); err != nil {
		s.close()
		return nil, err
	}
	return s, s.send(ctx, []byte(initialized))
}

// open opens the stream, whose first event says where messages go.
func (s *sseSession) open(ctx context.Context, origin, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+path, nil)
	if err != nil {
		return err
	}
	req.Header["Accept"] = []string{"text/event-stream"}
	resp, err := s.client.Do(req) //nolint:bodyclose // closed where the stream ends
	if err != nil {
		return err
	}
	stream := bufio.NewReaderSize(resp.Body, 64<<10)
	address, err := nextData(stream)
	if err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("GET %s: HTTP status %d", path, resp.StatusCode), err, resp.Body.Close())
	}
	s.url = origin + string(address)
	go func() {
		defer close(s.ended)
		defer resp.Body.Close()
		for {
			message, err := nextData(stream)
			if err != nil {
				return
			}
			s.deliver(message)
		}
	}()
	return nil
}

// nextData returns the data of the next event; those measured here have one line.
func nextData(r *bufio.Reader) ([]byte, error) {
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			return bytes.TrimSpace(data), nil
		}
	}
}

func (s *sseSession) ask(ctx context.Context, r request) error {
	return s.waiting.ask(ctx, r, false, func(body []byte) error { return s.send(ctx, body) })
}

func (s *sseSession) send(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header["Content-Type"] = []string{"application/json"}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("POST: HTTP status %d", resp.StatusCode)
	}
	return err
}

func (s *sseSession) close() {
	s.cut()
	<-s.ended
	s.client.CloseIdleConnections()
}

// stdioSession is one over the pipes of a process, which it does not end.
type stdioSession struct {
	*waiting
	process *process
	write   sync.Mutex
}

func newStdioSession(p *process) *stdioSession {
	s := &stdioSession{waiting: newWaiting(), process: p}
	go func() {
		defer close(s.ended)
		r := bufio.NewReaderSize(p.out, 64<<10)
		for {
			line, err := r.ReadBytes('\n')
			if err != nil {
				return
			}
			s.deliver(line)
		}
	}()
	return s
}

func (s *stdioSession) ask(ctx context.Context, r request) error {
	return s.waiting.ask(ctx, r, true, s.send)
}

func (s *stdioSession) send(body []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	_, err := s.process.in.Write(append(body, '\n'))
	return err
}

func (s *stdioSession) close() {}
