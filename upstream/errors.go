package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind classifies a failure. It drives retry, breaker, metric labels and the
// code that begins the text for the model.
type Kind uint8

// The kinds of failure. The comment is the code the model sees.
const (
	Internal            Kind = iota // internal: a fault of ours
	Unavailable                     // unavailable: not reachable, crashed or disconnected
	RateLimited                     // rate_limited: the upstream or its quota says wait
	Overloaded                      // overloaded: our queue for it is full
	Timeout                         // timeout: no answer in time
	NeedsLogin                      // needs_login: a person has to sign in
	Denied                          // denied: policy or the upstream refuses
	InvalidArguments                // invalid_arguments: the call is wrong; change it
	NotFound                        // not_found: no such thing
	UpstreamError                   // upstream_error: it answered with a failure or with garbage
	WriteOutcomeUnknown             // write_outcome_unknown: it may or may not have happened
	Cancelled                       // cancelled: the caller gave up
)

var codes = [...]string{
	Internal: "internal", Unavailable: "unavailable", RateLimited: "rate_limited",
	Overloaded: "overloaded", Timeout: "timeout", NeedsLogin: "needs_login",
	Denied: "denied", InvalidArguments: "invalid_arguments", NotFound: "not_found",
	UpstreamError: "upstream_error", WriteOutcomeUnknown: "write_outcome_unknown",
	Cancelled: "cancelled",
}

// Code returns the stable code that begins the text for the model.
func (k Kind) Code() string {
	if int(k) < len(codes) {
		return codes[k]
	}
	return codes[Internal]
}

func (k Kind) String() string { return k.Code() }

// Error is the only error type that crosses packages.
type Error struct {
	Upstream ID
	Tool     string // "" where no tool is concerned
	Op       string // what was being done, e.g. "connect", "tools/list"
	Kind     Kind
	// Sent reports whether the request may have reached the upstream. False
	// means that it provably was not executed and may be sent again.
	Sent       bool
	RetryAfter time.Duration // 0 if unknown
	// Public is what the model may read: no address, path, header or secret.
	// Where it is "", the text is made from Kind alone.
	Public string
	// RPC is the upstream's own JSON-RPC error, nil if that is not the cause.
	RPC *RPCError
	Err error // the cause, for the log
}

func (e *Error) Error() string {
	where := string(e.Upstream)
	if e.Tool != "" {
		where += "/" + e.Tool
	}
	what := e.Public
	if e.Err != nil {
		what = e.Err.Error()
	}
	parts := slices.DeleteFunc([]string{where, e.Op, e.Kind.Code(), what}, func(s string) bool { return s == "" })
	return strings.Join(parts, ": ")
}

func (e *Error) Unwrap() error { return e.Err }

// ErrFinal is among the causes of a failure after which the same call is not made
// once more: the upstream says that another attempt will not do better, or what is
// known of the call does.
var ErrFinal = errors.New("another attempt is of no use")

// ErrNoOutage is among the causes of a failure that is no sign of trouble: the
// upstream works and has answered with it, or, if the kind is Timeout, it was this
// call alone that asked for too much.
var ErrNoOutage = errors.New("the upstream works")

// ErrStopping is among the causes with which the context of a call ends that has not
// ended in time when Bulkhead is stopped.
var ErrStopping = errors.New("stopping")

// Caused returns err with more causes, which its text leaves out.
func Caused(err error, by ...error) error { return &caused{err, by} }

type caused struct {
	error
	by []error
}

func (c *caused) Unwrap() []error { return append([]error{c.error}, c.by...) }

// RPCError is a JSON-RPC error object (JSON-RPC 2.0, section 5.1), or the like of an
// upstream that speaks no JSON-RPC: what it itself says of a failure.
type RPCError struct {
	Code    int             `json:"code"` // 0 if it says none
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// Error bounds the message, which may be as long as an upstream likes.
func (e *RPCError) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("%.2048s", e.Message)
	}
	return fmt.Sprintf("%.2048s (code %d)", e.Message, e.Code)
}

// The JSON-RPC error codes that Bulkhead itself answers with.
const (
	CodeParse          = -32700
	CodeInvalidRequest = -32600
	CodeMethodNotFound = -32601
	CodeInvalidParams  = -32602
	CodeInternal       = -32603
)

// AsError returns err as an *Error, wrapping whatever is none: an ended
// context by its cause, anything else as Internal.
func AsError(id ID, tool string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	e := &Error{Upstream: id, Tool: tool, Kind: Internal, Sent: true, Err: err}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		e.Kind = Timeout
	case errors.Is(err, context.Canceled):
		e.Kind = Cancelled
	}
	return e
}
