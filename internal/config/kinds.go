package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/near"
)

// kind is a type of value: how it is called, read and described to editors.
type kind struct {
	name   string
	decode func(d *decoder, k *key, path string, raw, into any)
	schema func(k *key) map[string]any
}

// The kinds of values; the table of keys uses nothing else.
var (
	text     = &kind{"string", decodeText, textSchema}
	optional = &kind{"string", optionally[string](decodeText), textSchema}
	location = &kind{"path", decodeLocation, textSchema}
	flag     = &kind{"boolean", decodeFlag, func(*key) map[string]any { return map[string]any{"type": "boolean"} }}
	choice   = &kind{"boolean", optionally[bool](decodeFlag), flag.schema}
	number   = &kind{"number", decodeNumber, numberSchema}
	duration = &kind{"duration", decodeDuration, patternSchema(durationForm)}
	deadline = &kind{`"auto" or duration`, decodeDeadline, patternSchema(newForm(`^(auto|` + strings.Trim(durationForm.String(), "^$") + `)$`))}
	rate     = &kind{"calls/duration", decodeRate, patternSchema(rateForm)}
	size     = &kind{"size", decodeSize, patternSchema(sizeForm)}
	list     = &kind{"list of strings", decodeList, listSchema}
	secret   = &kind{"secret reference", decodeSecret, func(*key) map[string]any { return map[string]any{"$ref": "#/$defs/secret"} }}
	envTable = &kind{"table of strings or secret references", decodeEnv, envSchema}
)

var (
	durationForm = newForm(`^(0|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+)$`)
	rateForm     = newForm(`^[1-9][0-9]{0,8}/([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)
	sizeForm     = newForm(`^[0-9]+(B|KB|KiB|MB|MiB|GB|GiB)$`)
	envName      = newForm(`^[A-Za-z_][A-Za-z0-9_]*$`)
	keyringForm  = newForm(`^.+/[^/]+$`)

	units = map[string]int64{"B": 1, "KB": 1e3, "KiB": 1 << 10, "MB": 1e6, "MiB": 1 << 20, "GB": 1e9, "GiB": 1 << 30}

	refNames = []string{"env", "file", "command", "keyring"}
)

const refHint = `keep it elsewhere and refer to it: { env = "NAME" }, { file = "..." }, { command = ["..."] } or { keyring = "service/account" }`

// wrong notes that a value does not fit its key, with an example that does.
func (d *decoder) wrong(k *key, path, problem string) {
	d.fault(path, problem, "for example "+k.line())
}

func asText(d *decoder, k *key, path string, raw any) (string, bool) {
	v, ok := raw.(string)
	if !ok {
		d.wrong(k, path, "must be a "+k.kind.name+" in quotes, not "+describe(raw))
	}
	return v, ok
}

func decodeText(d *decoder, k *key, path string, raw, into any) {
	if v, ok := asText(d, k, path, raw); ok && d.fits(k, path, v) {
		*into.(*string) = v
	}
}

// optionally makes a decoder of a T one of a *T, which is nil where nothing
// stands.
func optionally[T any](decode func(d *decoder, k *key, path string, raw, into any)) func(d *decoder, k *key, path string, raw, into any) {
	return func(d *decoder, k *key, path string, raw, into any) {
		v, before := new(T), len(d.faults)
		decode(d, k, path, raw, v)
		if len(d.faults) == before {
			*into.(**T) = v
		}
	}
}

func decodeLocation(d *decoder, k *key, path string, raw, into any) {
	v, ok := asText(d, k, path, raw)
	if !ok || !d.fits(k, path, v) {
		return
	}
	if v != "" && !slices.Contains(k.words, v) {
		v = d.local(path, v)
	}
	*into.(*string) = v
}

// fits checks one string against the rules of its key.
func (d *decoder) fits(k *key, path, v string) bool {
	switch {
	case strings.ContainsRune(v, 0):
		d.wrong(k, path, "contains a NUL character")
	case k.enum != nil && !slices.Contains(k.enum, v):
		hint := "one of " + strings.Join(k.enum, ", ")
		if meant := near.Name(v, k.enum); meant != "" {
			hint = "did you mean " + meant + "? " + hint
		}
		d.fault(path, "cannot be "+quote(v), hint)
	case k.pattern != nil && !k.pattern.MatchString(v):
		d.wrong(k, path, "must be "+k.expect)
	default:
		if k.check == nil {
			return true
		}
		problem, hint := k.check(v)
		if problem == "" {
			return true
		}
		d.fault(path, problem, hint)
	}
	return false
}

func decodeFlag(d *decoder, k *key, path string, raw, into any) {
	v, ok := raw.(bool)
	if !ok {
		d.wrong(k, path, "must be true or false without quotes, not "+describe(raw))
		return
	}
	*into.(*bool) = v
}

func decodeNumber(d *decoder, k *key, path string, raw, into any) {
	n, ok := raw.(int64)
	switch {
	case !ok:
		d.wrong(k, path, "must be a whole number without quotes, not "+describe(raw))
	case n < k.least || n > k.most:
		d.wrong(k, path, fmt.Sprintf("%d is out of range: from %d to %d", n, k.least, k.most))
	default:
		*into.(*int) = int(n)
	}
}

func decodeDuration(d *decoder, k *key, path string, raw, into any) {
	v, ok := raw.(string)
	if !ok {
		d.wrong(k, path, "must be a duration in quotes, not "+describe(raw))
		return
	}
	if t, ok := d.duration(k, path, v); ok {
		*into.(*time.Duration) = t
	}
}

func (d *decoder) duration(k *key, path, v string) (time.Duration, bool) {
	t, err := time.ParseDuration(v)
	switch {
	case !durationForm.MatchString(v) || err != nil:
		d.wrong(k, path, quote(v)+" is no duration: numbers with a unit of ms, s, m or h")
	case t < time.Duration(k.least) || t > time.Duration(k.most):
		d.wrong(k, path, fmt.Sprintf("%s is out of range: from %s to %s", quote(v), durationText(k.least), durationText(k.most)))
	default:
		return t, true
	}
	return 0, false
}

func decodeDeadline(d *decoder, k *key, path string, raw, into any) {
	v, ok := raw.(string)
	switch {
	case !ok:
		d.wrong(k, path, `must be "auto" or a duration in quotes, not `+describe(raw))
	case v == "auto":
		*into.(*Deadline) = Deadline{Auto: true}
	default:
		if t, ok := d.duration(k, path, v); ok {
			*into.(*Deadline) = Deadline{Limit: t}
		}
	}
}

func decodeSize(d *decoder, k *key, path string, raw, into any) {
	v, ok := raw.(string)
	if !ok {
		d.wrong(k, path, "must be a size in quotes, not "+describe(raw))
		return
	}
	if !sizeForm.MatchString(v) {
		d.wrong(k, path, quote(v)+" is no size: a whole number with a unit of B, KB, KiB, MB, MiB, GB or GiB")
		return
	}
	digits := strings.TrimRight(v, "BKMGi")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit := units[v[len(digits):]]
	if err != nil || n > math.MaxInt64/unit || n*unit < k.least || n*unit > k.most {
		d.wrong(k, path, fmt.Sprintf("%s is out of range: from %s to %s", quote(v), sizeText(k.least), sizeText(k.most)))
		return
	}
	*into.(*int64) = n * unit
}

// strings reads a list of strings that each fit the key.
func (d *decoder) strings(k *key, path string, raw any) ([]string, bool) {
	items, ok := raw.([]any)
	if !ok {
		d.wrong(k, path, "must be a list of strings, not "+describe(raw))
		return nil, false
	}
	out := make([]string, 0, len(items))
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", path, i)
		v, isText := item.(string)
		if !isText {
			d.wrong(k, at, "must be a string in quotes, not "+describe(item))
		}
		ok = isText && d.fits(k, at, v) && ok
		out = append(out, v)
	}
	return out, ok
}

func decodeList(d *decoder, k *key, path string, raw, into any) {
	if v, ok := d.strings(k, path, raw); ok {
		*into.(*[]string) = v
	}
}

func decodeSecret(d *decoder, k *key, path string, raw, into any) {
	if raw, ok := raw.(map[string]any); ok {
		*into.(**Ref) = d.ref(k, path, raw)
		return
	}
	if _, ok := raw.(string); ok {
		d.fault(path, "a secret must not stand in the configuration", refHint)
		return
	}
	d.wrong(k, path, "must be a secret reference, not "+describe(raw))
}

// ref reads a reference; it returns an empty one after a fault, so that the
// key does not count as missing too.
func (d *decoder) ref(k *key, path string, raw map[string]any) *Ref {
	r := &Ref{}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		at := join(path, name)
		if !slices.Contains(refNames, name) {
			d.unknown(at, name, refNames)
			continue
		}
		if name == "command" {
			argv, _ := d.strings(&key{name: name, kind: list, example: []any{"op", "read", "op://vault/item/field"}}, at, raw[name])
			r.Command = d.program(at, argv)
			continue
		}
		v, ok := raw[name].(string)
		switch {
		case !ok:
			d.wrong(k, at, "must be a string in quotes, not "+describe(raw[name]))
		case v == "" || strings.ContainsRune(v, 0):
			d.wrong(k, at, "must not be empty or contain a NUL character")
		case name == "env" && (!envName.MatchString(v) || secretValue(v)):
			d.fault(at, "must be the name of an environment variable, not a value", "letters, digits and _, e.g. CRM_TOKEN")
		case name == "env":
			r.Env = v
		case name == "file":
			r.File = d.local(at, v)
		case !keyringForm.MatchString(v):
			d.fault(at, "must name a service and an account", `for example { keyring = "bulkhead/crm" }`)
		default:
			r.Keyring = v
		}
	}
	if len(raw) != 1 {
		d.fault(path, "a secret reference has exactly one of "+strings.Join(refNames, ", "), refHint)
	}
	return r
}

func decodeEnv(d *decoder, k *key, path string, raw, into any) {
	values, ok := raw.(map[string]any)
	if !ok {
		d.wrong(k, path, "must be a table, not "+describe(raw))
		return
	}
	out := make(map[string]EnvValue, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		at := join(path, name)
		if !envName.MatchString(name) {
			d.fault(at, "is no name for an environment variable", "letters, digits and _, not beginning with a digit")
			continue
		}
		switch v := values[name].(type) {
		case map[string]any:
			out[name] = EnvValue{Ref: d.ref(k, at, v)}
		case string:
			switch {
			case secretLiteral(name, v):
				d.fault(at, "looks like a secret, which must not stand in the configuration", refHint)
			case strings.ContainsRune(v, 0):
				d.fault(at, "contains a NUL character", "remove it")
			}
			out[name] = EnvValue{Literal: v}
		default:
			d.wrong(k, at, "must be a string in quotes or a secret reference, not "+describe(v))
		}
	}
	*into.(*map[string]EnvValue) = out
}

func durationText(n int64) string {
	s := time.Duration(n).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

func sizeText(n int64) string {
	for _, u := range []string{"GiB", "MiB", "KiB"} {
		if n >= units[u] && n%units[u] == 0 {
			return fmt.Sprintf("%d%s", n/units[u], u)
		}
	}
	return fmt.Sprintf("%dB", n)
}
