package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

func TestTools(t *testing.T) {
	want := map[string]string{
		"crm":       "find_customers get_customer list_contacts add_note*",
		"warehouse": "recent_orders get_order revenue_by_month top_customers",
		"tickets":   "open_tickets search_tickets get_ticket create_ticket* add_comment*",
	}
	if len(want) != len(sandbox.Names()) {
		t.Fatalf("names: %v", sandbox.Names())
	}
	for _, name := range sandbox.Names() {
		tools, err := open(t, name).Tools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, tool := range tools {
			mark := "*" // writes
			if tool.Hints.ReadOnly {
				mark = ""
			}
			got = append(got, tool.Name+mark)
			checkTool(t, upstream.ID(name), tool)
		}
		if diff := cmp.Diff(want[name], strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// checkTool holds what a model needs of a definition: text, hints that are all
// stated, and a strict schema whose every property says what it wants.
func checkTool(t *testing.T, id upstream.ID, tool upstream.Tool) {
	t.Helper()
	var def struct {
		Title, Description string
		InputSchema        struct {
			Type                 string
			AdditionalProperties *bool
			Required             []string
			Properties           map[string]struct {
				Type, Description  string
				Enum               []string
				MinLength, Minimum int
				MaxLength, Maximum int
			}
		}
		Annotations map[string]bool
	}
	if err := json.Unmarshal(tool.Raw, &def); err != nil {
		t.Fatal(err)
	}
	if tool.Upstream != id || def.Title == "" || len(def.Description) < 40 || len(def.Description) > 300 {
		t.Errorf("%s: poor definition: %s", tool.Name, tool.Raw)
	}
	if len(def.Annotations) != 4 || !tool.HasHints || tool.Hints.Destructive {
		t.Errorf("%s: hints %v", tool.Name, def.Annotations)
	}
	s := def.InputSchema
	if s.AdditionalProperties == nil || *s.AdditionalProperties {
		t.Errorf("%s: additional properties are not refused", tool.Name)
	}
	for name, p := range s.Properties {
		bounded := len(p.Enum) > 1 || (p.MinLength == 1 && p.MaxLength > 1) || (p.Minimum == 1 && p.Maximum > 1)
		if p.Description == "" || !bounded || p.Type == "" {
			t.Errorf("%s.%s: %+v", tool.Name, name, p)
		}
	}
	for _, r := range s.Required {
		if _, ok := s.Properties[r]; !ok {
			t.Errorf("%s requires %s, which it does not describe", tool.Name, r)
		}
	}
}

// TestSchemaAgreesWithChecks sends the same arguments to the published schema
// and to the tool: one must not refuse what the other accepts.
func TestSchemaAgreesWithChecks(t *testing.T) {
	samples := []string{
		`{}`, `[]`, `null`, `"x"`, `{"customer_id":"C-1001"}`, `{"customer_id":""}`, `{"customer_id":7}`, `{"customer_id":null}`,
		`{"customer_id":"C-1001","limit":1}`, `{"customer_id":"C-1001","limit":50}`, `{"customer_id":"C-1001","limit":51}`,
		`{"customer_id":"C-1001","limit":0}`, `{"customer_id":"C-1001","limit":-1}`, `{"customer_id":"C-1001","limit":2.0}`,
		`{"customer_id":"C-1001","limit":2.5}`, `{"customer_id":"C-1001","limit":1e999}`, `{"customer_id":"C-1001","limit":"3"}`,
		`{"customer_id":"C-1001","limit":null}`, `{"customer_id":"C-1001","status":"shipped"}`, `{"customer_id":"C-1001","status":"lost"}`,
		`{"query":"a"}`, `{"query":"a","segment":"enterprise"}`, `{"query":"a","segment":"Enterprise"}`, `{"query":"a","Query":"b"}`,
		`{"query":"` + strings.Repeat("é", 100) + `"}`, `{"query":"` + strings.Repeat("é", 101) + `"}`,
		`{"query":"a","status":"open","priority":"high","limit":3}`, `{"query":"a","priority":["high"]}`,
		`{"order_id":"O-100001"}`, `{"ticket_id":"T-20001"}`, `{"ticket_id":"T-20001","text":"x"}`, `{"ticket_id":"T-20001","text":{}}`,
		`{"months":12}`, `{"months":13}`, `{"customer_id":"C-1001","months":3}`, `{"limit":5}`,
		`{"customer_id":"C-1001","text":"x"}`, `{"customer_id":"C-1001","subject":"x","body":"y","priority":"low"}`, `{"customer_id":"C-1001","subject":"x","body":""}`,
	}
	for _, name := range sandbox.Names() {
		a := open(t, name)
		tools, err := a.Tools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range tools {
			raw, _ := rawjson.Get(tool.Raw, "inputSchema")
			schema := compile(t, raw)
			for _, s := range samples {
				v, err := jsonschema.UnmarshalJSON(strings.NewReader(s))
				if err != nil {
					t.Fatal(err)
				}
				valid := schema.Validate(v) == nil
				_, err = call(t.Context(), a, tool.Name, s)
				if accepted := err == nil; valid != accepted {
					t.Errorf("%s %.80s: schema says %t, the tool says %v", tool.Name, s, valid, err)
				}
			}
		}
	}
}

func compile(t *testing.T, raw []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("urn:tool", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:tool")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewRefuses(t *testing.T) {
	if _, err := sandbox.New("billing", sandbox.Options{}); err == nil || !strings.Contains(err.Error(), `"billing"`) || !strings.Contains(err.Error(), "crm, warehouse, tickets") {
		t.Errorf("unknown name: %v", err)
	}
	for _, opt := range []sandbox.Options{{Latency: -1}, {Jitter: -1}} {
		if _, err := sandbox.New("crm", opt); err == nil {
			t.Errorf("%+v is accepted", opt)
		}
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := sandbox.New("crm", sandbox.Options{Latency: 300 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := a.Tools(t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("listing: %v after %s", err, time.Since(began))
		}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := call(t.Context(), a, "get_customer", `{"customer_id":"C-1001"}`); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(began); d != 300*time.Millisecond {
			t.Errorf("50 calls at once took %s", d)
		}
		if e := fail(t, a, "get_customer", `{}`); e.Kind != upstream.InvalidArguments || time.Since(began) != 600*time.Millisecond {
			t.Errorf("%v after %s", e, time.Since(began))
		}
	})
}

func TestJitterStaysInItsBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := sandbox.New("crm", sandbox.Options{Latency: time.Second, Jitter: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[time.Duration]bool{}
		for range 50 {
			began := time.Now()
			get[found](t, a, "find_customers", `{"query":"a"}`)
			d := time.Since(began)
			if d < time.Second || d >= 2*time.Second {
				t.Errorf("a call took %s", d)
			}
			seen[d] = true
		}
		if len(seen) < 2 {
			t.Error("every call took the same time")
		}
	})
}

func TestCallEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := sandbox.New("crm", sandbox.Options{Latency: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = call(ctx, a, "add_note", `{"customer_id":"C-1001","text":"x"}`)
		if e := upstream.AsError("", "", err); e.Kind != upstream.Timeout || e.Sent || e.Tool != "add_note" {
			t.Errorf("deadline: %+v", e)
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		_, err = call(ctx, a, "get_customer", `{"customer_id":"C-1001"}`)
		if e := upstream.AsError("", "", err); e.Kind != upstream.Cancelled || e.Sent {
			t.Errorf("cancelled: %+v", e)
		}
		if _, err := a.Tools(ctx); upstream.AsError("", "", err).Kind != upstream.Cancelled {
			t.Errorf("listing: %v", err)
		}
		if r := get[record](t, a, "get_customer", `{"customer_id":"C-1001"}`); len(r.Notes) != 0 {
			t.Errorf("a write that was given up has happened: %v", r.Notes)
		}
	})
}

func TestCloseEndsWaitingCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := sandbox.New("tickets", sandbox.Options{Latency: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if e := fail(t, a, "get_ticket", `{"ticket_id":"T-20001"}`); e.Kind != upstream.Unavailable || e.Sent {
					t.Errorf("%+v", e)
				}
			})
		}
		synctest.Wait()
		for range 2 { // a second time is harmless
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		if e := fail(t, a, "get_ticket", `{"ticket_id":"T-20001"}`); e.Kind != upstream.Unavailable {
			t.Errorf("after Close: %+v", e)
		}
		if time.Since(began) != 0 {
			t.Errorf("took %s", time.Since(began))
		}
	})
}

func TestUnknownTool(t *testing.T) {
	a := open(t, "crm")
	if e := fail(t, a, "recent_orders", `{}`); e.Kind != upstream.NotFound || !strings.Contains(e.Public, "recent_orders") {
		t.Errorf("%+v", e)
	}
	_, err := a.Call(t.Context(), &upstream.Call{Op: upstream.GetTask})
	if e := upstream.AsError("", "", err); e.Kind != upstream.NotFound || e.Public == "" {
		t.Errorf("no tool: %+v", e)
	}
}

// TestConcurrentUse is for the race detector; every write must be kept.
func TestConcurrentUse(t *testing.T) {
	crm, desk := open(t, "crm"), open(t, "tickets")
	const n = 40
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			arg := fmt.Sprintf(`{"customer_id":"C-1001","text":"note %d"}`, i)
			get[any](t, crm, "add_note", arg)
			get[any](t, crm, "get_customer", `{"customer_id":"C-1001"}`)
			get[any](t, desk, "create_ticket", `{"customer_id":"C-1001","subject":"flood"}`)
			get[any](t, desk, "add_comment", `{"ticket_id":"T-20001","text":"flood"}`)
			get[any](t, desk, "open_tickets", `{"customer_id":"C-1001"}`)
			get[any](t, desk, "get_ticket", `{"ticket_id":"T-20001"}`)
		})
	}
	before := get[whole](t, open(t, "tickets"), "get_ticket", `{"ticket_id":"T-20001"}`)
	wg.Wait()
	if r := get[record](t, crm, "get_customer", `{"customer_id":"C-1001"}`); len(r.Notes) != n {
		t.Errorf("%d notes", len(r.Notes))
	}
	if l := get[ticketList](t, desk, "search_tickets", `{"query":"flood","status":"open"}`); l.Found < n {
		t.Errorf("%d tickets", l.Found)
	}
	after := get[whole](t, desk, "get_ticket", `{"ticket_id":"T-20001"}`)
	if got := len(after.Ticket.Comments) - len(before.Ticket.Comments); got != n {
		t.Errorf("%d comments", got)
	}
}
