package telemetry_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

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

func TestBadSettings(t *testing.T) {
	if _, err := telemetry.NewLogger(&bytes.Buffer{}, "loud", "text"); err == nil || !strings.Contains(err.Error(), `"loud": use debug`) {
		t.Error(err)
	}
	if _, err := telemetry.NewLogger(&bytes.Buffer{}, "info", "xml"); err == nil || !strings.Contains(err.Error(), `"xml": use text or json`) {
		t.Error(err)
	}
}
