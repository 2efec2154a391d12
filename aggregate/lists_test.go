package aggregate_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const fresh = `,"resultType":"complete","ttlMs":60000,"cacheScope":"private"}`

func TestEveryListIsMergedByteForByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newRich(t, "a"), newRich(t, "b")
		plain := newFake(t, "plain", "x") // has nothing but tools
		a.put(t, upstream.Prompts, `{"x":1e400,"name":"greet","arguments":[{"name":"who","odd":null}]}`)
		b.put(t, upstream.Prompts, `{"name":"greet"}`)
		a.put(t, upstream.Resources, "{\"uri\":\"file:///z\",\n\"name\":\"z\"}", `{"uri":"file:///a","name":"a","size":9007199254740993}`)
		b.put(t, upstream.Resources, `{"uri":"db://1","name":"one"}`)
		b.put(t, upstream.Templates, `{"uriTemplate":"db://{id}","name":"row"}`)
		a.put(t, upstream.Skills, `{"uri":"skill://s/SKILL.md"}`)
		v, _ := start(t, aggregate.Options{}, asMember(a), asMember(b), member(plain))
		for method, list := range map[string]string{
			"prompts/list":             `{"prompts":[{"x":1e400,"name":"a_greet","arguments":[{"name":"who","odd":null}]},{"name":"b_greet"}]`,
			"resources/list":           `{"resources":[{"uri":"file:///a","name":"a","size":9007199254740993},{"uri":"file:///z","name":"z"},{"uri":"db://1","name":"one"}]`,
			"resources/templates/list": `{"resourceTemplates":[{"uriTemplate":"db://{id}","name":"row"}]`,
			"skills/list":              `{"skills":[{"uri":"skill://s/SKILL.md"}]`,
		} {
			want(t, v, false, method, ``, list+`}`)
			want(t, v, true, method, `{"_meta":{}}`, list+fresh)
			for _, cursor := range []string{`""`, `"x"`, `7`} {
				if _, rpc := ask(t, v, true, method, `{"cursor":`+cursor+`}`); rpc == nil || rpc.Code != -32602 {
					t.Errorf("%s with cursor %s: %v, want -32602", method, cursor, rpc)
				}
			}
		}
	})
}

func TestAFailingListHidesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newRich(t, "a", "x"), newRich(t, "b", "y")
		b.put(t, upstream.Prompts, `{"name":"p"}`)
		a.failList(upstream.Prompts, errors.New("no"))
		agg, err := aggregate.New([]aggregate.Member{asMember(a), asMember(b)}, aggregate.Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, agg)
		if diff := cmp.Diff([]string{"a_x", "b_y"}, names(t, v)); diff != "" {
			t.Error(diff)
		}
		began := time.Now()
		want(t, v, true, "prompts/list", ``, `{"prompts":[{"name":"b_p"}],"resultType":"complete","ttlMs":0,"cacheScope":"private"}`)
		if took := time.Since(began); took > 0 {
			t.Errorf("it waited %s for what has failed", took)
		}
		s := agg.Status().Sources
		if s[0].Error != "prompts not listed: a fault inside Bulkhead; it has been logged" || s[1].Prompts != 1 || s[1].Error != "" {
			t.Errorf("%+v", s)
		}
		a.put(t, upstream.Prompts, `{"name":"late"}`)
		synctest.Wait()
		before := a.reads(upstream.Resources)
		time.Sleep(time.Minute) // the retry finds it
		want(t, v, true, "prompts/list", ``, `{"prompts":[{"name":"a_late"},{"name":"b_p"}]`+fresh)
		if a.reads(upstream.Resources) != before {
			t.Error("another list was read again for it")
		}
	})
}

// told notes the notifications of a subscription.
type told struct {
	mu  sync.Mutex
	all []string
}

func (o *told) note(n aggregate.Notice) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, strings.TrimSpace(n.Method+" "+n.Key+" "+string(n.Params)))
}

// take returns what was told since it was last called.
func (o *told) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.all
	o.all = nil
	return out
}

func TestOnlyTheListThatChangedIsReadAndAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRich(t, "a", "x")
		a.put(t, upstream.Resources, `{"uri":"u:1","name":"1"}`)
		other := newRich(t, "b")
		agg, err := aggregate.New([]aggregate.Member{asMember(a), asMember(other)}, aggregate.Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, agg)
		lone, _ := agg.View("b")
		time.Sleep(time.Second)
		var all, promptsOnly, elsewhere told
		everything := []upstream.List{upstream.Tools, upstream.Prompts, upstream.Resources, upstream.Templates, upstream.Prompts}
		granted, cancel := v.Subscribe(t.Context(), aggregate.Subscription{Lists: everything, Tell: all.note})
		defer cancel()
		if diff := cmp.Diff(everything[:3], granted.Lists); diff != "" {
			t.Error(diff)
		}
		for view, o := range map[*aggregate.View]*told{v: &promptsOnly, lone: &elsewhere} {
			_, cancel := view.Subscribe(t.Context(), aggregate.Subscription{Lists: []upstream.List{upstream.Prompts}, Tell: o.note})
			defer cancel()
		}
		for _, step := range []struct {
			change  func()
			l       upstream.List
			all     []string
			prompts []string
		}{
			{func() { a.put(t, upstream.Prompts, `{"name":"p"}`) }, upstream.Prompts,
				[]string{"notifications/prompts/list_changed"}, []string{"notifications/prompts/list_changed"}},
			{func() { a.put(t, upstream.Templates, `{"uriTemplate":"u:{x}","name":"t"}`) }, upstream.Resources,
				[]string{"notifications/resources/list_changed"}, nil},
			{func() { a.put(t, upstream.Resources, `{"uri":"u:2","name":"2"}`) }, upstream.Resources,
				[]string{"notifications/resources/list_changed"}, nil},
			{func() { a.set(t, "y") }, upstream.Tools, []string{"notifications/tools/list_changed"}, nil},
			{func() {}, "", nil, nil},
		} {
			before := a.reads(upstream.Prompts)
			step.change()
			a.events().Change(step.l)
			time.Sleep(time.Second)
			if diff := cmp.Diff(step.all, all.take()); diff != "" {
				t.Error(step.l, diff)
			}
			if diff := cmp.Diff(step.prompts, promptsOnly.take()); diff != "" {
				t.Error(step.l, diff)
			}
			if read := a.reads(upstream.Prompts) > before; read != (step.l == "" || step.l == upstream.Prompts) {
				t.Errorf("%q changed, prompts read again: %v", step.l, read)
			}
		}
		if got := elsewhere.take(); got != nil {
			t.Errorf("another view was told %v", got)
		}
	})
}

func TestWarmStartHasEveryList(t *testing.T) {
	dir := t.TempDir()
	a := func(t *testing.T) *rich {
		a := newRich(t, "a", "x")
		a.put(t, upstream.Prompts, `{"name":"p", "big":12345678901234567890}`)
		a.put(t, upstream.Resources, `{"uri":"u:1","name":"<1>"}`)
		a.put(t, upstream.Templates, `{"uriTemplate":"u:{x}","name":"t"}`)
		return a
	}
	synctest.Test(t, func(t *testing.T) {
		_, stop := start(t, aggregate.Options{CatalogDir: dir}, asMember(a(t)))
		time.Sleep(time.Second)
		stop()
	})
	warm := func(prompts string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			down := a(t)
			down.hang = true
			v, _ := start(t, aggregate.Options{CatalogDir: dir}, asMember(down))
			began := time.Now()
			want(t, v, false, "prompts/list", ``, prompts)
			if prompts == `{"prompts":[]}` {
				return
			}
			want(t, v, false, "resources/list", ``, `{"resources":[{"uri":"u:1","name":"<1>"}]}`)
			want(t, v, false, "resources/templates/list", ``, `{"resourceTemplates":[{"uriTemplate":"u:{x}","name":"t"}]}`)
			want(t, v, false, "skills/list", ``, `{"skills":[]}`)
			if took := time.Since(began); took != 0 {
				t.Errorf("a warm start took %s", took)
			}
		})
	}
	warm(`{"prompts":[{"name":"a_p", "big":12345678901234567890}]}`)
	file := filepath.Join(dir, "a.catalog.json")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	older := strings.Replace(string(raw), `"version":2`, `"version":1`, 1)
	if older == string(raw) {
		t.Fatalf("the version is not in %s", raw)
	}
	if err := os.WriteFile(file, []byte(older), 0o600); err != nil {
		t.Fatal(err)
	}
	warm(`{"prompts":[]}`) // the file of an earlier version is not used
}

func TestNothingVanishesWhileASourceIsSetUpAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newRich(t, "a", "x")
		first.put(t, upstream.Prompts, `{"name":"p"}`)
		agg, err := aggregate.New([]aggregate.Member{asMember(first)}, aggregate.Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, agg)
		time.Sleep(time.Second)
		second := newRich(t, "a", "x")
		second.hang = true
		if err := agg.Swap([]aggregate.Member{asMember(second)}); err != nil {
			t.Fatal(err)
		}
		want(t, v, false, "prompts/list", ``, `{"prompts":[{"name":"a_p"}]}`)
		if err := agg.Swap(nil); err != nil {
			t.Fatal(err)
		}
		want(t, v, false, "prompts/list", ``, `{"prompts":[]}`)
	})
}
