package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a sandbox that answers at once.
func open(t *testing.T, name string) upstream.Adapter {
	t.Helper()
	a, err := sandbox.New(name, sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func call(ctx context.Context, a upstream.Adapter, tool, arguments string) (*upstream.Result, error) {
	return a.Call(ctx, &upstream.Call{
		Op:        upstream.CallTool,
		Name:      tool,
		Tool:      &upstream.Tool{Name: tool},
		Principal: upstream.Local(),
		Arguments: json.RawMessage(arguments),
		Timing:    &upstream.Timing{},
	})
}

// get makes a call that must succeed and returns its structured content, which
// must say the same as the text.
func get[T any](t *testing.T, a upstream.Adapter, tool, arguments string) T {
	t.Helper()
	res, err := call(t.Context(), a, tool, arguments)
	if err != nil {
		t.Fatalf("%s %s: %v", tool, arguments, err)
	}
	var env struct {
		Content    []struct{ Type, Text string } `json:"content"`
		Structured json.RawMessage               `json:"structuredContent"`
	}
	if err := json.Unmarshal(res.Raw, &env); err != nil || res.IsError {
		t.Fatalf("%s: %v, isError %t: %s", tool, err, res.IsError, res.Raw)
	}
	if len(env.Content) != 1 || env.Content[0].Text != string(env.Structured) {
		t.Errorf("%s: text and structured content differ: %s", tool, res.Raw)
	}
	var v T
	if err := json.Unmarshal(env.Structured, &v); err != nil {
		t.Fatalf("%s: %v: %s", tool, err, env.Structured)
	}
	return v
}

// fail makes a call that must fail and returns its error.
func fail(t *testing.T, a upstream.Adapter, tool, arguments string) *upstream.Error {
	t.Helper()
	res, err := call(t.Context(), a, tool, arguments)
	e, ok := errors.AsType[*upstream.Error](err)
	if !ok {
		t.Fatalf("%s %s: %v, %v; want an *upstream.Error", tool, arguments, res, err)
	}
	if e.Upstream == "" || e.Tool != tool || e.Public == "" {
		t.Errorf("%s: the error lacks source, tool or text: %+v", tool, e)
	}
	return e
}

// The parts of the results that the tests look at.
type (
	customer struct {
		ID      string      `json:"customer_id"`
		Name    string      `json:"name"`
		Segment string      `json:"segment"`
		Owner   string      `json:"owner"`
		MRR     json.Number `json:"mrr"`
	}
	found struct {
		Found     int        `json:"found"`
		Customers []customer `json:"customers"`
		Nearest   []string   `json:"did_you_mean"`
	}
	note struct {
		Author string `json:"author"`
		Text   string `json:"text"`
	}
	record struct {
		Customer customer `json:"customer"`
		Notes    []note   `json:"notes"`
		AsOf     string   `json:"as_of"`
	}
	order struct {
		ID         string      `json:"order_id"`
		CustomerID string      `json:"customer_id"`
		Placed     time.Time   `json:"placed_at"`
		Status     string      `json:"status"`
		Total      json.Number `json:"total"`
		Items      []any       `json:"items"`
	}
	orders struct {
		Name   string  `json:"customer_name"`
		Found  int     `json:"found"`
		Orders []order `json:"orders"`
	}
	ticket struct {
		ID         string    `json:"ticket_id"`
		CustomerID string    `json:"customer_id"`
		Subject    string    `json:"subject"`
		Body       string    `json:"body"`
		Priority   string    `json:"priority"`
		Status     string    `json:"status"`
		Requester  string    `json:"requester"`
		AgeDays    int       `json:"age_days"`
		Opened     time.Time `json:"opened_at"`
	}
	ticketList struct {
		Open    int      `json:"open"`
		Found   int      `json:"found"`
		Tickets []ticket `json:"tickets"`
	}
	whole struct {
		Name   string `json:"customer_name"`
		Ticket struct {
			ticket
			Comments []note `json:"comments"`
		} `json:"ticket"`
	}
)
