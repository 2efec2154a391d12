// Command bench measures what Bulkhead costs for each call, beside a plain
// net/http reverse proxy in the same run on the same machine:
//
//	go run ./bench [-rounds 5] [-burst 1s]
//
// It owns the load, the upstream and the proxy, each in a process of its own,
// and runs the real binary. It must not import any package of ours. Read the
// ratios; the absolute figures are the machine's.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "echo":
			return serveEcho(ctx, args[1:])
		case "proxy":
			return serveProxy(ctx, args[1:])
		case "echo-stdio":
			return serveEchoStdio(os.Stdin, os.Stdout)
		}
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := fs.Int("rounds", 5, "how often each probe runs; medians are printed")
	burst := fs.Duration("burst", time.Second, "how long each probe runs")
	if err := fs.Parse(args); err != nil {
		return err
	}
	b, err := setUp(ctx)
	if err != nil {
		return err
	}
	defer b.tearDown()
	tab := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(tab, "probe\ttarget\tcalls/s\tp50 µs\tp99 µs\tCPU µs/call\t× proxy CPU\t")
	for _, p := range b.probes() {
		if err := p.measure(ctx, tab, *rounds, *burst); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return tab.Flush()
}

// probe is one kind of call, made to several targets in turn. The first is the
// floor that the others are compared with.
type probe struct {
	name    string
	workers int
	targets []target
}

// target is something under measurement.
type target struct {
	name string
	pid  int // whose CPU counts; 0 for none
	open func() (caller, error)
}

// caller makes one call and waits for its answer.
type caller interface {
	call() error
	close()
}

// figures are what one burst came to.
type figures struct{ rate, p50, p99, cpu float64 }

func (p *probe) measure(ctx context.Context, tab io.Writer, rounds int, burst time.Duration) error {
	seen := make([][]figures, len(p.targets))
	for range rounds {
		for i, t := range p.targets { // interleaved: noise hits all alike
			f, err := t.burst(ctx, p.workers, burst)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			seen[i] = append(seen[i], f)
		}
	}
	floor := 0.0
	for i, t := range p.targets {
		m := figures{
			rate: median(seen[i], func(f figures) float64 { return f.rate }), p50: median(seen[i], func(f figures) float64 { return f.p50 }),
			p99: median(seen[i], func(f figures) float64 { return f.p99 }), cpu: median(seen[i], func(f figures) float64 { return f.cpu }),
		}
		ratio := ""
		if floor == 0 && t.pid != 0 {
			floor = m.cpu
		} else if t.pid != 0 {
			ratio = fmt.Sprintf("%.2f", m.cpu/floor)
		}
		_, _ = fmt.Fprintf(tab, "%s\t%s\t%.0f\t%.0f\t%.0f\t%.1f\t%s\t\n", p.name, t.name, m.rate, m.p50, m.p99, m.cpu, ratio)
	}
	return nil
}

func median(fs []figures, of func(figures) float64) float64 {
	var v []float64
	for _, f := range fs {
		v = append(v, of(f))
	}
	slices.Sort(v)
	return v[len(v)/2]
}
