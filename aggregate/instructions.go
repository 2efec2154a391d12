package aggregate

import (
	"fmt"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// longFreeze is how long a source that asked to be left alone is at least before
// it is called missing.
const longFreeze = time.Minute

// missingFor says why a source is missing, where that is not plain.
var missingFor = map[Absence]string{
	AwayLogin: " (needs a sign-in)", AwayCircuit: " (left alone after failures)", AwayFrozen: " (rate limit)",
}

// instructions is what a host may show the model about this server: which
// sources there are, and what to do when one is missing. It stays below the
// 2 KB at which hosts cut.
func (a *Aggregate) instructions(only upstream.ID) string {
	const limit = 1900
	var up, missing []string
	for _, s := range a.Status().Sources {
		switch {
		case only != "" && string(only) != s.Name:
		case s.Away != "" && !(s.Away == AwayFrozen && s.RetryInMS < longFreeze.Milliseconds()): // one that is just starting is not missing
			why := missingFor[s.Away]
			if s.Credential != "" {
				why = " (refuses its credential)"
			}
			if s.Away == AwayLogin && s.SignIn != nil && s.SignIn.State == SignInRequired && s.SignIn.Command != "" {
				why = " (needs a person to run: " + s.SignIn.Command + ")"
			}
			missing = append(missing, s.Name+why)
		default:
			up = append(up, s.Name)
		}
	}
	var b strings.Builder
	if only == "" {
		b.WriteString("This server gathers several independent data sources.")
	} else {
		b.WriteString("This server gives access to one data source.")
	}
	b.WriteString(" Independent calls may be made at the same time; they run in parallel and take as long as the slowest.")
	if len(up) > 0 {
		fmt.Fprintf(&b, " Sources: %s.", list(up, 600))
	}
	if len(missing) > 0 {
		fmt.Fprintf(&b, " Not answering at the moment: %s.", list(missing, 600))
	}
	if note := a.snap.Load().offer(only).note(a.opt.ListBudget); note != "" {
		b.WriteString(" " + note + ".")
	}
	b.WriteString(" A failed call says which source failed, why, and whether to retry; answer with what the other sources gave " +
		"and name what is missing.")
	if !a.opt.Plain {
		if only == "" {
			b.WriteString(a.snap.Load().all.list(upstream.Tools).whereToLook())
			b.WriteString(" Several calls, also such as need each other's results, go in one plan to " + toolBatchRead + " or " + toolBatch + ".")
		}
		b.WriteString(" " + toolSources + " tells the state of every source.")
	}
	return Printable(b.String(), limit)
}

// list joins names, at most limit bytes of them.
func list(names []string, limit int) string {
	s := strings.Join(names, ", ")
	if len(s) <= limit {
		return s
	}
	short := s[:max(strings.LastIndex(s[:limit], ", "), 0)]
	if short == "" {
		return fmt.Sprintf("%d sources", len(names))
	}
	return fmt.Sprintf("%s and %d more", short, len(names)-strings.Count(short, ", ")-1)
}
