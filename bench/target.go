package main

import (
	"context"
	"net/http"
	"strings"
)

// family is the targets that are asked alike. The first is the upstream alone,
// the second the floor that the others are compared with.
type family struct {
	name    string
	own     int // index of Bulkhead as configured by default
	targets []target
}

// http reports whether the family is over HTTP, where its floor is the proxy.
func (f family) http() bool { return strings.HasPrefix(f.name, "HTTP") }

const (
	direct = 0
	floor  = 1
)

// target is something under measurement.
type target struct {
	name   string
	pid    int  // whose processor time counts
	quiet  bool // Bulkhead, but not as configured by default
	single bool // there is one session only, however many are asked for
	open   func(ctx context.Context) (session, error)
}

// own reports whether the target is Bulkhead.
func (t target) own() bool { return strings.HasPrefix(t.name, "Bulkhead") }

func overHTTP(name string, pid int, url string, modern bool) target {
	return target{name: name, pid: pid, single: modern, open: func(ctx context.Context) (session, error) {
		return openHTTP(ctx, newClient(), url, modern)
	}}
}

func overSSE(name string, pid int, origin string) target {
	return target{name: name, pid: pid, open: func(ctx context.Context) (session, error) {
		return openSSE(ctx, newClient(), origin, "/sse")
	}}
}

func overStdio(name string, p *process) target {
	s := newStdioSession(p)
	return target{name: name, pid: p.pid(), single: true, open: func(context.Context) (session, error) { return s, nil }}
}

// newClient returns a client of its own connections, with room to keep as many
// as most probes use at once.
func newClient() *http.Client { return keeping(256) }

// keeping returns a client that keeps so many connections of its own open.
func keeping(connections int) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
}

// openMany opens the sessions of a number of callers: one for all, or one each.
func (t target) openMany(ctx context.Context, n int) ([]session, error) {
	var out []session
	for range n {
		s, err := t.open(ctx)
		if err != nil {
			closeAll(out)
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func closeAll(sessions []session) {
	for _, s := range sessions {
		s.close()
	}
}
