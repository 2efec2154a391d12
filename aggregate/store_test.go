package aggregate_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

func TestWarmStartAnswersAtOnceFromDisk(t *testing.T) {
	dir := t.TempDir()
	pretty := "{\n \"name\": \"p\",\n \"x-odd\": 12345678901234567890,\n \"inputSchema\": {\"type\": \"object\", \"title\": \"<&>\"}}"
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "a", "x")
		f.tools = append(f.tools, parse(t, "a", pretty))
		v, stop := start(t, aggregate.Options{CatalogDir: dir}, member(f))
		names(t, v)
		stop()
	})
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "a", "x")
		f.tools = append(f.tools, parse(t, "a", pretty))
		f.hang = true
		a, err := aggregate.New([]aggregate.Member{member(f)}, aggregate.Options{CatalogDir: dir, Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, a)
		var told atomic.Int32
		defer subscribe(t, v, func() { told.Add(1) })()
		began := time.Now()
		if diff := cmp.Diff([]string{"a_p", "a_x"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("a warm start's first list took %s", took)
		}
		synctest.Wait()
		if s := a.Status().Sources[0]; !s.Stale || s.Tools != 2 {
			t.Errorf("status = %+v, want 2 stale tools", s)
		}
		f.touch()
		time.Sleep(time.Second)
		if s := a.Status().Sources[0]; s.Stale {
			t.Errorf("status = %+v, want fresh tools", s)
		}
		if told.Load() != 0 {
			t.Error("the same list as on disk was announced as a change")
		}
	})
	synctest.Test(t, func(t *testing.T) { // another source under the same name
		m := member(newFake(t, "a"))
		m.Adapter.(*fake).hang = true
		m.Identity = "other"
		v, _ := start(t, aggregate.Options{CatalogDir: dir}, m)
		if diff := cmp.Diff([]string{}, names(t, v)); diff != "" {
			t.Error(diff)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "a.catalog.json"), []byte(`{"version":1,"tools":[{]`), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { // a damaged file costs only the quick start
		v, _ := start(t, aggregate.Options{CatalogDir: dir}, member(newFake(t, "a", "x")))
		if diff := cmp.Diff([]string{"a_x"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
	})
}

// A list that was never read is not one that is known to be empty: the next
// start waits for it like a cold one, and for the others not at all.
func TestWarmStartKnowsWhatItDoesNotKnow(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newRich(t, "a", "x")
		r.failList(upstream.Prompts, errors.New("not yet"))
		v, stop := start(t, aggregate.Options{CatalogDir: dir}, asMember(r))
		names(t, v)
		time.Sleep(time.Second)
		stop()
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRich(t, "a", "x")
		r.hang = true
		r.put(t, upstream.Prompts, `{"name":"p"}`)
		v, _ := start(t, aggregate.Options{CatalogDir: dir}, asMember(r))
		time.AfterFunc(time.Second, r.touch)
		began := time.Now()
		for method, list := range map[string]string{"tools/list": `{"tools":[{"name":"a_x","inputSchema":{"type":"object"}}]`,
			"resources/list": `{"resources":[]`, "resources/templates/list": `{"resourceTemplates":[]`} {
			want(t, v, true, method, ``, list+fresh)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it waited %s for what is known", took)
		}
		want(t, v, true, "prompts/list", ``, `{"prompts":[{"name":"a_p"}]`+fresh)
	})
}

func TestCatalogsOfRemovedUpstreamsAreDeleted(t *testing.T) {
	dir := t.TempDir()
	files := func() []string {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
	synctest.Test(t, func(t *testing.T) {
		a, err := aggregate.New([]aggregate.Member{member(newFake(t, "a", "x")), member(newFake(t, "b", "x"))},
			aggregate.Options{CatalogDir: dir, Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		v, stop := run(t, a)
		names(t, v)
		if diff := cmp.Diff([]string{"a.catalog.json", "b.catalog.json"}, files()); diff != "" {
			t.Error(diff)
		}
		if err := a.Swap([]aggregate.Member{member(newFake(t, "b", "x"))}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the new one writes its own anew
		if diff := cmp.Diff([]string{"b.catalog.json"}, files()); diff != "" {
			t.Error(diff)
		}
		stop()
	})
	for _, name := range []string{".catalog-1", "mine.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), time.Unix(0, 0), time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	a, err := aggregate.New(nil, aggregate.Options{CatalogDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, stop := run(t, a)
	stop()
	if diff := cmp.Diff([]string{"mine.txt"}, files()); diff != "" {
		t.Error(diff)
	}
}
