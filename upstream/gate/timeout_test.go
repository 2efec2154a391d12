package gate_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/gate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func call() *upstream.Call {
	return &upstream.Call{Op: upstream.CallTool, Upstream: "crm", Name: "get", Tool: &upstream.Tool{Upstream: "crm", Name: "get"}, Timing: &upstream.Timing{}}
}

func hang(ctx context.Context, _ *upstream.Call) (*upstream.Result, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestTimeoutEndsTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := gate.Timeout(3*time.Second)(hang)(t.Context(), call())
		var e *upstream.Error
		if !errors.As(err, &e) || e.Kind != upstream.Timeout || e.Public != "no answer within 3s" || e.Upstream != "crm" {
			t.Errorf("%+v", e)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("after %s", took)
		}
	})
}

func TestTimeoutLeavesOtherEndingsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := gate.Timeout(3 * time.Second)(hang)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h(ctx, call()); err != context.DeadlineExceeded { //nolint:errorlint // the very same error
			t.Errorf("the caller's own deadline became %v", err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h(gone, call()); err != context.Canceled { //nolint:errorlint // the very same error
			t.Errorf("the caller's leaving became %v", err)
		}
	})
}

func TestNoTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := gate.Timeout(0)(func(ctx context.Context, _ *upstream.Call) (*upstream.Result, error) {
			if _, ok := ctx.Deadline(); ok {
				t.Error("there is a deadline")
			}
			return upstream.TextResult("ok", false), nil
		})
		if _, err := h(t.Context(), call()); err != nil {
			t.Error(err)
		}
	})
}
