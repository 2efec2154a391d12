package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/admin"
)

// refreshEvery is how often --watch looks again.
const refreshEvery = time.Second

// lookout finds out how the sources are now.
type lookout func(context.Context) []admin.Report

// printSources prints the state of every source: in the servers that run with
// this configuration, or else in one that is started to see.
func printSources(ctx context.Context, inv *invocation) error {
	cfg, err := inv.load()
	if err != nil {
		return err
	}
	if p, ok := inv.place(inv.stateDir(cfg)); ok && len(p.Find(ctx)) > 0 {
		return inv.show(ctx, p.Find)
	}
	return asked(ctx, inv, func(ctx context.Context, a *aggregate.Aggregate) error {
		if !inv.opt.json {
			_, _ = fmt.Fprintln(inv.Err, "bulkhead: no server runs with this configuration; its sources were started to see how they are")
		}
		if err := settled(ctx, a); err != nil {
			return err
		}
		return inv.show(ctx, func(context.Context) []admin.Report { return []admin.Report{admin.NewReport(a.Status())} })
	})
}

// show prints what look finds, with --watch again and again until ctx ends.
func (inv *invocation) show(ctx context.Context, look lookout) error {
	if !inv.opt.watch {
		return inv.showOnce(look(ctx))
	}
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		if found := look(ctx); ctx.Err() == nil {
			if err := inv.showOnce(found); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (inv *invocation) showOnce(found []admin.Report) error {
	if inv.opt.json {
		return inv.showJSON(found)
	}
	width, color := terminal(inv.Out, inv.Env)
	b := board{width: min(max(width, 70), 100), color: color, blocks: inv.utf8(), verbose: inv.opt.verbose, now: time.Now()}
	text := b.text(found)
	if inv.opt.watch {
		if f, ok := inv.Out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			_, height, err := term.GetSize(int(f.Fd()))
			if err != nil || height < 5 {
				height = 24
			}
			text = inPlace(text, height)
		} else {
			text += "\n"
		}
	}
	_, err := io.WriteString(inv.Out, text)
	return err
}

// showJSON prints an object, on one line if there will be more of them.
func (inv *invocation) showJSON(found []admin.Report) error {
	if found == nil {
		found = []admin.Report{}
	}
	raw, err := json.Marshal(map[string]any{"instances": found})
	if err != nil {
		return err
	}
	if !inv.opt.watch {
		return printJSON(inv.Out, raw)
	}
	_, err = inv.Out.Write(append(raw, '\n'))
	return err
}
