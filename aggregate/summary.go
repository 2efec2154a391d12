package aggregate

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// maxSummary is how long a source's summary is at most, in bytes.
const maxSummary = 400

// summary says how a source is, so that a model can repeat it.
func (s *SourceStatus) summary(now time.Time) string {
	parts := []string{s.Name + " " + s.condition(now)}
	if s.Load != nil && s.Away == "" {
		parts = append(parts, s.Load.words()...)
	}
	if n := len(s.HeldBack) + s.HeldBackMore; n > 0 {
		parts = append(parts, count(n, "tool")+" not offered, because hosts would drop the whole list")
	}
	if len(s.Drift) > 0 {
		parts = append(parts, s.Drift[0].words()+more(len(s.Drift)+s.DriftMore-1))
	}
	if s.Away == "" && s.State == string(upstream.Up) && s.Error != "" {
		parts = append(parts, s.Error)
	}
	return Printable(strings.Join(parts, "; "), maxSummary) + "."
}

// condition is the most important of it.
func (s *SourceStatus) condition(now time.Time) string {
	retry := ""
	if s.RetryInMS > 0 {
		retry = ", is tried again in " + humanDuration(time.Duration(s.RetryInMS)*time.Millisecond)
	}
	since := ago(s.AwaySince, now)
	if since != "" {
		since = " for " + since
	}
	tools := count(s.Tools, "tool")
	switch s.Away {
	case AwayLogin:
		look := ""
		if s.Credential != "" {
			look = ": " + lookAt + s.Credential
		}
		switch {
		case s.SignIn != nil && s.SignIn.State == SignInRefused:
			return "cannot be signed in to" + because(s.Error) + since + look
		case look != "":
			return "refuses its credential" + because(s.Error) + since + look
		}
		text := "needs a person to sign in" + because(s.Error) + since
		if s.SignIn != nil && s.SignIn.Command != "" {
			text += ": " + s.SignIn.Command
		}
		if s.SignIn != nil && s.SignIn.Page != "" {
			text += " at the page that signIn names"
		}
		return text
	case AwayDown:
		return "cannot be reached" + because(s.Error) + since + retry
	case AwayCircuit:
		return "is left alone after failures" + because(s.Load.Circuit.Failure) + since + retry
	case AwayFrozen:
		return "asked to be left alone (rate limit), for another " + humanDuration(time.Duration(s.RetryInMS)*time.Millisecond)
	}
	switch {
	case s.State != string(upstream.Up):
		text := "is being connected"
		if s.Stale {
			text += "; " + tools + " known from an earlier run"
		}
		return text
	case s.RecoveredAt != "":
		return fmt.Sprintf("has answered again for %s, %s", ago(s.RecoveredAt, now), tools)
	}
	return "answers, " + tools
}

// words says what holds calls up or keeps them away.
func (l *LoadStatus) words() (parts []string) {
	if q := l.Quota; q != nil && q.FrozenMS > 0 {
		parts = append(parts, "it asked to be left alone for another "+humanDuration(time.Duration(q.FrozenMS)*time.Millisecond))
	} else if q != nil && q.Burst > 0 {
		parts = append(parts, fmt.Sprintf("%g of %g calls left", math.Floor(q.Left), q.Burst))
	}
	if n := l.Waiting + l.WritesWaiting; n > 0 {
		parts = append(parts, fmt.Sprintf("%s waiting", count(n, "call")))
	}
	if n := len(l.Tools) + l.ToolsMore; n > 0 {
		text := fmt.Sprintf("%s left alone after failures: %s", count(n, "tool"), strings.Join(slices.Sorted(maps.Keys(l.Tools)), ", "))
		if l.ToolsMore > 0 {
			text += fmt.Sprintf(" and %d more", l.ToolsMore)
		}
		parts = append(parts, text)
	}
	return parts
}

// words says in a sentence what has changed.
func (d DriftStatus) words() string {
	what := d.Problem
	if d.Field != "" {
		what = d.Field + " " + what
	}
	return "what " + d.Tool + " answers has changed (" + what + ")"
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %s more", count(n, "difference"))
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// ago returns how long ago a stamp was; "" if there is none.
func ago(at string, now time.Time) string {
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return ""
	}
	return humanDuration(now.Sub(t))
}
