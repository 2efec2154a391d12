// Package peer holds what Bulkhead is measured beside, each run as a process of
// its own: a raw upstream, a plain reverse proxy, a minimal relay made of
// mcp-go's typed client and server, and a raw multiplexer of stdio.
//
// It owns how much work each of them does: as little as its kind can do. It must
// not know what is measured, nor import any package of ours.
package peer

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Slow is how long the upstream's tool "slow" takes.
const Slow = 200 * time.Millisecond

// Tools that every catalog begins with; the rest is filling.
const (
	Echo   = "echo"   // answers its argument text
	Long   = "long"   // answers 1 MiB
	Longer = "longer" // answers 10 MiB
	Late   = "slow"   // answers after [Slow]
)

// Run runs the role that args[0] names until ctx or in ends. A role that serves
// HTTP first writes its address and a line end to out:
//
//	http                  the upstream, at /{legacy,modern}/{number of tools}/mcp;
//	                      calls that take as long as they say, at /work/mcp
//	proxy URL             the reverse proxy
//	relay ERA URL         the mcp-go relay, at /mcp
//	stdio [-tools N] [-delay D]
//	                      the upstream over in and out, deaf for D at its start
//	mux PROGRAM ARG...    the multiplexer, before a program over stdio
func Run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("peer: no role is named")
	}
	role, args := args[0], args[1:]
	switch {
	case role == "http":
		return serve(ctx, upstreamHandler(), in, out)
	case role == "proxy" && len(args) == 1:
		h, err := proxyHandler(args[0])
		if err != nil {
			return err
		}
		return serve(ctx, h, in, out)
	case role == "relay" && len(args) == 2:
		h, stop, err := relayHandler(ctx, args[0], args[1])
		if err != nil {
			return err
		}
		return errors.Join(serve(ctx, h, in, out), stop())
	case role == "stdio":
		fs := flag.NewFlagSet("stdio", flag.ContinueOnError)
		fs.SetOutput(io.Discard) // the error says it
		tools := fs.Int("tools", 4, "size of the catalog")
		delay := fs.Duration("delay", 0, "time before anything is read")
		if err := fs.Parse(args); err != nil {
			return err
		}
		time.Sleep(*delay)
		return serveLines(newUpstream(true, *tools, newTexts()), in, out)
	case role == "mux" && len(args) > 0:
		return runMux(ctx, args, in, out)
	}
	return fmt.Errorf("peer: there is no role %q with %d arguments", role, len(args))
}

// serve serves on a free loopback port, which it writes to out, until ctx or in
// ends: in is a pipe from whoever started this process.
func serve(ctx context.Context, h http.Handler, in io.Reader, out io.Writer) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in)
		_ = srv.Close()
	}()
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if _, err := fmt.Fprintln(out, ln.Addr()); err != nil {
		return errors.Join(err, ln.Close())
	}
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
