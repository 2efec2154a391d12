package config_test

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse reads a document as if it stood in /etc/bulkhead/config.toml.
func parse(doc string, environ ...string) (*config.Config, error) {
	return config.Parse([]byte(doc), "/etc/bulkhead/config.toml", append([]string{"HOME=/home/u"}, environ...))
}

func mustParse(t *testing.T, doc string, environ ...string) *config.Config {
	t.Helper()
	cfg, err := parse(doc, environ...)
	if err != nil {
		t.Fatalf("%s\nin\n%s", err, doc)
	}
	return cfg
}

// faultsOf returns the faults of a document that must have some.
func faultsOf(t *testing.T, doc string, environ ...string) config.Faults {
	t.Helper()
	cfg, err := parse(doc, environ...)
	faults, ok := errors.AsType[config.Faults](err)
	if !ok || len(faults) == 0 || cfg != nil {
		t.Fatalf("config %v, error %v; want faults of\n%s", cfg, err, doc)
	}
	return faults
}

// upstream is a document with one upstream that has these lines.
func upstream(lines ...string) string {
	return "[upstream.crm]\n" + strings.Join(lines, "\n") + "\n"
}
