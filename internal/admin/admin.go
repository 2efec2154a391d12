// Package admin lets the operator of a machine see how the servers that run on
// it are.
//
// Job: serve what one process says of itself on a Unix socket that only its user
// can open, and ask all processes that do so; and serve its metrics over HTTP to
// whoever collects them.
// It owns the name, the mode and the end of these sockets, the form of what goes
// over them, and who may read metrics. It must not know what a process serves,
// upstreams, configuration or credentials: it is given a directory and functions.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
)

// Report is what a process says of itself.
type Report struct {
	PID     int    `json:"pid,omitempty"`
	Version string `json:"version,omitempty"`
	// Serving is "stdio" or the address of its HTTP endpoint.
	Serving string    `json:"serving,omitempty"`
	Clients []string  `json:"clients,omitempty"` // as they call themselves, the latest last
	Since   time.Time `json:"since,omitzero"`
	// Problem is why nothing else is known of it; "" otherwise.
	Problem string `json:"problem,omitempty"`
	aggregate.Status
	// Details says of sources, by name, more of why they are down than a model may
	// read.
	Details map[string]string `json:"details,omitempty"`
}

// NewReport returns what a status says, with everything for the operator.
func NewReport(st aggregate.Status) Report {
	r := Report{Status: st}
	for _, s := range st.Sources {
		if s.Detail == "" {
			continue
		}
		if r.Details == nil {
			r.Details = make(map[string]string)
		}
		r.Details[s.Name] = s.Detail
	}
	return r
}

// Limits of one connection: whoever is slower than this is no operator.
const (
	readTimeout  = 2 * time.Second
	writeTimeout = 5 * time.Second
	closeTimeout = time.Second
	maxHeader    = 8 << 10
	maxReport    = 16 << 20
)

const (
	statusPath  = "/status"
	metricsPath = "/metrics"
)

// Serve answers GET /status on ln with what report returns, and GET /metrics with
// what figures writes, over HTTP/1.1, until ctx ends. Then it finishes what it is
// answering, for a second at most, closes ln, and returns: nil, or why it could
// not go on.
func Serve(ctx context.Context, ln net.Listener, report func() Report, figures Figures) error {
	mux := http.NewServeMux()
	mux.Handle("GET "+metricsPath, figures)
	mux.HandleFunc("GET "+statusPath, func(w http.ResponseWriter, _ *http.Request) {
		raw, err := json.Marshal(report())
		if err != nil { // plain data always marshals
			http.Error(w, "the status does not marshal", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(raw) // who asked may have left
	})
	return answer(ctx, ln, mux)
}

// answer serves HTTP/1.1 on ln until ctx ends.
func answer(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: readTimeout, MaxHeaderBytes: maxHeader,
	}
	srv.SetKeepAlivesEnabled(false)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if srv.Shutdown(closing) != nil {
		_ = srv.Close() // whoever does not read is cut off
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
