package aggregate_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// reading runs an upstream "a" whose reads are answered with what says returns, and
// returns how often it was asked.
func reading(t *testing.T, c aggregate.Cache, says func(n int) string) (v *aggregate.View, asked func() int) {
	t.Helper()
	r := newRich(t, "a")
	var mu sync.Mutex
	n := 0
	r.call = func(context.Context, *upstream.Call) (*upstream.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		n++
		return upstream.ParseResult([]byte(says(n)))
	}
	m := asMember(r)
	m.Cache = c
	v, _ = start(t, aggregate.Options{}, m)
	synctest.Wait()
	return v, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// read returns what a modern client reads, and a legacy one.
func read(t *testing.T, v *aggregate.View, who string, modern bool, method string) string {
	t.Helper()
	raw, err := v.Handle(t.Context(), &aggregate.Request{Principal: upstream.NewPrincipal("x", who), Modern: modern,
		Method: method, Params: []byte(`{"uri":"a:1"}`)})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// A modern upstream says how long what is read may be kept; its client hears what
// is left of that.
func TestReadsAreKeptAsLongAsTheUpstreamSays(t *testing.T) {
	for _, method := range []string{"resources/read", "resources/directory/read", "skills/get"} {
		synctest.Test(t, func(t *testing.T) {
			v, asked := reading(t, aggregate.Cache{}, func(n int) string {
				return fmt.Sprintf(`{"resultType":"complete","n":%d,"ttlMs":5000,"cacheScope":"private"}`, n)
			})
			is := func(modern bool, want string) {
				t.Helper()
				if got := read(t, v, "alice", modern, method); got != want {
					t.Errorf("%s: got %s, want %s", method, got, want)
				}
			}
			is(true, `{"resultType":"complete","n":1,"ttlMs":5000,"cacheScope":"private"}`)
			time.Sleep(1500 * time.Millisecond)
			is(true, `{"resultType":"complete","n":1,"ttlMs":3500,"cacheScope":"private","_meta":{"io.github.bulkhead-mcp/cache":{"state":"fresh","ageMs":1500}}}`)
			is(false, `{"n":1,"_meta":{"io.github.bulkhead-mcp/cache":{"state":"fresh","ageMs":1500}}}`)
			time.Sleep(3500 * time.Millisecond)
			is(true, `{"resultType":"complete","n":2,"ttlMs":5000,"cacheScope":"private"}`)
			if asked() != 2 {
				t.Errorf("asked %d times", asked())
			}
		})
	}
}

func TestHowLongReadsAreKept(t *testing.T) {
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		method, said string
		cache        aggregate.Cache
		keeps        time.Duration
	}{
		"the upstream's word":         {"resources/read", `{"resultType":"complete","ttlMs":60000}`, aggregate.Cache{}, time.Minute},
		"not for ever":                {"resources/read", `{"resultType":"complete","ttlMs":1e300}`, aggregate.Cache{}, day},
		"in a fraction":               {"resources/read", `{"resultType":"complete","ttlMs":1000.5}`, aggregate.Cache{}, time.Second},
		"nothing":                     {"resources/read", `{"resultType":"complete","ttlMs":0}`, aggregate.Cache{}, 0},
		"less than nothing":           {"resources/read", `{"resultType":"complete","ttlMs":-5}`, aggregate.Cache{}, 0},
		"no number":                   {"resources/read", `{"resultType":"complete","ttlMs":"NaN"}`, aggregate.Cache{}, 0},
		"a legacy server's member":    {"resources/read", `{"ttlMs":60000}`, aggregate.Cache{}, 0},
		"of a prompt there is none":   {"completion/complete", `{"resultType":"complete","ttlMs":60000}`, aggregate.Cache{}, 0},
		"the operator forbids":        {"resources/read", `{"resultType":"complete","ttlMs":60000}`, aggregate.Cache{TTL: -1}, 0},
		"the operator's is longer":    {"resources/read", `{"resultType":"complete","ttlMs":1000}`, aggregate.Cache{TTL: time.Minute}, time.Minute},
		"the operator's is shorter":   {"resources/read", `{"resultType":"complete","ttlMs":60000}`, aggregate.Cache{TTL: time.Second}, time.Second},
		"the operator's alone":        {"resources/read", `{}`, aggregate.Cache{TTL: time.Second}, time.Second},
		"the operator's, of anything": {"completion/complete", `{}`, aggregate.Cache{TTL: time.Second}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, asked := reading(t, tt.cache, func(int) string { return tt.said })
				params := `{"uri":"a:1","ref":{"type":"ref/resource","uri":"a:1"}}`
				reads := func(want int) {
					t.Helper()
					if _, rpc := ask(t, v, true, tt.method, params); rpc != nil || asked() != want {
						t.Errorf("asked %d times, want %d, %v", asked(), want, rpc)
					}
				}
				reads(1)
				if tt.keeps == 0 {
					reads(2)
					return
				}
				time.Sleep(tt.keeps - time.Nanosecond)
				reads(1)
				time.Sleep(time.Nanosecond)
				reads(2)
			})
		})
	}
}

// What the upstream calls public is kept once for everybody; if it changes its
// mind, nobody gets the public answer any more.
func TestPublicAnswersAreForEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, asked := reading(t, aggregate.Cache{Stale: time.Minute}, func(n int) string {
			scope := `"public"`
			if n > 1 {
				scope = `"private"`
			}
			return fmt.Sprintf(`{"resultType":"complete","n":%d,"ttlMs":5000,"cacheScope":%s}`, n, scope)
		})
		is := func(who, want string) {
			t.Helper()
			if got := read(t, v, who, true, "resources/read"); !strings.Contains(got, want) {
				t.Errorf("%s: got %s, want %s", who, got, want)
			}
		}
		is("alice", `"n":1`)
		is("bob", `"n":1`)
		if asked() != 1 {
			t.Errorf("asked %d times", asked())
		}
		time.Sleep(6 * time.Second)
		is("alice", `"n":1,"ttlMs":0,`) // out of date, renewed for alice
		synctest.Wait()
		is("alice", `"n":2`)
		is("bob", `"n":3`)
		is("bob", `"n":3`)
		is("alice", `"n":2`)
		if asked() != 3 {
			t.Errorf("asked %d times", asked())
		}
	})
}

// Only tools are shown to a model, so only they say in words that they are stale.
func TestStaleReadsSayItInMetaOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, _ := reading(t, aggregate.Cache{TTL: time.Second, Stale: time.Minute}, func(int) string { return `{"contents":[],"content":[]}` })
		read(t, v, "alice", false, "resources/read")
		time.Sleep(2 * time.Second)
		want := `{"contents":[],"content":[],"_meta":{"io.github.bulkhead-mcp/cache":{"state":"stale","ageMs":2000}}}`
		if got := read(t, v, "alice", false, "resources/read"); got != want {
			t.Error(got)
		}
	})
}

// A source that is asked much takes nothing from another.
func TestANoisySourceLeavesOthersTheirAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var members []aggregate.Member
		sources := map[string]*counted{}
		for _, id := range []upstream.ID{"crm", "noisy"} {
			s := &counted{}
			s.fake = newFake(t, id)
			s.tools = append(s.tools, parse(t, id, `{"name":"get","inputSchema":{"type":"object"},`+reads+`}`))
			s.call = func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
				defer s.enter(c)()
				return upstream.TextResult(strings.Repeat("x", 10_000), false), nil
			}
			m := limited(s.fake, aggregate.Limits{TrustAnnotations: true})
			m.Cache.TTL = time.Hour
			members, sources[string(id)] = append(members, m), s
		}
		v, _ := start(t, aggregate.Options{CacheSize: 1 << 20}, members...)
		names(t, v)
		synctest.Wait()
		for i := range 40 {
			call(t, v, "crm_get", fmt.Sprintf(`{"i":%d}`, i))
		}
		for i := range 500 {
			call(t, v, "noisy_get", fmt.Sprintf(`{"i":%d}`, i))
		}
		for i := range 40 {
			call(t, v, "crm_get", fmt.Sprintf(`{"i":%d}`, i))
		}
		if n := sources["crm"].arrivals(); n != 40 {
			t.Errorf("%d calls for 40 questions", n)
		}
	})
}
