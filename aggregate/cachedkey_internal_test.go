package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// node is a JSON value as it is meant: of two that differ in anything but the
// order of members, one is not the other.
type node struct {
	leaf  string // as it is written
	items []node
	names []string // of the members, quoted; nil for an array
}

func drawNode(t *rapid.T, depth int) node {
	kinds := 3
	if depth == 0 {
		kinds = 1
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 1, 2:
		n := node{items: []node{}}
		object := rapid.Bool().Draw(t, "object")
		for range rapid.IntRange(0, 3).Draw(t, "size") {
			if object {
				name := rapid.SampledFrom([]string{`"a"`, `"b"`, `"\u0061b"`, `"ab"`, `""`, `"\ud800"`, `"\ufffd"`, `":"`, `"a\":"`}).Draw(t, "name")
				if slices.Contains(n.names, name) {
					continue
				}
				n.names = append(n.names, name)
			}
			n.items = append(n.items, drawNode(t, depth-1))
		}
		if object && n.names == nil {
			n.names = []string{}
		}
		return n
	}
	return node{leaf: rapid.SampledFrom([]string{`1`, `1.0`, `10`, `-1e5`, `null`, `true`, `"1"`, `""`, `"a"`, `"\u0061"`, `" "`, `"{}"`, `",\""`, `"\\"`}).Draw(t, "leaf")}
}

// write writes a value in one of many ways.
func (n node) write(t *rapid.T, b *strings.Builder) {
	space := func() { b.WriteString(rapid.SampledFrom([]string{"", "", " ", "\n\t", "\r"}).Draw(t, "space")) }
	space()
	defer space()
	if n.items == nil {
		b.WriteString(n.leaf)
		return
	}
	order := make([]int, len(n.items))
	for i := range order {
		order[i] = i
	}
	open, closing := "[", "]"
	if n.names != nil {
		open, closing = "{", "}"
		order = rapid.Permutation(order).Draw(t, "order")
	}
	b.WriteString(open)
	for i, at := range order {
		if i > 0 {
			b.WriteString(",")
		}
		if n.names != nil {
			space()
			b.WriteString(n.names[at])
			space()
			b.WriteString(":")
		}
		n.items[at].write(t, b)
	}
	if len(order) == 0 {
		space()
	}
	b.WriteString(closing)
}

func (n node) text(t *rapid.T) string {
	var b strings.Builder
	n.write(t, &b)
	return b.String()
}

func (n node) same(o node) bool {
	if (n.items == nil) != (o.items == nil) || (n.names == nil) != (o.names == nil) || len(n.items) != len(o.items) || n.leaf != o.leaf {
		return false
	}
	for i, item := range n.items {
		at := i
		if n.names != nil {
			if at = slices.Index(o.names, n.names[i]); at < 0 {
				return false
			}
		}
		if !item.same(o.items[at]) {
			return false
		}
	}
	return true
}

func TestCanonicalTextsAreEqualIfTheValuesAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawNode(t, 3), drawNode(t, 3)
		once, again := string(canonical(nil, []byte(a.text(t)))), string(canonical(nil, []byte(a.text(t))))
		if once != again {
			t.Fatalf("one value is %s and %s", once, again)
		}
		if other := string(canonical(nil, []byte(b.text(t)))); (other == once) != a.same(b) {
			t.Fatalf("%s and %s: the values are the same: %v", once, other, a.same(b))
		}
	})
}

func TestQuestions(t *testing.T) {
	a := &Aggregate{kept: newStore(1 << 20)}
	crm := newMemory(&member{Member: Member{ID: "crm", Fingerprint: "f"}, agg: a})
	base := func() *upstream.Call {
		return &upstream.Call{Principal: upstream.Local(), Op: upstream.ReadResource, Name: "a:1", Exposed: "alias:1", Session: "s", Client: "c", ID: "1",
			Params: []byte(`{"uri":"alias:1","x":{"b":1,"a":2},"_meta":{"progressToken":1,"y":1,"traceparent":"t"}}`)}
	}
	want := crm.question(base())
	for i, change := range []func(*upstream.Call){
		func(c *upstream.Call) { c.ID, c.Session, c.Client, c.Exposed = "2", "t", "d", "a:1" },
		func(c *upstream.Call) {
			c.Params = []byte(`{"_meta":{"y": 1,"progressToken":"2","baggage":"b"},"uri":"a:1","x":{"a":2, "b":1}}`)
		},
		func(c *upstream.Call) { c.Back.Progress = func(json.RawMessage) {} },
	} {
		c := base()
		change(c)
		if got := crm.question(c); got != want {
			t.Errorf("%d: the same question has another key", i)
		}
	}
	seen := map[question]string{want: "the first"}
	other := func(name string, k *memory, change func(*upstream.Call)) {
		c := base()
		change(c)
		q := k.question(c)
		for before, of := range seen {
			if q.own == before.own || q.public == before.public && q.public != (question{}).public {
				if !strings.HasPrefix(name, "principal") || q.own == before.own {
					t.Errorf("%s has a key of %s", name, of)
				}
			}
		}
		seen[q] = name
	}
	other("name", crm, func(c *upstream.Call) { c.Name = "a:2" })
	other("op", crm, func(c *upstream.Call) { c.Op = upstream.ReadDir })
	other("member", crm, func(c *upstream.Call) { c.Params = []byte(`{"uri":"alias:1","x":{"b":1,"a":3},"_meta":{"y":1}}`) })
	other("no member", crm, func(c *upstream.Call) { c.Params = []byte(`{"uri":"alias:1","_meta":{"y":1}}`) })
	other("meta", crm, func(c *upstream.Call) { c.Params = []byte(`{"uri":"alias:1","x":{"b":1,"a":2},"_meta":{"y":2}}`) })
	other("no meta", crm, func(c *upstream.Call) { c.Params = []byte(`{"uri":"alias:1","x":{"b":1,"a":2}}`) })
	other("no params", crm, func(c *upstream.Call) { c.Params = nil })
	other("arguments", crm, func(c *upstream.Call) { c.Params, c.Arguments = nil, []byte(`{}`) })
	other("capabilities", crm, func(c *upstream.Call) { c.Back.Capabilities = []byte(`{}`) })
	other("askable", crm, func(c *upstream.Call) {
		c.Back.Ask = func(context.Context, upstream.Question) (json.RawMessage, error) { return nil, nil }
	})
	other("principal", crm, func(c *upstream.Call) { c.Principal = upstream.NewPrincipal("x", "y") })
	same := func(*upstream.Call) {}
	other("credential", newMemory(&member{Member: Member{ID: "crm", Fingerprint: "g"}, agg: a}), same)
	other("source", newMemory(&member{Member: Member{ID: "erp", Fingerprint: "f"}, agg: a}), same)
	other("generation", newMemory(&member{Member: Member{ID: "crm", Fingerprint: "f"}, agg: a}), same)
	tool := base()
	tool.Op = upstream.CallTool
	if q := crm.question(tool); q.public != (question{}).public {
		t.Error("the answer of a tool may be for everybody")
	}
}

// Calls that nothing is kept or shared of pass as if memory were not there.
func TestMemoryCostsOtherCallsNothing(t *testing.T) {
	a := &Aggregate{kept: newStore(1 << 20)}
	m := &member{Member: Member{ID: "crm", Cache: Cache{TTL: time.Minute}}, agg: a}
	a.current.Store(&[]*member{m})
	m.memory = newMemory(m)
	k := m.memory
	res := upstream.TextResult("x", false)
	h := k.Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) { return res, nil })
	c := &upstream.Call{Op: upstream.CallTool, Name: "put", Tool: &upstream.Tool{Hints: upstream.Traits{ReadOnly: true}}, Timing: &upstream.Timing{}}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _, _ = h(ctx, c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHit(b *testing.B) {
	a := &Aggregate{kept: newStore(1 << 20)}
	m := &member{Member: Member{ID: "crm", Cache: Cache{TTL: time.Hour}, Limits: Limits{TrustAnnotations: true}}, agg: a}
	h := newMemory(m).Layer(func(context.Context, *upstream.Call) (*upstream.Result, error) {
		return upstream.TextResult(strings.Repeat("x", 1_000), false), nil
	})
	c := &upstream.Call{Principal: upstream.Local(), Op: upstream.CallTool, Name: "get", Tool: &upstream.Tool{Hints: upstream.Traits{ReadOnly: true}}, Timing: &upstream.Timing{},
		Params: fmt.Appendf(nil, `{"name":"crm_get","arguments":{"id":%q,"limit":10}}`, "C-1001")}
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h(ctx, c); err != nil {
			b.Fatal(err)
		}
	}
}

// A member that is taken out gives back what it kept, and keeps nothing more.
func TestAMemberThatIsTakenOutKeepsNothing(t *testing.T) {
	a, err := New([]Member{{ID: "crm", Adapter: silent{}}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	old := a.members()[0].memory
	put := func() {
		old.shelf.Put(old.question(&upstream.Call{}).own, old.shelf.Epoch(), &memo{res: upstream.TextResult("x", false)}, time.Hour, 0)
	}
	used := func() int64 {
		bytes, _ := old.shelf.Used()
		return bytes
	}
	if put(); used() == 0 {
		t.Fatal("nothing is kept at all")
	}
	if err := a.Swap(nil); err != nil {
		t.Fatal(err)
	}
	if put(); used() != 0 {
		t.Errorf("%d bytes", used())
	}
}

type silent struct{}

func (silent) Tools(context.Context) ([]upstream.Tool, error) { return nil, nil }
func (silent) Close() error                                   { return nil }
func (silent) Call(context.Context, *upstream.Call) (*upstream.Result, error) {
	return nil, nil
}
