package aggregate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// listen subscribes resources and returns which of them are granted.
func listen(ctx context.Context, v *aggregate.View, tell func(aggregate.Notice), uris ...string) ([]string, func()) {
	granted, cancel := v.Subscribe(ctx, aggregate.Subscription{Principal: upstream.Local(), Resources: uris, Tell: tell})
	return granted.Resources, cancel
}

func TestUpdatesReachWhoAskedByTheURITheyKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, agg, crm, dwh := two(t, aggregate.Options{Plain: true})
		lone, _ := agg.View("crm")
		var bare, byAlias, alone told
		granted, _ := listen(t.Context(), v, bare.note, "crm://one", "gopher://none", "file:///readme")
		if diff := cmp.Diff([]string{"crm://one"}, granted); diff != "" {
			t.Error(diff)
		}
		listen(t.Context(), v, byAlias.note, "file://crm.bulkhead////readme", "crm://crm.bulkhead///one")
		listen(t.Context(), lone, alone.note, "file:///readme", "crm://one/")
		if topics, n := crm.subscribed(); n != 3 || len(topics) != 3 {
			t.Errorf("%d subscriptions for %v, want one for each URI", n, topics)
		}
		for _, note := range []struct{ method, params string }{
			{upstream.NoteUpdated, `{"uri":"file:///readme", "n":1e400,"_meta":{"a":1}}`},
			{upstream.NoteUpdated, `{"uri":"crm://one"}`},
			{upstream.NoteUpdated, `{"uri":"crm://one/part","title":"x"}`},
			{upstream.NoteUpdated, `{"uri":"crm://oneself"}`},
			{upstream.NoteUpdated, `{"uri":7}`},
			{upstream.NoteElicited, `{"uri":"crm://one"}`},
		} {
			crm.events().Note(note.method, json.RawMessage(note.params))
			dwh.events().Note(note.method, json.RawMessage(note.params)) // the same URIs of another are another's
		}
		const m = "notifications/resources/updated "
		for _, tt := range []struct {
			who  *told
			want []string
		}{
			{&bare, []string{m + `crm://one {"uri":"crm://one"}`, m + `crm://one/part {"uri":"crm://one/part","title":"x"}`}},
			{&byAlias, []string{
				m + `file://crm.bulkhead////readme {"uri":"file://crm.bulkhead////readme", "n":1e400,"_meta":{"a":1}}`,
				m + `crm://crm.bulkhead///one {"uri":"crm://crm.bulkhead///one"}`,
				m + `crm://crm.bulkhead///one/part {"uri":"crm://crm.bulkhead///one/part","title":"x"}`,
			}},
			{&alone, []string{m + `file:///readme {"uri":"file:///readme", "n":1e400,"_meta":{"a":1}}`, m + `crm://one/part {"uri":"crm://one/part","title":"x"}`}},
		} {
			if diff := cmp.Diff(tt.want, tt.who.take()); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// A follower of what ends in several separators is told once.
func TestToldOnceOfWhatIsBelow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRich(t, "a")
		a.put(t, upstream.Resources, `{"uri":"f:///","name":"1"}`, `{"uri":"f:","name":"1"}`, `{"uri":"f:/","name":"1"}`)
		v, _ := start(t, aggregate.Options{}, asMember(a))
		var heard told
		granted, cancel := listen(t.Context(), v, heard.note, "f:///", "f:", "f:/", "f://")
		defer cancel()
		a.events().Note(upstream.NoteUpdated, json.RawMessage(`{"uri":"f:///x"}`))
		if got := heard.take(); len(got) != len(granted) || len(got) != 4 {
			t.Errorf("%q is told %q", granted, got)
		}
	})
}

func TestWhatCannotBeToldIsNotGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRich(t, "a")
		a.put(t, upstream.Resources, `{"uri":"a:1","name":"1"}`)
		a.refuse = errors.New("no")
		v, _ := start(t, aggregate.Options{}, asMember(a), member(newFake(t, "plain", "x")))
		time.Sleep(time.Second)
		if granted, _ := listen(t.Context(), v, nil, "a:1"); granted != nil {
			t.Errorf("granted %v", granted)
		}
		a.mu.Lock()
		a.refuse, a.agree = nil, make(chan struct{})
		a.mu.Unlock()
		hurried, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if granted, _ := listen(hurried, v, nil, "a:1", "a:2"); granted != nil || time.Since(began) != time.Second {
			t.Errorf("granted %v after %s", granted, time.Since(began))
		}
		close(a.agree)
		granted, leave := listen(t.Context(), v, nil, "a:1")
		if diff := cmp.Diff([]string{"a:1"}, granted); diff != "" {
			t.Error(diff)
		}
		leave()
		leave()
		if topics, n := a.subscribed(); len(topics) != 0 || n != 1 {
			t.Errorf("%v of %d are left", topics, n)
		}
	})
}

func TestOneSubscriptionForAllAndItOutlivesTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRich(t, "a")
		a.agree = make(chan struct{})
		v, _ := start(t, aggregate.Options{}, asMember(a))
		time.Sleep(time.Second)
		first, giveUp := context.WithCancel(t.Context())
		var w sync.WaitGroup
		var all told
		got := make([][]string, 50)
		w.Go(func() {
			if granted, _ := listen(first, v, all.note, "a:1"); granted != nil {
				t.Errorf("granted %v to who gave up", granted)
			}
		})
		synctest.Wait()
		for i := range got {
			w.Go(func() { got[i], _ = listen(t.Context(), v, all.note, "a:1") })
		}
		synctest.Wait()
		giveUp()
		synctest.Wait()
		close(a.agree)
		w.Wait()
		for i, granted := range got {
			if !slices.Equal(granted, []string{"a:1"}) {
				t.Errorf("%d was granted %v", i, granted)
			}
		}
		if topics, n := a.subscribed(); n != 1 || topics["a:1"] != 1 {
			t.Errorf("%d subscriptions, %v", n, topics)
		}
		a.events().Note(upstream.NoteUpdated, json.RawMessage(`{"uri":"a:1"}`))
		if n := len(all.take()); n != 50 {
			t.Errorf("%d were told, want 50", n)
		}
	})
}

// TestSubscriptionsNeverCross has many clients come and go at random: the
// upstream must see each topic subscribed once at a time, whoever is granted one
// must be told while it stays, and nothing may be left in the end.
func TestSubscriptionsNeverCross(t *testing.T) {
	a := newRich(t, "a")
	v, _ := start(t, aggregate.Options{}, asMember(a))
	for a.events().Note == nil {
		time.Sleep(time.Millisecond)
	}
	var w sync.WaitGroup
	for range 16 {
		w.Go(func() {
			for range 200 {
				uri := fmt.Sprintf("a:%d", rand.IntN(3))
				heard := make(chan string, 1000)
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(4) == 0 {
					cancel()
				}
				granted, leave := listen(ctx, v, func(n aggregate.Notice) {
					select {
					case heard <- n.Key:
					default:
					}
				}, uri)
				if granted != nil {
					a.events().Note(upstream.NoteUpdated, json.RawMessage(`{"uri":"`+uri+`"}`))
					if key := <-heard; key != uri {
						t.Errorf("who asked for %s was told of %s", uri, key)
					}
				}
				leave()
				cancel()
			}
		})
	}
	w.Wait()
	topics, n := a.subscribed()
	if a.twice || len(topics) != 0 || n == 0 {
		t.Errorf("subscribed twice: %v; left: %v; of %d", a.twice, topics, n)
	}
}

func TestSubscriptionsFollowASourceThatIsSetUpAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, other := newRich(t, "a"), newRich(t, "b")
		first.put(t, upstream.Resources, `{"uri":"a:1","name":"1"}`)
		other.put(t, upstream.Resources, `{"uri":"b:1","name":"1"}`)
		agg, err := aggregate.New([]aggregate.Member{asMember(first), asMember(other)}, aggregate.Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, agg)
		time.Sleep(time.Second)
		var all told
		_, cancel := listen(t.Context(), v, all.note, "a:1", "b:1")
		second := newRich(t, "a")
		second.refuse = &upstream.Error{Kind: upstream.Unavailable} // it is not there at once
		if err := agg.Swap([]aggregate.Member{asMember(second)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		second.mu.Lock()
		second.refuse = nil
		second.mu.Unlock()
		time.Sleep(time.Minute)
		if topics, _ := second.subscribed(); topics["a:1"] != 1 || len(topics) != 1 {
			t.Errorf("the new adapter has subscribed %v", topics)
		}
		second.events().Note(upstream.NoteUpdated, json.RawMessage(`{"uri":"a:1"}`))
		if got := all.take(); len(got) != 1 || !strings.Contains(got[0], "a:1") {
			t.Errorf("told %q", got)
		}
		again := newRich(t, "a") // as a new upstream of the same name: nobody asked for its resources
		m := asMember(again)
		m.Identity = "another"
		if err := agg.Swap([]aggregate.Member{m}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		again.events().Note(upstream.NoteUpdated, json.RawMessage(`{"uri":"a:1"}`))
		if topics, n := again.subscribed(); n != 0 || len(all.take()) != 0 {
			t.Errorf("another source was asked for %v", topics)
		}
		cancel()
		if _, n := again.subscribed(); n != 0 || second.twice || again.twice {
			t.Error("unsubscribed what was not subscribed")
		}
	})
}

func TestASourceSetUpAnewAgainAndAgainKeepsItsSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := newRich(t, "a")
		agg, err := aggregate.New([]aggregate.Member{asMember(adapter)}, aggregate.Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := run(t, agg)
		time.Sleep(time.Second)
		var all told
		_, cancel := listen(t.Context(), v, all.note, "a:1")
		for range 5 { // each is replaced while it is still being asked
			adapter = newRich(t, "a")
			adapter.agree = make(chan struct{})
			if err := agg.Swap([]aggregate.Member{asMember(adapter)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		close(adapter.agree)
		time.Sleep(time.Second)
		if topics, _ := adapter.subscribed(); topics["a:1"] != 1 {
			t.Errorf("the last adapter has subscribed %v", topics)
		}
		cancel()
		if topics, _ := adapter.subscribed(); len(topics) != 0 || adapter.twice {
			t.Errorf("left: %v", topics)
		}
	})
}
