// Command bench measures what Bulkhead costs, beside what it is compared with,
// in one run on this machine:
//
//	go run ./bench [-only calls,list] [-rounds 5] [-burst 300ms] [-write]
//
// It owns the load and the processes, and runs the real binary. It must not
// import any package of ours but its own two. Read the ratios; the absolute
// figures are the machine's. Linux only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/bulkhead-mcp/bulkhead/bench/peer"
	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	only   string
	rounds int
	burst  time.Duration
	binary string
	write  bool
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) > 0 && args[0] == "peer" {
		return peer.Run(ctx, args[1:], in, out)
	}
	o, selected, err := parse(args)
	if err != nil {
		return err
	}
	if _, err := cpuOf(os.Getpid()); err != nil {
		return err
	}
	s, err := setUp(ctx, o.binary)
	if err != nil {
		return err
	}
	defer s.tearDown()
	doc := &report.Document{
		Machine: fmt.Sprintf("%s, %d cores", processor(), runtime.NumCPU()), Go: runtime.Version(), Taken: time.Now(),
		Settings: fmt.Sprintf("-rounds %d -burst %s", o.rounds, o.burst),
	}
	for _, p := range selected {
		began := time.Now()
		section, err := p.run(ctx, s, o)
		if missing, ok := errors.AsType[*missingError](err); ok {
			section.Text += " Not measured here: " + missing.Error() + "."
		} else if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := section.WriteText(out); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "  (%s: %.0f s)\n", p.name, time.Since(began).Seconds()); err != nil {
			return err
		}
		doc.Sections = append(doc.Sections, section)
	}
	if o.write {
		return write(ctx, doc)
	}
	return nil
}

// parse reads the command line. What is wrong with it is in the error.
func parse(args []string) (options, []probe, error) {
	var o options
	all := probes()
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.name
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&o.only, "only", "", "the probes to run, separated by commas; all of them are "+strings.Join(names, ","))
	fs.IntVar(&o.rounds, "rounds", 5, "how often each probe goes round its targets; medians are printed, with the range")
	fs.DurationVar(&o.burst, "burst", 300*time.Millisecond, "how long a target is under load in each round")
	fs.StringVar(&o.binary, "binary", "", "measure this Bulkhead instead of building one")
	fs.BoolVar(&o.write, "write", false, "write docs/performance.md and its pictures")
	if err := fs.Parse(args); err != nil {
		return o, nil, err
	}
	switch {
	case fs.NArg() > 0:
		return o, nil, fmt.Errorf("%q is no flag: see -h", fs.Arg(0))
	case o.rounds < 1 || o.rounds > 1000:
		return o, nil, fmt.Errorf("-rounds is %d: it must be from 1 to 1000", o.rounds)
	case o.burst < time.Millisecond || o.burst > time.Minute:
		return o, nil, fmt.Errorf("-burst is %s: it must be from 1ms to 1m", o.burst)
	case o.only != "" && o.write:
		return o, nil, errors.New("-write needs all probes: leave -only out")
	case o.only == "":
		return o, all, nil
	}
	var selected []probe
	for name := range strings.SplitSeq(o.only, ",") {
		found := false
		for _, p := range all {
			if p.name == name {
				selected, found = append(selected, p), true
			}
		}
		if !found {
			return o, nil, fmt.Errorf("-only: there is no probe %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	return o, selected, nil
}
