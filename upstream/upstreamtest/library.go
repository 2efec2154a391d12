package upstreamtest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// lists are those that a [upstream.Lister] is asked for.
var lists = []upstream.List{upstream.Prompts, upstream.Resources, upstream.Templates, upstream.Skills}

// do carries out an operation other than a tool call. The client knows the
// target by another name.
func (s *session) do(t *testing.T, op upstream.Op, member, name string) (*upstream.Result, error) {
	ctx, cancel := context.WithTimeout(t.Context(), generous)
	defer cancel()
	return s.Call(ctx, &upstream.Call{
		ID: "test", Principal: upstream.Local(), Op: op, Name: name, Exposed: "exposed:" + name,
		Params: json.RawMessage(fmt.Sprintf(`{"%s":"exposed"}`, member)), Timing: &upstream.Timing{},
	})
}

// testLists holds a lister to entries that can be used. Of an adapter that is
// none it asks nothing.
func testLists(t *testing.T, s *session) {
	lister, ok := s.Adapter.(upstream.Lister)
	if !ok {
		t.Skip("the adapter offers tools only")
	}
	for _, l := range lists {
		items, err := lister.Items(t.Context(), l)
		if err != nil {
			t.Errorf("%s: %v", l, err)
		}
		seen := map[string]bool{}
		for _, it := range items {
			again, err := upstream.ParseItem(it.Upstream, l, it.Raw)
			if err != nil || again.Key != it.Key || it.Upstream == "" || seen[it.Key] {
				t.Errorf("%s: %q is listed twice or its definition is odd: %s, %v", l, it.Key, it.Raw, err)
			}
			seen[it.Key] = true
		}
	}
	within(t, "a list after Close", func() {
		_ = s.Close()
		_, err := lister.Items(t.Context(), upstream.Resources)
		if e := kinds(t, err, upstream.Unavailable); e.Sent {
			t.Error("Sent is true for a list after Close")
		}
	})
}

// testReads reads every resource that is listed, and one that is not there.
func testReads(t *testing.T, s *session) {
	lister, ok := s.Adapter.(upstream.Lister)
	if !ok {
		t.Skip("the adapter offers tools only")
	}
	items, err := lister.Items(t.Context(), upstream.Resources)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		r, err := s.do(t, upstream.ReadResource, "uri", it.Key)
		if err != nil {
			t.Errorf("%s: %v", it.Key, err)
			continue
		}
		if contents, _ := r.Get("contents"); rawjson.Kind(contents) != '[' {
			t.Errorf("%s was answered %s", it.Key, r.Raw)
		}
	}
	_, err = s.do(t, upstream.ReadResource, "uri", "nowhere://at/all")
	want := []upstream.Kind{upstream.NotFound, upstream.InvalidArguments}
	if len(items) == 0 { // it need not know the method
		want = append(want, upstream.UpstreamError)
	}
	kinds(t, err, want...)
	s.works(t)
}

func testUnknownOp(t *testing.T, s *session) {
	_, err := s.do(t, "no/such/operation", "name", Echo)
	if e := kinds(t, err, upstream.NotFound); e.Sent {
		t.Error("Sent is true for an operation that there is not")
	}
	s.works(t)
}
