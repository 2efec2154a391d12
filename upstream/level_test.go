package upstream_test

import (
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestLevelsHaveAnOrder(t *testing.T) {
	for i, level := range append([]string{""}, upstream.Levels()...) {
		if got := upstream.Severity(level); got != i {
			t.Errorf("the severity of %q is %d, want %d", level, got, i)
		}
	}
	if upstream.Severity("debug") != 1 || upstream.Severity("emergency") != 8 || upstream.Severity("DEBUG") != 0 {
		t.Error("wrong levels")
	}
}
