package metrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/metrics"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// page is what was written: values by the name of the sample with its labels.
type page map[string]string

// written reads the text, and fails on anything that the format does not allow
// (https://prometheus.io/docs/instrumenting/exposition_formats/, text format).
func written(t *testing.T, m *metrics.Metrics, now metrics.Now) (page, string) {
	t.Helper()
	if now.Definitions == nil {
		now.Definitions = func(func(upstream.ID, json.RawMessage) bool) {}
	}
	var b strings.Builder
	if err := m.Write(&b, now); err != nil {
		t.Fatal(err)
	}
	p := page{}
	family, seen := "", map[string]bool{}
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			family, _, _ = strings.Cut(rest, " ")
			if seen[family] {
				t.Errorf("%s stands there twice", family)
			}
			seen[family] = true
			continue
		}
		if strings.HasPrefix(line, "# TYPE ") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		name := line[:i]
		bare, _, _ := strings.Cut(name, "{")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			bare = strings.TrimSuffix(bare, suffix)
		}
		if bare != family && !strings.HasPrefix(name, family) {
			t.Errorf("%s stands in the family %s", name, family)
		}
		if _, twice := p[name]; twice {
			t.Errorf("%s stands there twice", name)
		}
		p[name] = line[i+1:]
	}
	return p, b.String()
}

func (p page) holds(t *testing.T, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if p[name] != value {
			t.Errorf("%s is %q, not %q", name, p[name], value)
		}
	}
}

func ended(m *metrics.Metrics, id upstream.ID, code string, took time.Duration, timing upstream.Timing, result string) {
	o := aggregate.Outcome{Code: code, Took: took}
	if result != "" {
		o.Result = &upstream.Result{Raw: json.RawMessage(result)}
	}
	m.Called(&upstream.Call{Op: upstream.CallTool, Upstream: id, Name: "x", Timing: &timing}, o)
}

func TestCalls(t *testing.T) {
	m := metrics.New("v1")
	ended(m, "crm", "ok", 30*time.Millisecond, upstream.Timing{Attempts: 1, Upstream: 20 * time.Millisecond, Queued: 10 * time.Millisecond}, `{"a":1}`)
	ended(m, "crm", "ok", 50*time.Millisecond, upstream.Timing{Attempts: 4, Upstream: 40 * time.Millisecond, Hedged: true}, `{"a":1}`)
	ended(m, "crm", "timeout", time.Hour, upstream.Timing{Attempts: 1}, "")
	ended(m, "crm", "ok", 0, upstream.Timing{Memory: "stale"}, `{"a":1}`)
	ended(m, "", "tool_error", 0, upstream.Timing{}, `{}`)
	p, _ := written(t, m, metrics.Now{})
	p.holds(t, map[string]string{
		`bulkhead_build_info{version="v1"}`:                                                                                        "1",
		`bulkhead_calls_total{upstream="crm",mcp_method_name="tools/call",code="ok"}`:                                              "3",
		`bulkhead_calls_total{upstream="crm",mcp_method_name="tools/call",code="timeout"}`:                                         "1",
		`bulkhead_calls_total{upstream="_own",mcp_method_name="tools/call",code="tool_error"}`:                                     "1",
		`mcp_server_operation_duration_seconds_bucket{upstream="crm",mcp_method_name="tools/call",error_type="",le="0.01"}`:        "1",
		`mcp_server_operation_duration_seconds_bucket{upstream="crm",mcp_method_name="tools/call",error_type="",le="0.02"}`:        "1",
		`mcp_server_operation_duration_seconds_bucket{upstream="crm",mcp_method_name="tools/call",error_type="",le="0.05"}`:        "3",
		`mcp_server_operation_duration_seconds_sum{upstream="crm",mcp_method_name="tools/call",error_type=""}`:                     "0.08",
		`mcp_server_operation_duration_seconds_bucket{upstream="crm",mcp_method_name="tools/call",error_type="timeout",le="300"}`:  "0",
		`mcp_server_operation_duration_seconds_bucket{upstream="crm",mcp_method_name="tools/call",error_type="timeout",le="+Inf"}`: "1",
		`mcp_client_operation_duration_seconds_count{upstream="crm"}`:                                                              "3",
		`mcp_client_operation_duration_seconds_count{upstream="_own"}`:                                                             "",
		`bulkhead_queue_duration_seconds_sum{upstream="crm"}`:                                                                      "0.01",
		`bulkhead_retries_total{upstream="crm"}`:                                                                                   "2",
		`bulkhead_hedges_total{upstream="crm"}`:                                                                                    "1",
		`bulkhead_memory_answers_total{upstream="crm",how="stale"}`:                                                                "1",
		`bulkhead_memory_answers_total{upstream="crm",how="cached"}`:                                                               "0",
		`bulkhead_result_bytes_total{upstream="crm"}`:                                                                              "21",
		`bulkhead_token_overhead_ratio`:                                                                                            "",
	})
}

func TestStatus(t *testing.T) {
	open := aggregate.CircuitStatus{State: "open"}
	st := aggregate.Status{Sources: []aggregate.SourceStatus{
		{Name: "crm", State: "up", Tools: 3, DriftMore: 2, Drift: make([]aggregate.DriftStatus, 1), Load: &aggregate.LoadStatus{
			Running: 4, Waiting: 5, WritesWaiting: 1, RetryBudget: 0.25, Circuit: aggregate.CircuitStatus{State: "half-open"},
			Quota: &aggregate.QuotaStatus{Left: 7.5}, Tools: map[string]aggregate.CircuitStatus{"a": open}, ToolsMore: 1,
		}},
		{Name: "erp", State: "up", Away: aggregate.AwayCircuit, Load: &aggregate.LoadStatus{Circuit: open}},
		{Name: "new", State: "connecting"},
	}}
	definitions := iter.Seq2[upstream.ID, json.RawMessage](func(yield func(upstream.ID, json.RawMessage) bool) {
		_ = yield("crm", json.RawMessage(`{"name":"find customers"}`)) && yield("", json.RawMessage(`{}`)) && yield("crm", json.RawMessage(`{"name":"get"}`))
	})
	p, _ := written(t, metrics.New("v1"), metrics.Now{Status: st, Definitions: definitions})
	p.holds(t, map[string]string{
		`bulkhead_upstream_up{upstream="crm"}`: "1", `bulkhead_upstream_up{upstream="erp"}`: "0", `bulkhead_upstream_up{upstream="new"}`: "0",
		`bulkhead_upstream_tools{upstream="crm"}`: "3", `bulkhead_upstream_drift{upstream="crm"}`: "3",
		`bulkhead_circuit_state{upstream="crm"}`: "1", `bulkhead_circuit_state{upstream="erp"}`: "2", `bulkhead_circuit_state{upstream="new"}`: "",
		`bulkhead_circuit_tools{upstream="crm"}`: "2", `bulkhead_running_calls{upstream="crm"}`: "4", `bulkhead_waiting_calls{upstream="crm"}`: "6",
		`bulkhead_retry_budget{upstream="crm"}`: "0.25", `bulkhead_quota_left{upstream="crm"}`: "7.5", `bulkhead_quota_left{upstream="erp"}`: "",
		`bulkhead_definition_tokens{upstream="crm"}`: "11", `bulkhead_definition_tokens{upstream="_own"}`: "1",
	})
}

// TestClients holds who counts as running calls beside each other: one connection,
// and where there is none one user of one kind of client.
func TestClients(t *testing.T) {
	m := metrics.New("v1")
	ann, bob := upstream.NewPrincipal("idp", "ann"), upstream.NewPrincipal("idp", "bob")
	begin := func(p upstream.Principal, session, version string) func() {
		return m.Asked(&aggregate.Request{Principal: p, Session: session, Client: "codex", ClientVersion: version})
	}
	first, second, third := begin(ann, "1", "2"), begin(ann, "1", "2"), begin(ann, "1", "2")
	elsewhere := begin(ann, "2", "2")
	begin(bob, "1", "2")()
	second()
	third()
	first()
	elsewhere()
	begin(ann, "1", "2")()
	begin(ann, "", "3")()
	begin(bob, "", "3")()
	p, _ := written(t, m, metrics.Now{})
	p.holds(t, map[string]string{
		`bulkhead_client_calls_total{client="codex",version="2",era="legacy",begun="alone"}`:  "4",
		`bulkhead_client_calls_total{client="codex",version="2",era="legacy",begun="beside"}`: "2",
		`bulkhead_client_calls_at_once_max{client="codex",version="2",era="legacy"}`:          "3",
		`bulkhead_client_calls_total{client="codex",version="3",era="legacy",begun="alone"}`:  "2",
		`bulkhead_client_calls_total{client="codex",version="3",era="legacy",begun="beside"}`: "0",
	})
}

// TestPlans holds the ratio to its definition, with definitions that outweigh
// everything: two calls one by one are three readings of them, at once two.
func TestPlans(t *testing.T) {
	m := metrics.New("v1")
	made := func(answer, code string) aggregate.PlannedCall {
		return aggregate.PlannedCall{Tool: "t", Arguments: json.RawMessage(`{}`), Answer: json.RawMessage(answer), Code: code}
	}
	definitions := json.RawMessage(`{"tools":[` + strings.Repeat(`{"name":"find"},`, 20_000) + `{}]}`)
	whole := made(`{}`, "ok")
	plan := &aggregate.Planned{
		Wall: time.Second, Critical: time.Second, Sum: 3 * time.Second, Whole: whole, Definitions: definitions,
		Calls: []aggregate.PlannedCall{made(`{}`, "ok"), made(`"timeout: crm"`, "timeout"), {Tool: "t", Code: "skipped"}, {Tool: "t", Code: "reused"}},
	}
	m.Planned(plan)
	p, _ := written(t, m, metrics.Now{})
	p.holds(t, map[string]string{
		`bulkhead_batch_duration_seconds_count`:            "1",
		`bulkhead_batch_seconds_total{of="critical_path"}`: "1",
		`bulkhead_batch_seconds_total{of="sum"}`:           "3",
		`bulkhead_batch_calls_total{code="ok"}`:            "1",
		`bulkhead_batch_calls_total{code="skipped"}`:       "1",
		`bulkhead_batch_calls_total{code="reused"}`:        "1",
		`bulkhead_batch_calls_total{code="timeout"}`:       "1",
	})
	var ratio float64
	if _, err := fmt.Sscan(p["bulkhead_token_overhead_ratio"], &ratio); err != nil || ratio < 0.666 || ratio > 0.668 {
		t.Errorf("the ratio is %f, %v; want 2/3", ratio, err)
	}
	// A plan of which nothing was made leaves the ratio as it is.
	plan.Calls = plan.Calls[2:]
	m.Planned(plan)
	if after, _ := written(t, m, metrics.Now{}); after["bulkhead_token_overhead_ratio"] != p["bulkhead_token_overhead_ratio"] {
		t.Error(after["bulkhead_token_overhead_ratio"])
	}
}

// TestBounds holds that neither clients nor sources that have ever new names make
// the page grow, and that what a client calls itself cannot break it.
func TestBounds(t *testing.T) {
	m := metrics.New("v1")
	for i := range 10_000 {
		m.Asked(&aggregate.Request{Principal: upstream.Local(), Client: fmt.Sprintf("client %d", i), ClientVersion: fmt.Sprint(i), Modern: i%2 == 0})()
		ended(m, upstream.ID(fmt.Sprintf("s%d", i)), "ok", 0, upstream.Timing{Attempts: 1}, `{}`)
	}
	for _, name := range []string{"a\"} 1\nbulkhead_calls_total 7", strings.Repeat("x", 65), "\x00", "ünï"} {
		m.Asked(&aggregate.Request{Principal: upstream.Local(), Client: name, ClientVersion: name})()
	}
	p, text := written(t, m, metrics.Now{})
	clients, sources := 0, 0
	for name := range p {
		if strings.HasPrefix(name, "bulkhead_client_calls_at_once_max{") {
			clients++
		}
		if strings.HasPrefix(name, "bulkhead_result_bytes_total{") {
			sources++
		}
	}
	if clients > 32+2 || sources > 1024+1 {
		t.Errorf("%d clients, %d sources", clients, sources)
	}
	p.holds(t, map[string]string{
		`bulkhead_calls_total{upstream="_other",mcp_method_name="tools/call",code="ok"}`:         fmt.Sprint(10_000 - 1024),
		`bulkhead_client_calls_total{client="other",version="other",era="modern",begun="alone"}`: fmt.Sprint(5_000 - 16),
		`bulkhead_client_calls_total{client="other",version="other",era="legacy",begun="alone"}`: fmt.Sprint(5_000 - 16 + 4),
	})
	if strings.Contains(text, "xxx") || strings.Contains(text, "\x00") {
		t.Error("a name that is too long or odd stands there")
	}
}

// TestManyAtOnce holds that nothing is lost between goroutines.
func TestManyAtOnce(t *testing.T) {
	m := metrics.New("v1")
	var w sync.WaitGroup
	for g := range 8 {
		w.Go(func() {
			for i := range 500 {
				done := m.Asked(&aggregate.Request{Principal: upstream.Local(), Session: fmt.Sprint(g), Client: "c"})
				ended(m, upstream.ID(fmt.Sprintf("s%d", i%3)), "ok", time.Millisecond, upstream.Timing{Attempts: 1}, `{"a":1}`)
				m.Planned(&aggregate.Planned{Calls: []aggregate.PlannedCall{{Code: "ok"}}})
				done()
			}
		})
	}
	w.Wait()
	p, _ := written(t, m, metrics.Now{})
	p.holds(t, map[string]string{
		`bulkhead_client_calls_total{client="c",version="",era="legacy",begun="alone"}`: "4000",
		`bulkhead_batch_calls_total{code="ok"}`:                                         "4000",
		`bulkhead_calls_total{upstream="s0",mcp_method_name="tools/call",code="ok"}`:    fmt.Sprint(8 * 167),
	})
}

// leaky is a source that repeats a secret wherever it can.
type leaky struct{ secret string }

func (l leaky) Tools(context.Context) ([]upstream.Tool, error) {
	raw := fmt.Sprintf(`{"name":"t_%s","description":%q,"inputSchema":{"type":"object","title":%q},"annotations":{"readOnlyHint":true}}`, l.secret, l.secret, l.secret)
	tool, err := upstream.ParseTool("crm", json.RawMessage(raw))
	return []upstream.Tool{tool}, err
}

func (l leaky) Call(_ context.Context, c *upstream.Call) (*upstream.Result, error) {
	if strings.Contains(string(c.Arguments), "fail") {
		return nil, &upstream.Error{Upstream: "crm", Tool: l.secret, Op: l.secret, Kind: upstream.Denied, Public: l.secret, Err: errors.New(l.secret)}
	}
	return upstream.TextResult(l.secret, strings.Contains(string(c.Arguments), "odd")), nil
}

func (leaky) Close() error { return nil }

// TestNoSecret holds that nothing of a call gets into a label or anywhere else,
// whatever happens to it.
func TestNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const secret = "canary-7f3a9c04"
		m := metrics.New("v1")
		a, err := aggregate.New([]aggregate.Member{{ID: "crm", Adapter: leaky{secret}, Prefix: "crm", Identity: secret, Fingerprint: secret}}, aggregate.Options{Observer: m})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		if err := a.Settled(ctx); err != nil {
			t.Fatal(err)
		}
		v, _ := a.View("")
		name := "crm_t_" + secret
		for _, call := range []string{
			`{"name":%q,"arguments":{"q":%q}}`, `{"name":%q,"arguments":{"q":"fail","s":%q}}`, `{"name":%q,"arguments":{"q":"odd","s":%q}}`,
			`{"name":"bulkhead_batch_read","arguments":{"calls":[{"id":"a","tool":%q,"arguments":{"s":%q}}]}}`,
			`{"name":%q,"arguments":{"q":1},"_meta":{"s":%q}}`, `{"name":"bulkhead_sources","arguments":{"source":%q,"s":%q}}`,
		} {
			r := &aggregate.Request{
				Principal: upstream.NewPrincipal("https://idp.example/"+secret, secret), Session: secret, Client: "codex", ClientVersion: "1",
				Method: "tools/call", Params: json.RawMessage(fmt.Sprintf(call, name, secret)),
			}
			if _, err := v.CallTool(ctx, r); err != nil {
				t.Errorf("%s: %v", r.Params, err)
			}
		}
		p, text := written(t, m, metrics.Now{Status: a.Status(), Definitions: aggregate.Definitions(a)})
		if strings.Contains(text, "canary") || strings.Contains(text, "idp.example") {
			t.Errorf("a secret stands in\n%s", text)
		}
		p.holds(t, map[string]string{ // so the calls were counted
			`bulkhead_calls_total{upstream="crm",mcp_method_name="tools/call",code="denied"}`:     "1",
			`bulkhead_calls_total{upstream="crm",mcp_method_name="tools/call",code="tool_error"}`: "1",
			`bulkhead_batch_calls_total{code="ok"}`:                                               "1",
		})
		labels := map[string]bool{}
		for name := range p {
			_, in, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
			for l := range strings.SplitSeq(in, ",") {
				label, _, _ := strings.Cut(l, "=")
				labels[label] = true
			}
		}
		for label := range labels {
			if !slices.Contains([]string{"", "upstream", "mcp_method_name", "code", "error_type", "le", "how", "client", "version", "era", "begun", "of", "run"}, label) {
				t.Errorf("%q is no label that was thought about", label)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// BenchmarkCall is what a call costs more for being counted.
func BenchmarkCall(b *testing.B) {
	m := metrics.New("v1")
	c := &upstream.Call{Op: upstream.CallTool, Upstream: "crm", Timing: &upstream.Timing{Attempts: 1, Upstream: time.Millisecond}}
	o := aggregate.Outcome{Code: "ok", Took: time.Millisecond, Result: &upstream.Result{Raw: json.RawMessage(`{"content":[{"type":"text","text":"` + strings.Repeat("one two ", 200) + `"}]}`)}}
	r := &aggregate.Request{Principal: upstream.Local(), Session: "s", Client: "claude-code", ClientVersion: "2.1.0"}
	b.ReportAllocs()
	for b.Loop() {
		done := m.Asked(r)
		m.Called(c, o)
		done()
	}
}

// TestEveryFamilyIsDocumented holds docs/metrics.md to what is written, and the
// other way round, labels included.
func TestEveryFamilyIsDocumented(t *testing.T) {
	m := metrics.New("v1")
	ended(m, "crm", "ok", 0, upstream.Timing{Attempts: 1}, `{}`)
	m.Asked(&aggregate.Request{Principal: upstream.Local(), Client: "c"})()
	m.Planned(&aggregate.Planned{Calls: []aggregate.PlannedCall{{Code: "ok", Tool: "t", Answer: json.RawMessage(`{}`)}}})
	st := aggregate.Status{Sources: []aggregate.SourceStatus{{Name: "crm", Load: &aggregate.LoadStatus{Quota: &aggregate.QuotaStatus{}}}}}
	definitions := func(yield func(upstream.ID, json.RawMessage) bool) { yield("crm", json.RawMessage(`{}`)) }
	_, text := written(t, m, metrics.Now{Status: st, Definitions: definitions})
	types, labels := map[string]string{}, map[string]string{}
	label := regexp.MustCompile(`([a-z_]+)="`)
	family := ""
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			family, types[strings.Fields(rest)[0]] = strings.Fields(rest)[0], strings.Fields(rest)[1]
		} else if !strings.HasPrefix(line, "#") && labels[family] == "" {
			for _, l := range label.FindAllStringSubmatch(line, -1) {
				if l[1] != "le" {
					labels[family] += " `" + l[1] + "`"
				}
			}
		}
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		documented++
		name := strings.Trim(cells[1], " `")
		if types[name] != strings.TrimSpace(cells[2]) || strings.ReplaceAll(labels[name], "` `", "`, `") != strings.TrimRight(cells[3], " ") {
			t.Errorf("%s is documented as a %s with%s, and is a %s with%s", name, cells[2], cells[3], types[name], labels[name])
		}
	}
	if documented != len(types) {
		t.Errorf("%d are documented, %d written", documented, len(types))
	}
}
