package admin

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Figures are the metrics of a process: a text in the format of Prometheus.
type Figures struct {
	Type  string // of the content
	Write func(io.Writer) error
}

// ServeHTTP answers with the figures of now.
func (f Figures) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", f.Type)
	_ = f.Write(w) // who asked may have left
}

// ServeFigures answers GET /metrics on ln, a TCP listener, until ctx ends, and
// returns like [Serve]. Where ln is on this machine only, so is who asks: a
// request whose Host is a name is one of a web page that was led here (DNS
// rebinding), and is refused.
func ServeFigures(ctx context.Context, ln net.Listener, figures Figures) error {
	mux := http.NewServeMux()
	mux.Handle("GET "+metricsPath, figures)
	addr, _ := ln.Addr().(*net.TCPAddr)
	if addr == nil || !addr.IP.IsLoopback() {
		return answer(ctx, ln, mux)
	}
	return answer(ctx, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !local(r.Host) {
			http.Error(w, "the metrics are for this machine: ask for them by its address, such as "+addr.String(), http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}))
}

// local reports whether a Host is an address or localhost.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}

// Figured is the metrics of one running process.
type Figured struct {
	PID  int
	Text string
	// Problem is why there is no text; "" otherwise.
	Problem string
}

// Figures asks every running process for its metrics, as [Place.Find] does.
func (p Place) Figures(ctx context.Context) []Figured {
	var all []Figured
	for _, a := range p.ask(ctx, metricsPath) {
		f := Figured{PID: a.pid, Text: string(a.body)}
		if a.err != nil {
			f.Problem = "it does not tell its metrics: " + a.err.Error()
		}
		all = append(all, f)
	}
	return all
}
