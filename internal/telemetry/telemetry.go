// Package telemetry makes the logger that everything else is handed.
//
// It owns how a log line looks and what may never be in one: attributes whose
// name says that they hold a credential are blanked, values are bounded, and
// control characters cannot forge a line or drive a terminal. It must not know
// who logs what.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"
)

const redacted = "[redacted]"

// maxValue is the longest value of one attribute, in bytes.
const maxValue = 16 << 10

// secretKeys are the attribute names, in lower case without separators, whose
// values are never written.
var secretKeys = map[string]bool{
	"authorization": true, "proxyauthorization": true, "cookie": true, "setcookie": true, "token": true,
	"accesstoken": true, "refreshtoken": true, "idtoken": true, "secret": true, "clientsecret": true,
	"password": true, "passwd": true, "apikey": true, "privatekey": true, "credential": true, "sessionid": true,
}

// secretKey looks a name up, whatever its case and separators. It runs for each
// attribute of each line, so it allocates nothing.
func secretKey(key string) bool {
	var folded [24]byte // longer than the longest
	n := 0
	for i := range len(key) {
		c := key[i]
		if c == '-' || c == '_' || c == '.' {
			continue
		}
		if n == len(folded) {
			return false
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		folded[n] = c
		n++
	}
	return secretKeys[string(folded[:n])]
}

// NewLogger returns a logger that writes to w. level is debug, info, warn or
// error; format is text or json.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: use debug, info, warn or error", level)
	}
	opt := &slog.HandlerOptions{Level: l, ReplaceAttr: replace}
	switch format {
	case "text":
		return slog.New(newTextHandler(w, opt)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opt)), nil
	}
	return nil, fmt.Errorf("log format %q: use text or json", format)
}

func replace(_ []string, a slog.Attr) slog.Attr {
	if secretKey(a.Key) {
		return slog.String(a.Key, redacted)
	}
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(clean(v.String()))
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			a.Value = slog.StringValue(clean(err.Error()))
		}
	}
	return a
}

// clean bounds a value and escapes what could drive a terminal. Line breaks
// stay: both formats quote them.
func clean(s string) string {
	cut := len(s) > maxValue
	if cut {
		s = strings.ToValidUTF8(s[:maxValue], "")
	}
	if strings.IndexFunc(s, unsafe) >= 0 {
		var b strings.Builder
		for _, r := range s {
			if unsafe(r) {
				fmt.Fprintf(&b, `\u%04x`, r)
			} else {
				b.WriteRune(r)
			}
		}
		s = b.String()
	}
	if cut {
		s += "…"
	}
	return s
}

func unsafe(r rune) bool {
	return r != '\n' && r != '\t' && r != '\r' && !unicode.IsPrint(r) && r != ' '
}
