package demo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/demo"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// asked are the sources in the order of the calls.
var asked = []string{"crm", "warehouse", "tickets", "tickets"}

// latency is different for each source and adds up to 1.3 s.
var latency = map[string]time.Duration{
	"crm": 200 * time.Millisecond, "warehouse": 500 * time.Millisecond, "tickets": 300 * time.Millisecond,
}

// overSandbox calls the real sandbox adapters, as the wiring does through the
// pipeline.
func overSandbox(t *testing.T) demo.Caller {
	t.Helper()
	sources := map[string]upstream.Adapter{}
	for _, name := range sandbox.Names() {
		a, err := sandbox.New(name, sandbox.Options{Latency: latency[name]})
		if err != nil {
			t.Fatal(err)
		}
		sources[name] = a
	}
	return func(ctx context.Context, tool string, arguments any) (json.RawMessage, error) {
		source, name, _ := strings.Cut(tool, "_")
		raw, err := json.Marshal(arguments)
		if err != nil {
			return nil, err
		}
		res, err := sources[source].Call(ctx, &upstream.Call{Op: upstream.CallTool, Name: name, Tool: &upstream.Tool{Name: name}, Principal: upstream.Local(), Arguments: raw})
		if err != nil {
			return nil, err
		}
		if name == "find_customers" { // which a REST service answers in pages of records
			return bytes.ReplaceAll(res.Raw, []byte(`"customers":[`), []byte(`"records":[`)), nil
		}
		if name == "recent_orders" { // which a database answers as a table
			return asTable(t, res), nil
		}
		return res.Raw, nil
	}
}

// asTable makes a table of orders of the sample's answer.
func asTable(t *testing.T, res *upstream.Result) json.RawMessage {
	t.Helper()
	raw, _ := res.Get("structuredContent")
	var in struct {
		Found    int
		Currency string
		Orders   []map[string]any
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		t.Error(err)
	}
	names := []string{"found", "summary", "total", "status", "placed_at", "order_id", "currency"}
	var columns []map[string]string
	for _, n := range names {
		columns = append(columns, map[string]string{"name": n, "type": "any"})
	}
	rows := [][]any{}
	for _, o := range in.Orders {
		o["found"], o["currency"] = in.Found, in.Currency
		var row []any
		for _, n := range names {
			row = append(row, o[n])
		}
		rows = append(rows, row)
	}
	out, err := json.Marshal(map[string]any{"structuredContent": map[string]any{"columns": columns, "rows": rows}})
	if err != nil {
		t.Error(err)
	}
	return out
}

// TestRun holds the whole point, exactly, in virtual time: one by one takes the
// sum and at once takes the slowest, and finding the customer is in neither.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call := overSandbox(t)
		began := time.Now()
		r, err := demo.Run(t.Context(), call, demo.Options{})
		if err != nil {
			t.Fatal(err)
		}
		const sum, slowest = 1300 * time.Millisecond, 500 * time.Millisecond
		if d := time.Since(began); d != latency["crm"]+sum+slowest {
			t.Errorf("all took %s", d)
		}
		if p := r.Serial; p.Wall != sum || p.Sum != sum || p.Slowest != slowest {
			t.Errorf("one by one: %+v", p)
		}
		if p := r.Parallel; p.Wall != slowest || p.Sum != sum || p.Slowest != slowest {
			t.Errorf("at once: %+v", p)
		}
		checkSpans(t, r)
		if r.Failed() || r.Speedup() != 2.6 {
			t.Errorf("failed %t, speedup %f", r.Failed(), r.Speedup())
		}
		if r.Customer != demo.DefaultCustomer || r.CustomerID != "C-1001" || !strings.Contains(r.Question, r.Customer) {
			t.Errorf("asked %q about %s %s", r.Question, r.CustomerID, r.Customer)
		}
		a := r.Answer
		if a.Record == nil || a.Record.Name != r.Customer || a.Record.MRR == "" || a.Record.Owner == "" {
			t.Errorf("record: %+v", a.Record)
		}
		if a.Orders == nil || len(a.Orders.Latest) != 3 || a.Orders.Found < 3 || a.Orders.Latest[0].Total == "" {
			t.Errorf("orders: %+v", a.Orders)
		}
		if a.Tickets == nil || a.Tickets.Open < 3 || a.Tickets.Ever <= a.Tickets.Open || len(a.Tickets.List) != a.Tickets.Open || a.Tickets.List[0].AgeDays == 0 {
			t.Errorf("tickets: %+v", a.Tickets)
		}
	})
}

func checkSpans(t *testing.T, r *demo.Report) {
	t.Helper()
	var clock time.Duration
	for i, source := range asked {
		s, p := r.Serial.Calls[i], r.Parallel.Calls[i]
		if s.Source != source || s.Start != clock || s.Duration() != latency[source] || s.Bytes == 0 {
			t.Errorf("one by one: %+v", s)
		}
		if p.Source != source || p.Start != 0 || p.End != latency[source] || p.Bytes != s.Bytes {
			t.Errorf("at once: %+v", p)
		}
		clock = s.End
	}
}

// TestRunCalls holds the names and arguments that the wiring has to serve.
func TestRunCalls(t *testing.T) {
	var calls []string
	synctest.Test(t, func(t *testing.T) {
		inner := overSandbox(t)
		var mu sync.Mutex
		call := func(ctx context.Context, tool string, arguments any) (json.RawMessage, error) {
			raw, _ := json.Marshal(arguments)
			mu.Lock()
			calls = append(calls, tool+string(raw))
			mu.Unlock()
			return inner(ctx, tool, arguments)
		}
		if _, err := demo.Run(t.Context(), call, demo.Options{Customer: "brellock"}); err != nil {
			t.Fatal(err)
		}
	})
	want := []string{
		`crm_find_customers{"limit":5,"query":"brellock"}`,
		`crm_get_customer{"customer_id":"C-1004"}`, `warehouse_recent_orders{"customer_id":"C-1004"}`, `tickets_open_tickets{"customer_id":"C-1004"}`,
		`tickets_search_tickets{"query":"Brellock Textiles"}`,
	}
	slices.Sort(calls[5:])
	wantAll := slices.Concat(want, []string{want[1], want[3], want[4], want[2]})
	if !slices.Equal(calls, wantAll) {
		t.Errorf("got  %q\nwant %q", calls, wantAll)
	}
}

func TestRunCustomerNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := demo.Run(t.Context(), overSandbox(t), demo.Options{Customer: "Tarnvik Freigt"})
		if err == nil || !strings.Contains(err.Error(), `no customer matches "Tarnvik Freigt"; try a part of the name`) {
			t.Errorf("%v", err)
		}
	})
}

func TestRunFindFails(t *testing.T) {
	down := errors.New("unavailable: crm: connection refused")
	tests := map[string]struct {
		raw  string
		err  error
		want string
	}{
		"error":        {err: down, want: down.Error()},
		"isError":      {raw: `{"isError":true,"content":[{"type":"text","text":"needs_login: crm: sign in"}]}`, want: "needs_login: crm: sign in"},
		"silent":       {raw: `{"isError":true}`, want: "gave no reason"},
		"unstructured": {raw: `{"content":[{"type":"text","text":"hello"}]}`, want: "no structured content"},
		"garbage":      {raw: `<html>`, want: "cannot be read"},
		"other shape":  {raw: `{"structuredContent":{"records":"none"}}`, want: "reading the answer of crm_find_customers"},
		"nobody":       {raw: `{"structuredContent":{"records":[]}}`, want: `no customer matches "x"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			calls := 0
			_, err := demo.Run(t.Context(), func(context.Context, string, any) (json.RawMessage, error) {
				calls++
				return json.RawMessage(tt.raw), tt.err
			}, demo.Options{Customer: "x"})
			if err == nil || !strings.Contains(err.Error(), tt.want) || calls != 1 {
				t.Errorf("%v after %d calls; want %q", err, calls, tt.want)
			}
		})
	}
}

// failing makes one tool fail in the given passes: 1, 2 or both.
func failing(call demo.Caller, tool string, passes ...int) demo.Caller {
	var mu sync.Mutex
	n := 0
	return func(ctx context.Context, name string, arguments any) (json.RawMessage, error) {
		if name != tool {
			return call(ctx, name, arguments)
		}
		mu.Lock()
		n++
		pass := n
		mu.Unlock()
		time.Sleep(50 * time.Millisecond)
		if slices.Contains(passes, pass) {
			return nil, fmt.Errorf("timeout: %s: no answer", strings.Split(name, "_")[0])
		}
		return call(ctx, name, arguments)
	}
}

func TestRunWithAFailingSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := demo.Run(t.Context(), failing(overSandbox(t), "warehouse_recent_orders", 1, 2), demo.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []demo.Pass{r.Serial, r.Parallel} {
			if p.Calls[0].Error != "" || p.Calls[1].Error != "timeout: warehouse: no answer" || p.Calls[2].Error != "" {
				t.Errorf("%+v", p)
			}
		}
		if !r.Failed() || r.Answer.Orders != nil || r.Answer.Record == nil || r.Answer.Tickets == nil {
			t.Errorf("failed %t, answer %+v", r.Failed(), r.Answer)
		}
		// One that failed only at once has answered before.
		r, err = demo.Run(t.Context(), failing(overSandbox(t), "tickets_open_tickets", 2), demo.Options{})
		if err != nil || !r.Failed() || r.Answer.Tickets == nil || r.Parallel.Calls[2].Error == "" {
			t.Errorf("%v, %+v", err, r)
		}
	})
}

// TestRunWithTokens holds that the calls at once begin when the token has ended,
// that nobody measures the wait, and that the tokens of each pass are told.
func TestRunWithTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, began := overSandbox(t), time.Now()
		var mu sync.Mutex
		var expiry time.Time
		issued := 7 // before anybody asked
		call := func(ctx context.Context, tool string, arguments any) (json.RawMessage, error) {
			mu.Lock()
			if strings.HasPrefix(tool, "tickets_") && !time.Now().Before(expiry) {
				issued++
				expiry = time.Now().Add(time.Second)
			}
			mu.Unlock()
			return inner(ctx, tool, arguments)
		}
		signIn := &demo.SignIn{Source: "tickets", Issued: func() int { return issued }, Ended: func(context.Context) error {
			time.Sleep(time.Until(expiry))
			return nil
		}}
		r, err := demo.Run(t.Context(), call, demo.Options{SignIn: signIn})
		if err != nil {
			t.Fatal(err)
		}
		if r.TokensOf != "tickets" || r.Serial.Tokens != 1 || r.Parallel.Tokens != 1 {
			t.Errorf("%+v", r)
		}
		if r.Serial.Wall != 1300*time.Millisecond || r.Parallel.Wall != 500*time.Millisecond {
			t.Errorf("the wait for the token is in the passes: %s, %s", r.Serial.Wall, r.Parallel.Wall)
		}
		const tokenBegins = 200*time.Millisecond + 700*time.Millisecond
		if d := time.Since(began); d != tokenBegins+time.Second+500*time.Millisecond {
			t.Errorf("all took %s", d)
		}
	})
}

func TestRunStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 1300*time.Millisecond) // within the second pass
		defer cancel()
		if _, err := demo.Run(ctx, overSandbox(t), demo.Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if d := time.Since(began); d != 1300*time.Millisecond {
			t.Errorf("stopped after %s", d)
		}
	})
}
