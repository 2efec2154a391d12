package shaping

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/itchyny/gojq"
)

// The bounds of a program. It is the operator's own and as trusted as the rest of
// the configuration; they are there for answers that it was not written for. The
// time is looked at between any two of its steps. A single step, such as a
// multiplication of huge numbers, cannot be interrupted: then the call fails in
// time all the same, and at most [atOnce] of such programs are left to end.
const (
	maxText   = 16 << 10         // bytes of a program
	maxValue  = 8 << 20          // bytes of what it is given, and of what it makes
	waitFor   = 10 * time.Second // how long a value waits for its turn
	runFor    = time.Second      // how long the program may then take
	graceTime = time.Second / 2  // how long it is waited for beyond that
	atOnce    = 2                // values that one program works on at once
)

// denied are functions and variables that reach beyond the value, with what is
// said of them. What the library itself does not know without being told
// (modules, debug, input_filename) needs no entry.
var denied = map[string]string{
	"env": "the environment is not handed over", "$ENV": "the environment is not handed over",
	"input": "there is one value only, which is .", "inputs": "there is one value only, which is .",
	"halt": "it cannot end the server", "halt_error": "it cannot end the server; use error",
	"modulemeta": "there are no modules",
}

// program is a compiled jq program.
type program struct {
	code         *gojq.Code
	says         map[string]bool // the texts with which it may fail, which are its own
	limit, grace time.Duration
	places       chan struct{} // capacity: how many run at once
}

// CheckJQ says what is wrong with a jq program, in words for its author; nil if
// nothing is.
func CheckJQ(text string) error {
	_, err := compile(text)
	return err
}

func compile(text string) (*program, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("is longer than %d bytes", maxText)
	}
	query, err := gojq.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("is no jq program: %w", err)
	}
	if name := deniedIn(reflect.ValueOf(query)); name != "" {
		return nil, fmt.Errorf("uses %s: %s", name, denied[name])
	}
	code, err := gojq.Compile(query)
	if err != nil {
		return nil, fmt.Errorf("is no jq program: %w", err)
	}
	says := make(map[string]bool)
	literals(reflect.ValueOf(query), false, says)
	return &program{code: code, says: says, limit: runFor, grace: graceTime, places: make(chan struct{}, atOnce)}, nil
}

// deniedIn returns the first denied name that is called in a part of a program,
// whether or not the program defines one of its own by it.
func deniedIn(part reflect.Value) string {
	switch part.Kind() {
	case reflect.Pointer:
		if f, ok := reflect.TypeAssert[*gojq.Func](part); ok && f != nil && denied[f.Name] != "" {
			return f.Name
		}
		return deniedIn(part.Elem())
	case reflect.Struct:
		if short, ok := reflect.TypeAssert[gojq.ObjectKeyVal](part); ok && denied[short.Key] != "" && short.Val == nil && short.Key[0] == '$' {
			return short.Key // {$ENV}
		}
		for _, field := range part.Fields() {
			if name := deniedIn(field); name != "" {
				return name
			}
		}
	case reflect.Slice:
		for i := range part.Len() {
			if name := deniedIn(part.Index(i)); name != "" {
				return name
			}
		}
	}
	return ""
}

type made struct {
	value json.RawMessage
	err   error
}

// run returns what the program makes of a value. It returns within limit and
// grace, whatever the program does.
func (p *program) run(ctx context.Context, v json.RawMessage) (json.RawMessage, error) {
	if len(v) > maxValue {
		return nil, fmt.Errorf("the answer's %d bytes are more than jq may be given, which is %d", len(v), maxValue)
	}
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	late := fmt.Errorf("jq took longer than %s", p.limit)
	ctx, cancel := context.WithTimeoutCause(ctx, p.limit, late)
	defer cancel()
	done := make(chan made, 1)
	go func() {
		value, err := p.apply(ctx, v)
		<-p.places
		done <- made{value, err}
	}()
	enough := time.NewTimer(p.limit + p.grace)
	defer enough.Stop()
	select {
	case m := <-done:
		return m.value, m.err
	case <-enough.C:
		return nil, late
	}
}

// enter waits for a place.
func (p *program) enter(ctx context.Context) error {
	select {
	case p.places <- struct{}{}:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeoutCause(ctx, waitFor, errBusy)
	defer cancel()
	select {
	case p.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errBusy = fmt.Errorf("jq was still at work on other answers after %s", waitFor)

func (p *program) apply(ctx context.Context, v json.RawMessage) (_ json.RawMessage, err error) {
	defer func() {
		if r := recover(); r != nil { // a fault of the library, which must not cost more than this answer
			err = errors.New("jq failed for a reason of its own")
		}
	}()
	in := json.NewDecoder(bytes.NewReader(v))
	in.UseNumber() // a number that is only handed on stays as it is written
	var value any
	if err := in.Decode(&value); err != nil {
		return nil, errors.New("the answer is no JSON")
	}
	results := p.code.RunWithContext(ctx, value)
	out, ok := results.Next()
	if !ok {
		return nil, errors.New("jq yields nothing: it must yield one value, so put [ ] around it")
	}
	if err, failed := out.(error); failed {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, errors.New("jq: " + p.told(err))
	}
	if more, again := results.Next(); again {
		if _, failed := more.(error); !failed || ctx.Err() == nil {
			return nil, errors.New("jq yields more than one value: put [ ] around it")
		}
		return nil, context.Cause(ctx)
	}
	return encode(out)
}

// told says what an error of the program is, without a word of the value that it
// failed on: what fields leave out must not come back this way. The library quotes
// it in most of its errors, and a program can make one of it.
func (p *program) told(err error) string {
	if own, ok := errors.AsType[gojq.ValueError](err); ok {
		if said, ok := own.Value().(string); ok && p.says[said] {
			return "error: " + said
		}
		return "the program failed with an error of its own"
	}
	text := err.Error()
	if said := known().FindString(text); said != "" {
		return said
	}
	if function := calledWith.FindStringSubmatch(text); function != nil {
		return function[1] + " cannot be applied to this"
	}
	return "the program failed on this answer"
}

// What errors of gojq (its error.go) say before they begin to quote. Most programs
// never fail, and the first of these is large.
var (
	known = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(strings.ReplaceAll(`^(?:`+
			`expected an? [a-z ]+ but got: TYPE|expected an array of 8 numbers|cannot iterate over: TYPE|cannot [a-z]+:? TYPE|[a-z0-9_]+ cannot be applied to(?:: TYPE)?|`+
			`array index (?:too large|should not be negative)|flatten depth should not be negative|repeat string result too large|length mismatch|`+
			`number(?: of seconds)? is out of range|invalid path (?:on iterating )?against: TYPE)\b`, "TYPE", `(?:null|boolean|number|string|array|object)`))
	})
	calledWith = regexp.MustCompile(`^([a-z0-9_]+)\(.* cannot be applied to`)
)

// literals adds the texts that stand in a part of a program as they are to those
// that it may say: in says whether it is the argument of error.
func literals(part reflect.Value, in bool, says map[string]bool) {
	switch part.Kind() {
	case reflect.Pointer:
		if s, ok := reflect.TypeAssert[*gojq.String](part); ok && s != nil && in && s.Queries == nil {
			says[s.Str] = true
		}
		f, ok := reflect.TypeAssert[*gojq.Func](part)
		literals(part.Elem(), in || ok && f != nil && f.Name == "error", says)
	case reflect.Struct:
		for _, field := range part.Fields() {
			literals(field, in, says)
		}
	case reflect.Slice:
		for i := range part.Len() {
			literals(part.Index(i), in, says)
		}
	}
}
