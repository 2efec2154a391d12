package aggregate

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// MetaError is the key under which a failed result carries the facts of its
// text for machines.
const MetaError = "io.github.bulkhead-mcp/error"

// maxQuote is how much of an upstream's own words a failure repeats, in bytes.
const maxQuote = 2 << 10

// maxSaid is how much of our own words a failure has, in bytes: all that is said of a
// plan's faults.
const maxSaid = maxFaults + 1<<10

// maxData is how much of an error object's data a failure carries, in bytes;
// larger data is left out.
const maxData = 16 << 10

// failureResult turns an error into what the model reads: a tool result whose
// text begins with a stable code and names the source. Most hosts show a
// result's text to the model, while a protocol error may be replaced or end
// the run.
func failureResult(e *upstream.Error) *upstream.Result {
	text := failureText(e)
	raw, err := json.Marshal(map[string]any{
		"content": []any{map[string]string{"type": "text", "text": text}},
		"isError": true,
		"_meta":   map[string]any{MetaError: failureFacts(e)},
	})
	if err != nil { // an upstream's error data that is no JSON after all
		return upstream.TextResult(text, true)
	}
	return &upstream.Result{Raw: raw, IsError: true}
}

func failureFacts(e *upstream.Error) map[string]any {
	facts := map[string]any{"code": e.Kind.Code()}
	if e.Upstream != "" {
		facts["source"] = string(e.Upstream)
	}
	if e.Tool != "" {
		facts["tool"] = e.Tool
	}
	if e.RetryAfter > 0 {
		facts["retryAfterMs"] = e.RetryAfter.Milliseconds()
	}
	if e.RPC != nil {
		facts["upstream"] = bounded(e.RPC)
	}
	if a := accountOf(e); a != nil {
		facts["sent"] = e.Sent
		a.facts(facts)
	}
	return facts
}

// bounded returns an upstream's error object within what a failure may say of
// it: nothing cuts a failure later on.
func bounded(rpc *upstream.RPCError) any {
	b := struct {
		Code    int             `json:"code,omitempty"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data,omitempty"`
	}{Code: rpc.Code, Message: Printable(rpc.Message, maxQuote)}
	if len(rpc.Data) <= maxData {
		b.Data = rpc.Data
	}
	return b
}

func failureText(e *upstream.Error) string {
	head := e.Kind.Code() + ": "
	if e.Upstream != "" {
		head += string(e.Upstream) + ": "
	}
	parts := []string{whatHappened(e)}
	if a := accountOf(e); a != nil {
		parts = append(parts, a.away.words(e)...)
	}
	parts = append(parts, advice(e)...)
	if e.Upstream != "" && e.Kind != upstream.InvalidArguments && e.Kind != upstream.NotFound {
		parts = append(parts, unaffected(e))
	}
	text := head + strings.Join(parts, "; ")
	if strings.HasSuffix(text, "?") || strings.HasSuffix(text, "!") {
		return text // as its source ended it
	}
	return text + "."
}

// unaffected says what the failure has nothing to do with.
func unaffected(e *upstream.Error) string {
	if a := accountOf(e); a != nil && a.ofTool && e.Kind != upstream.RateLimited {
		return "other tools of " + string(e.Upstream) + " and other sources are unaffected"
	}
	return "other sources are unaffected"
}

func whatHappened(e *upstream.Error) string {
	if e.RPC != nil {
		said := `it answered "` + Printable(e.RPC.Message, maxQuote) + `"`
		if e.RPC.Code != 0 {
			said += fmt.Sprintf(" (code %d)", e.RPC.Code)
		}
		return said
	}
	if e.Public != "" {
		most := maxQuote
		if e.Upstream == "" && errors.Is(e.Err, errArguments) {
			most = maxSaid
		}
		return strings.TrimRight(Printable(e.Public, most), ".") // more follows, or our own
	}
	if e.Kind == upstream.Cancelled && errors.Is(e.Err, upstream.ErrStopping) {
		return "Bulkhead was stopped before it had an answer"
	}
	return plain[e.Kind]
}

// plain says what happened where the layer that failed had nothing to add.
var plain = map[upstream.Kind]string{
	upstream.Internal:            "a fault inside Bulkhead; it has been logged",
	upstream.Unavailable:         "the source cannot be reached",
	upstream.RateLimited:         "the source's rate limit is used up",
	upstream.Overloaded:          "too many calls are waiting for this source",
	upstream.Timeout:             "no answer in time",
	upstream.NeedsLogin:          "the source asks for a sign-in",
	upstream.Denied:              "not allowed",
	upstream.InvalidArguments:    "the arguments are not valid",
	upstream.NotFound:            "not found",
	upstream.UpstreamError:       "the source answered with a failure",
	upstream.WriteOutcomeUnknown: "the connection was lost after the call was sent",
	upstream.Cancelled:           "the call was cancelled",
}

func advice(e *upstream.Error) []string {
	var parts []string
	reads, login := false, []string(nil)
	if a := accountOf(e); a != nil {
		reads, login = a.reads, a.login
	}
	switch e.Kind {
	case upstream.WriteOutcomeUnknown:
		return []string{"it may or may not have been carried out: check before you repeat it"}
	case upstream.InvalidArguments:
		return []string{"change the arguments; repeating the same call will not help"}
	case upstream.NeedsLogin:
		if login != nil {
			return login
		}
		return []string{"a person has to renew the sign-in; repeating the call will not help"}
	case upstream.Denied:
		return []string{"repeating the call will not help"}
	case upstream.Internal:
		if e.Sent && !reads && e.Op != opShape {
			return []string{"the call may have been carried out"}
		}
		return nil
	case upstream.UpstreamError, upstream.Cancelled: // an answer that could not be used; ours to give up
		if e.Sent && !reads && e.RPC == nil {
			parts = append(parts, sentBefore)
		}
	case upstream.Unavailable, upstream.Timeout:
		switch {
		case e.Sent && !reads:
			parts = append(parts, sentBefore)
		case !e.Sent && e.Kind == upstream.Timeout && e.RetryAfter == 0:
			parts = append(parts, notSent, "retry later")
		case !e.Sent && e.Kind == upstream.Timeout:
			parts = append(parts, notSent)
		case e.RetryAfter == 0 && (e.Kind != upstream.Timeout || !errors.Is(e, upstream.ErrFinal)):
			parts = append(parts, "retry later")
		}
	case upstream.Overloaded:
		parts = append(parts, notSent)
		fallthrough
	case upstream.RateLimited:
		if e.RetryAfter == 0 {
			parts = append(parts, "retry later")
		}
	}
	if e.RetryAfter > 0 {
		parts = append(parts, "retry in "+humanDuration(e.RetryAfter))
	}
	return parts
}

const (
	sentBefore = "the call was sent and may have been carried out"
	notSent    = "nothing was sent"
)

// humanDuration rounds up, so that nobody is told to come back too early; a
// hundredth of a second does not count.
func humanDuration(d time.Duration) string {
	s := int64((d - 10*time.Millisecond + time.Second - 1) / time.Second)
	switch {
	case s < 1:
		return "1 s"
	case s < 120:
		return strconv.FormatInt(s, 10) + " s"
	case s < 2*60*60:
		return strconv.FormatInt((s+59)/60, 10) + " min"
	}
	return strconv.FormatInt((s+60*60-1)/(60*60), 10) + " h"
}

// Printable returns s on one line, at most limit bytes long, with control,
// invisible and bidirectional characters escaped: an upstream's words must not
// be able to look like anything but what they are.
func Printable(s string, limit int) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= limit {
			b.WriteString("…")
			break
		}
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case !unicode.IsPrint(r) && r != ' ':
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
