package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/term"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

// running wires a configuration, runs it while f does, and takes it down when
// f returns: the edges are drained by then, so nothing is in flight.
func running(ctx context.Context, env Env, cfg *config.Config, quiet bool,
	f func(context.Context, *wiring, *aggregate.Aggregate) error) error {
	w, err := wire(env, cfg, quiet)
	if err != nil {
		return err
	}
	a, err := w.aggregate(ctx)
	if err != nil {
		return err
	}
	return errors.Join(beside(ctx, a, func() error { return f(ctx, w, a) }), w.close())
}

// beside runs an aggregate for as long as f takes. ctx does not end it: calls
// that are being drained still need their upstreams.
func beside(ctx context.Context, a *aggregate.Aggregate, f func() error) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan error, 1)
	go func() { done <- a.Run(running) }()
	err := f()
	stop()
	return errors.Join(err, <-done)
}

// serve runs the server over stdio or HTTP.
func serve(ctx context.Context, inv *invocation) error {
	cfg, err := inv.load()
	if err != nil {
		return err
	}
	var ln net.Listener
	if cfg.Server.Listen != "" {
		if ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Server.Listen); err != nil {
			return &hintError{err, "choose another address with --listen or server.listen; port 0 takes a free one"}
		}
	} else if f, ok := inv.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		_, _ = fmt.Fprintln(inv.Err, "bulkhead: serving MCP on standard input; an MCP client is meant to start this. "+
			"Try bulkhead demo or bulkhead check, or serve HTTP with --listen 127.0.0.1:8808.")
	}
	metered, err := listenFigures(ctx, cfg.Server.Metrics)
	if err != nil {
		return errors.Join(err, shut(ln))
	}
	return running(ctx, inv.Env, cfg, false, func(ctx context.Context, w *wiring, a *aggregate.Aggregate) error {
		var door door
		if ln != nil {
			if door, err = openDoor(ctx, cfg.Server, "http://"+ln.Addr().String()); err != nil {
				_ = ln.Close()
				return err
			}
			defer door.close()
		}
		pages, err := openPages(ctx, w, cfg.Server, door, a)
		if err != nil {
			return errors.Join(err, shut(ln))
		}
		srv, err := inbound.New(lookup(a), inbound.Options{
			Name: "bulkhead", Title: "Bulkhead", Version: Version(), Log: w.log, Drain: cfg.Server.Drain, Ending: func() { w.ending.Store(true) },
			Hosts: door.hosts, Origins: door.origins, Auth: door.auth, Pages: pages, SessionKey: w.key(),
		})
		if err != nil {
			return err
		}
		watching, stop := context.WithCancel(ctx)
		var beside sync.WaitGroup
		beside.Go(func() { (&reloader{inv, w, a}).watch(watching, inv.Hangup) })
		beside.Go(func() { tendMemory(watching) })
		beside.Go(func() { door.look(watching, w.log) })
		beside.Go(func() { w.tellStatus(watching, a, ln) })
		beside.Go(func() { serveFigures(watching, w.log, metered, figures(w.count, a)) })
		defer beside.Wait()
		defer stop()
		if ln == nil {
			return srv.ServeStdio(ctx, inv.In, inv.Out)
		}
		w.log.Info("serving", "url", endpoint(ln), "public_url", cfg.Server.PublicURL, "auth", cfg.Server.Auth.Type)
		return srv.Serve(ctx, ln)
	})
}

func shut(ln net.Listener) error {
	if ln == nil {
		return nil
	}
	return ln.Close()
}

func lookup(a *aggregate.Aggregate) inbound.Lookup {
	return func(id string) (inbound.Service, bool) {
		v, ok := a.View(id)
		return v, ok
	}
}
