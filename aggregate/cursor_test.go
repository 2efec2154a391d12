package aggregate_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// pageOf is a page of any list.
type pageOf struct {
	Tools      []struct{ Name string }
	Resources  []struct{ URI string }
	NextCursor *string
	TTL        *int `json:"ttlMs"`
}

func (p pageOf) keys() (out []string) {
	for _, tool := range p.Tools {
		out = append(out, tool.Name)
	}
	for _, r := range p.Resources {
		out = append(out, r.URI)
	}
	return out
}

// turn reads one page; cursor "" is the first.
func turn(t *testing.T, v *aggregate.View, method, cursor string) (pageOf, *upstream.RPCError) {
	params := `{}`
	if cursor != "" {
		params = fmt.Sprintf(`{"cursor":%q}`, cursor)
	}
	raw, err := v.Handle(t.Context(), &aggregate.Request{Principal: upstream.Local(), Method: method, Params: []byte(params), Modern: true})
	var p pageOf
	if err != nil {
		rpc, _ := err.(*upstream.RPCError) //nolint:errorlint // Handle says so
		return p, rpc
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return p, nil
}

// resources replaces the list of resources.
func resources(t *testing.T, r *rich, keys []string) {
	var raws []string
	for _, k := range keys {
		raws = append(raws, fmt.Sprintf(`{"uri":%q,"name":"n"}`, k))
	}
	r.put(t, upstream.Resources, raws...)
}

func TestPagesTogetherAreTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newRich(t, "a", "y", "x"), newRich(t, "b", "z")
		agg, err := aggregate.New([]aggregate.Member{asMember(a), asMember(b)}, aggregate.Options{PageSize: 2})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, agg)
		time.Sleep(time.Second)
		var all []string
		pages, cursor := 0, ""
		for {
			p, rpc := turn(t, v, "tools/list", cursor)
			if rpc != nil || len(p.keys()) > 2 || p.TTL == nil {
				t.Fatalf("%v %+v", rpc, p)
			}
			all, pages = append(all, p.keys()...), pages+1
			if p.NextCursor == nil {
				break
			}
			cursor = *p.NextCursor
		}
		if diff := cmp.Diff([]string{"a_x", "a_y", "b_z", "bulkhead_batch", "bulkhead_batch_read", "bulkhead_read_more", "bulkhead_sources"}, all); diff != "" || pages != 4 {
			t.Errorf("%d pages: %s", pages, diff)
		}
		lone, _ := agg.View("a")
		flip := "A"
		if strings.HasSuffix(cursor, flip) {
			flip = "Q"
		}
		for name, try := range map[string]func() *upstream.RPCError{
			"of another list": func() *upstream.RPCError { _, e := turn(t, v, "prompts/list", cursor); return e },
			"of another view": func() *upstream.RPCError { _, e := turn(t, lone, "tools/list", cursor); return e },
			"altered": func() *upstream.RPCError {
				_, e := turn(t, v, "tools/list", cursor[:len(cursor)-1]+flip)
				return e
			},
			"made up": func() *upstream.RPCError { _, e := turn(t, v, "tools/list", "abc"); return e },
			"empty":   func() *upstream.RPCError { _, e := ask(t, v, true, "tools/list", `{"cursor":""}`); return e },
		} {
			if e := try(); e == nil || e.Code != -32602 || !strings.Contains(e.Message, "leave it out") {
				t.Errorf("a cursor %s: %v, want -32602 and what to do", name, e)
			}
		}
	})
}

// A cursor is of use to the principal only that it was given to.
func TestACursorIsItsOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRich(t, "a")
		resources(t, a, []string{"u:1", "u:2"})
		v, stop := start(t, aggregate.Options{PageSize: 1}, asMember(a))
		defer stop()
		ask := func(who, cursor string) (pageOf, error) {
			params := map[string]string{}
			if cursor != "" {
				params["cursor"] = cursor
			}
			text, _ := json.Marshal(params)
			raw, err := v.Handle(t.Context(), &aggregate.Request{Principal: upstream.NewPrincipal("i", who), Method: "resources/list", Params: text, Modern: true})
			var p pageOf
			if err == nil {
				err = json.Unmarshal(raw, &p)
			}
			return p, err
		}
		first, err := ask("ann", "")
		if err != nil || first.NextCursor == nil {
			t.Fatal(first, err)
		}
		if _, err := ask("bob", *first.NextCursor); err == nil || !strings.Contains(err.Error(), "unknown cursor") {
			t.Errorf("taken from another principal: %v", err)
		}
		if p, err := ask("ann", *first.NextCursor); err != nil || len(p.keys()) != 1 {
			t.Error(p, err)
		}
	})
}

// TestACursorOutlivesTheList reads page after page of a list that changes in
// between: what was there all the time is read once, in order, and nothing twice.
func TestACursorOutlivesTheList(t *testing.T) {
	universe := make([]string, 12)
	for i := range universe {
		universe[i] = fmt.Sprintf("u:%02d", i)
	}
	subset := rapid.SliceOfDistinct(rapid.SampledFrom(universe), func(s string) string { return s })
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 5).Draw(rt, "size")
		versions := rapid.SliceOfN(subset, 1, 6).Draw(rt, "versions")
		var read []string
		always := slices.Clone(versions[0])
		synctest.Test(t, func(t *testing.T) {
			a := newRich(t, "a")
			resources(t, a, versions[0])
			v, stop := start(t, aggregate.Options{PageSize: size}, asMember(a))
			defer stop()
			cursor := ""
			for i := 0; ; i++ {
				if i > 0 && i < len(versions) {
					resources(t, a, versions[i])
					always = slices.DeleteFunc(always, func(k string) bool { return !slices.Contains(versions[i], k) })
					a.events().Change(upstream.Resources)
					time.Sleep(time.Second)
				}
				p, rpc := turn(t, v, "resources/list", cursor)
				if rpc != nil || len(p.keys()) > size {
					t.Fatalf("%v %+v", rpc, p)
				}
				read = append(read, p.keys()...)
				if p.NextCursor == nil {
					break
				}
				cursor = *p.NextCursor
			}
		})
		if !slices.IsSorted(read) || len(slices.Compact(slices.Clone(read))) != len(read) {
			rt.Errorf("read %v", read)
		}
		for _, k := range always {
			if !slices.Contains(read, k) {
				rt.Errorf("%s was there all the time and is not in %v", k, read)
			}
		}
	})
}
