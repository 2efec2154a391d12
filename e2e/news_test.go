package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

const watched = "test://watched-resource"

// follow has a client told of changes of the lists and of one resource, in the
// manner of its era, and returns how it stops to be.
func follow(t *testing.T, c *wire, w way, s *site) (leave func()) {
	t.Helper()
	if !w.modern() {
		if w.transport == "http" {
			c.listen(s.url)
		}
		if x := c.ask("resources/subscribe", `"uri":"`+watched+`"`, ""); at(x.answer, "result") == "" {
			t.Errorf("%s: %.300s", w, x.answer)
		}
		return func() { c.ask("resources/unsubscribe", `"uri":"`+watched+`"`, "") }
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := c.begin(ctx, "subscriptions/listen", `"notifications":{"toolsListChanged":true,"promptsListChanged":true,`+
		`"resourcesListChanged":true,"resourceSubscriptions":["`+watched+`","test://no-such-resource"]}`, "")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = f.wait(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	ack := c.told("notifications/subscriptions/acknowledged")
	if granted := at(ack, "params", "notifications", "resourceSubscriptions"); !strings.Contains(granted, watched) {
		t.Errorf("%s: granted %s", w, ack)
	}
	return cancel
}

// Who subscribed to a resource is told of its changes, tagged as the era has it,
// and nobody else.
func rowSubscriptions(t *testing.T, program string) {
	eachUpstream(t, program, ways, func(t *testing.T, s *site, _ way) {
		const note = "notifications/resources/updated"
		clients := map[way]*wire{}
		other := s.join(way{"http", "legacy"}) // has subscribed to nothing
		other.listen(s.url)
		for _, w := range ways[2:] { // stdio has a source of its own
			clients[w] = s.join(w)
			follow(t, clients[w], w, s)
		}
		other.says("odd_update", fmt.Sprintf(`{"uri":%q}`, watched))
		for w, c := range clients {
			text := c.told(note)
			if at(text, "params", "uri") != `"`+watched+`"` {
				t.Errorf("%s: told %s", w, text)
			}
			if tagged := strings.Contains(string(text), "subscriptionId"); tagged != w.modern() {
				t.Errorf("%s: tagged %v: %s", w, tagged, text)
			}
		}
		if told := other.all(note); len(told) > 0 {
			t.Errorf("told without having asked: %s", told[0])
		}
	})
}

// When one of two has left, the other is still told.
func rowOneLeaves(t *testing.T, program string) {
	eachUpstream(t, program, overHTTPBoth, func(t *testing.T, s *site, _ way) {
		w := way{"http", "legacy"}
		first, second := s.join(w), s.join(w)
		leave := follow(t, first, w, s)
		follow(t, second, w, s)
		leave()
		second.says("odd_update", fmt.Sprintf(`{"uri":%q}`, watched))
		second.told("notifications/resources/updated")
		if told := first.all("notifications/resources/updated"); len(told) > 0 {
			t.Errorf("told after leaving: %s", told[0])
		}
	})
}

// Changes of every list reach every client that listens.
func rowListChanges(t *testing.T, program string) {
	eachUpstream(t, program, ways, func(t *testing.T, s *site, _ way) {
		clients := map[way]*wire{}
		for _, w := range ways[2:] {
			clients[w] = s.join(w)
			follow(t, clients[w], w, s)
		}
		asks := s.join(way{"http", "modern"})
		for _, kind := range []string{"tools", "prompts", "resources"} {
			asks.says("odd_change", fmt.Sprintf(`{"kind":%q}`, kind))
			for w, c := range clients {
				if c.told("notifications/"+kind+"/list_changed") == nil {
					t.Errorf("%s is not told of %s", w, kind)
				}
			}
		}
	})
}

// What an app of an upstream consists of arrives: the tool's word of it, and the
// page behind it.
func rowApps(t *testing.T, program string) {
	eachUpstream(t, program, ways, func(t *testing.T, s *site, _ way) {
		for _, w := range ways[2:] {
			c := s.join(w)
			x := c.ask("tools/list", "", "")
			if !strings.Contains(string(x.answer), `"ui":{"resourceUri":"ui://fixture/app.html","visibility":["model","app"]}`) {
				t.Errorf("%s: the tool says nothing of its app", w)
			}
			page := c.ask("resources/read", `"uri":"ui://fixture/app.html"`, "")
			if !strings.Contains(string(page.answer), "profile=mcp-app") {
				t.Errorf("%s: %.300s", w, page.answer)
			}
		}
	})
}
