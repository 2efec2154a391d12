package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
	"github.com/bulkhead-mcp/bulkhead/upstream/limits"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// rules is a compiled [Errors] and [Quota]: what an answer means apart from its
// records.
type rules struct {
	failed   pointer
	fails    *Failed
	equals   json.RawMessage
	messages []pointer
	codes    []pointer
	kinds    map[string]outcome
	retry    string // header field

	left, restore pointer // of a quota; nil for none
}

// outcome is what a code means.
type outcome struct {
	kind  upstream.Kind
	token bool // another token may be let in
}

// outcomes are what a definition may make of a failure.
var outcomes = map[string]outcome{
	"rate_limited": {kind: upstream.RateLimited}, "needs_login": {kind: upstream.NeedsLogin}, "token_refused": {upstream.NeedsLogin, true},
	"denied": {kind: upstream.Denied}, "invalid_arguments": {kind: upstream.InvalidArguments}, "not_found": {kind: upstream.NotFound},
	"unavailable": {kind: upstream.Unavailable}, "upstream_error": {kind: upstream.UpstreamError},
}

// usualMessages is where most APIs say what is wrong (RFC 9457, section 3.1, and
// habits), for definitions that do not say it.
var usualMessages = []string{"/error/message", "/message", "/error_description", "/detail", "/errors/0/message", "/errors/0/detail", "/error", "/title"}

func newRules(d *Definition) *rules {
	e := &d.Errors
	r := &rules{fails: e.Failed, retry: e.RetryHeader, left: pointerTokens(d.Quota.Left), restore: pointerTokens(d.Quota.Restore), kinds: make(map[string]outcome, len(e.Codes))}
	if e.Failed != nil {
		r.failed, r.equals = pointerTokens(e.Failed.Path), raw(e.Failed.Equals)
	}
	messages := e.Message
	if len(messages) == 0 {
		messages = usualMessages
	}
	for _, p := range messages {
		r.messages = append(r.messages, pointerTokens(p))
	}
	for _, p := range e.Code {
		r.codes = append(r.codes, pointerTokens(p))
	}
	for code, kind := range e.Codes {
		r.kinds[code] = outcomes[kind]
	}
	return r
}

// told reports whether a 2xx answer says that it is a failure.
func (r *rules) told(b *body) bool {
	if r.fails == nil {
		return false
	}
	v, ok := b.at(r.failed)
	switch {
	case !ok:
		return false
	case r.fails.Present:
		return !rawjson.IsNull(v)
	}
	return plain(v) == plain(r.equals) && (rawjson.Kind(v) == '"') == (rawjson.Kind(r.equals) == '"')
}

// code returns the source's own code for a failure; "" if there is none.
func (r *rules) code(b *body) string {
	for _, p := range r.codes {
		if v, ok := b.at(p); ok {
			if k := rawjson.Kind(v); k != '{' && k != '[' && k != 'n' {
				return plain(v)
			}
		}
	}
	return ""
}

// maxMessage bounds what of a source's own words the model is shown, in
// characters.
const maxMessage = 500

func (r *rules) message(b *body) string {
	for _, p := range r.messages {
		v, _ := b.at(p)
		if s := strings.TrimSpace(rawjson.String(v)); s != "" {
			return shortened(s, maxMessage)
		}
	}
	return ""
}

// shortened bounds a text of somebody else's and takes out what could do more
// than be read.
func shortened(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// statusError is what a failure comes from, for the log.
type statusError struct {
	status int
	code   string
	body   string // its beginning
	token  bool   // another token may be let in
	final  bool   // another attempt is of no use
	works  bool   // the source does, but does not take the request
}

// Is reports whether this is an [upstream.ErrFinal] or [upstream.ErrNoOutage].
func (e *statusError) Is(target error) bool {
	return e.final && target == upstream.ErrFinal || e.works && target == upstream.ErrNoOutage
}

func (e *statusError) Error() string {
	text := "HTTP " + strconv.Itoa(e.status)
	if e.code != "" {
		text += ", code " + e.code
	}
	return text + ": " + e.body
}

// tokenRefused reports whether a failure says so of the token, by which nothing was
// carried out.
func tokenRefused(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.token
}

// failure is what an answer means that is no success, by its status or by what a
// 2xx says. A failure that the source tells in a 2xx, and that has no kind, is a
// result: the source is well, and has said what is wrong. b is nil if the answer is no
// JSON. repeatable says whether a request that was executed may be made again.
func (r *rules) failure(ans *httpcall.Answer, b *body, repeatable bool) (*upstream.Result, error) {
	code, said := r.code(b), r.message(b)
	e := httpcall.Refused(ans.Status, ans.Header, ans.Body)
	if ans.Status/100 == 4 && e.Kind == upstream.UpstreamError {
		e.Sent = false // it says that the request is no good
	}
	ok := ans.Status/100 == 2
	meant, known := r.kind(ans.Status, code)
	switch {
	case e.Kind == upstream.RateLimited:
	case known:
		set(e, meant.kind, ans.Status)
		e.RetryAfter = limits.Read(ans.Header, time.Now()).RetryAfter
	case ok:
		if said == "" {
			said = strings.TrimSpace("it says that this failed " + code)
		}
		return upstream.TextResult(said, true), nil
	}
	retry := ans.Header.Get(r.retry)
	if strings.EqualFold(retry, "true") && repeatable && e.Kind == upstream.UpstreamError {
		e.Kind, e.Public = upstream.Unavailable, publics[upstream.Unavailable]
	}
	if said != "" {
		e.Public += ": " + said
	} else if code != "" {
		e.Public += ": " + shortened(code, 60)
	}
	e.Err = &statusError{
		status: ans.Status, code: shortened(code, 60), body: shortened(string(ans.Body[:min(len(ans.Body), 1000)]), 300),
		token: meant.token && e.Kind == upstream.NeedsLogin && !e.Sent, final: strings.EqualFold(retry, "false"),
		works: ans.Status/100 == 4 && e.Kind == upstream.UpstreamError,
	}
	return nil, e
}

// kind returns what the definition makes of a failure.
func (r *rules) kind(status int, code string) (outcome, bool) {
	number := strconv.Itoa(status)
	for _, key := range []string{number + " " + code, code, number} {
		if k, ok := r.kinds[key]; ok {
			return k, true
		}
	}
	return outcome{}, false
}

// publics is what the model reads of a kind.
var publics = map[upstream.Kind]string{
	upstream.RateLimited: "it asks to wait", upstream.NeedsLogin: "it asks for a login", upstream.Denied: "it refuses access",
	upstream.InvalidArguments: "it refuses the request", upstream.NotFound: "there is no such thing",
	upstream.Unavailable: "it is not available at the moment", upstream.UpstreamError: "it failed",
}

// set makes a failure one of this kind. Those that are told before anything is
// done say that it was not executed.
func set(e *upstream.Error, kind upstream.Kind, status int) {
	e.Kind, e.Public = kind, publics[kind]
	switch kind { //nolint:exhaustive // the others are refusals
	case upstream.Unavailable, upstream.UpstreamError:
		e.Sent = true
	default:
		e.Sent = status >= http.StatusInternalServerError
	}
}

// unusable is an answer that is not what was asked for. The request was executed.
func unusable(err error, format string, args ...any) *upstream.Error {
	public := fmt.Sprintf(format, args...)
	if err == nil {
		err = errors.New(public)
	}
	return &upstream.Error{Kind: upstream.UpstreamError, Sent: true, Public: public, Err: err}
}
