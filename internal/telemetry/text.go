package telemetry

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// textHandler writes what [slog.TextHandler] writes, which it leaves everything
// to but the plain lines: each call makes one, and they cost more than reading
// its message does.
type textHandler struct {
	slog.Handler // shares out
	out          *lineWriter
}

func newTextHandler(w io.Writer, opt *slog.HandlerOptions) textHandler {
	out := &lineWriter{w: w}
	return textHandler{slog.NewTextHandler(out, opt), out}
}

// lineWriter writes one line at a time.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// lines are buffers of the usual length.
var lines = sync.Pool{New: func() any { return new(make([]byte, 0, 512)) }}

func (h textHandler) Handle(ctx context.Context, r slog.Record) error {
	buf := lines.Get().(*[]byte)
	defer lines.Put(buf)
	b := append((*buf)[:0], "time="...)
	b = appendTime(b, r.Time)
	b = append(append(b, " level="...), r.Level.String()...)
	b = appendText(append(b, " msg="...), r.Message)
	plain := !r.Time.IsZero()
	r.Attrs(func(a slog.Attr) bool {
		b = appendText(append(b, ' '), a.Key)
		b, plain = appendValue(append(b, '='), a, plain)
		return plain
	})
	if !plain {
		return h.Handler.Handle(ctx, r)
	}
	b = append(b, '\n')
	if cap(b) <= maxValue {
		*buf = b
	}
	_, err := h.out.Write(b)
	return err
}

// appendValue appends the value of an attribute; plain becomes false if it is of
// a kind that is left to [slog.TextHandler].
func appendValue(b []byte, a slog.Attr, plain bool) ([]byte, bool) {
	if secretKey(a.Key) {
		return append(b, redacted...), plain
	}
	switch v := a.Value; v.Kind() {
	case slog.KindString:
		return appendText(b, v.String()), plain
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10), plain
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10), plain
	case slog.KindFloat64:
		return strconv.AppendFloat(b, v.Float64(), 'g', -1, 64), plain
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool()), plain
	case slog.KindDuration:
		return append(b, v.Duration().String()...), plain
	}
	return b, false
}

func appendText(b []byte, s string) []byte {
	if isWord(s) {
		return append(b, s...)
	}
	if s = clean(s); needsQuotes(s) {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}

// isWord reports whether s can be written as it is, as nearly every text can.
func isWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '=' {
			return false
		}
	}
	return s != "" && len(s) <= maxValue
}

func needsQuotes(s string) bool {
	for _, r := range s {
		if r == ' ' || r == '"' || r == '=' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return true
		}
	}
	return s == ""
}

// appendTime appends a time in milliseconds (RFC 3339).
func appendTime(b []byte, t time.Time) []byte {
	return t.AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
}
