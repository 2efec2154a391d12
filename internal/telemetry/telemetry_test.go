package telemetry_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLogLines(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			var out bytes.Buffer
			log, err := telemetry.NewLogger(&out, "info", format)
			if err != nil {
				t.Fatal(err)
			}
			log.Debug("below the level")
			log.With("Client-Secret", "canary1").WithGroup("g").Info("hello",
				"authorization", "Bearer canary2", "refresh_token", []byte("canary3"),
				"text", "a\x1b[31mred\u202e\nnext", "error", errors.New("bad \x07 bell"), "long", strings.Repeat("x", 20<<10))
			s := out.String()
			if strings.Contains(s, "canary") || strings.Count(s, "[redacted]") != 3 {
				t.Errorf("secrets: %.400s", s)
			}
			if strings.ContainsAny(s, "\x1b\u202e\x07") || strings.Count(s, "\n") != 1 {
				t.Errorf("control characters: %q", s[:min(len(s), 400)])
			}
			if len(s) > 17<<10 || !strings.Contains(s, "x…") {
				t.Errorf("%d bytes", len(s))
			}
		})
	}
}

// The lines that are written without slog's help are those it would write.
func TestPlainLinesAreSlogs(t *testing.T) {
	var got, want bytes.Buffer
	ours, err := telemetry.NewLogger(&got, "debug", "text")
	if err != nil {
		t.Fatal(err)
	}
	theirs := slog.New(slog.NewTextHandler(&want, &slog.HandlerOptions{Level: slog.LevelDebug}))
	at := time.Date(2026, 11, 23, 1, 2, 3, 45_678_901, time.UTC)
	for _, attrs := range [][]slog.Attr{
		{slog.String("upstream", "crm"), slog.Int("bytes", -12), slog.Float64("total_ms", 0.125), slog.Bool("ok", true)},
		{slog.String("empty", ""), slog.String("odd key", `a "quoted" b`), slog.String("eq", "a=b"), slog.String("path", `c:\x`)},
		{slog.String("break", "a\nb"), slog.String("wide", "größe"), slog.String("space", "\u00e9 \u4e16"), slog.Uint64("u", 1<<63)},
		{slog.Float64("small", 1e-9), slog.Float64("large", 1e30), slog.Duration("took", 1500*time.Millisecond), slog.String("long", strings.Repeat("y", 2000))},
		{slog.Any("error", errors.New("refused: no")), slog.Time("t", at), slog.Group("g", slog.Int("n", 1)), slog.Any("list", []string{"a"})},
		nil,
	} {
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn + 1, slog.LevelError} {
			for _, msg := range []string{"call", "two words", ""} {
				r := slog.NewRecord(at, level, msg, 0)
				r.AddAttrs(attrs...)
				if err := errors.Join(ours.Handler().Handle(t.Context(), r), theirs.Handler().Handle(t.Context(), r)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if got.String() != want.String() {
		t.Errorf("got\n%s\nwant\n%s", &got, &want)
	}
}

func TestPlainLineKeepsSecrets(t *testing.T) {
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, "info", "text")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("a\x1bb", "api_key", "canary", "Password", 7, "text", "red\x1b[31m\u202e", "long", strings.Repeat("x", 20<<10))
	s := out.String()
	if strings.Contains(s, "canary") || strings.Contains(s, "=7") || strings.Count(s, "[redacted]") != 2 {
		t.Errorf("secrets: %.400s", s)
	}
	if strings.ContainsAny(s, "\x1b\u202e") || len(s) > 17<<10 {
		t.Errorf("%d bytes: %.400q", len(s), s)
	}
}

func BenchmarkLine(b *testing.B) {
	log, err := telemetry.NewLogger(io.Discard, "info", "text")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		log.LogAttrs(b.Context(), slog.LevelInfo, "call", slog.String("call", "1a"), slog.String("upstream", "crm"),
			slog.String("tool", "find"), slog.String("client", "host"), slog.String("outcome", "ok"),
			slog.Int("bytes", 120), slog.Float64("total_ms", 1.25), slog.Int("attempts", 1))
	}
}

func TestBadSettings(t *testing.T) {
	if _, err := telemetry.NewLogger(&bytes.Buffer{}, "loud", "text"); err == nil || !strings.Contains(err.Error(), `"loud": use debug`) {
		t.Error(err)
	}
	if _, err := telemetry.NewLogger(&bytes.Buffer{}, "info", "xml"); err == nil || !strings.Contains(err.Error(), `"xml": use text or json`) {
		t.Error(err)
	}
}
