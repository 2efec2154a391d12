package mcpserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/mcpserver"
)

// ear hears what an adapter tells.
type ear struct {
	mu    sync.Mutex
	lists map[upstream.List]int
	notes []string // method and params
}

func (e *ear) changed(l upstream.List) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lists == nil {
		e.lists = map[upstream.List]int{}
	}
	e.lists[l]++
}

func (e *ear) note(method string, params json.RawMessage) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.notes = append(e.notes, method+" "+string(params))
}

func (e *ear) count(l upstream.List) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lists[l]
}

// heard returns how many notes have a text in them.
func (e *ear) heard(text string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, note := range e.notes {
		if strings.Contains(note, text) {
			n++
		}
	}
	return n
}

// hear runs an adapter until the test ends.
func hear(t *testing.T, a *mcpserver.Adapter) *ear {
	t.Helper()
	e := &ear{}
	done := make(chan error, 1)
	go func() { done <- a.Watch(context.Background(), upstream.Events{Changed: e.changed, Note: e.note}) }()
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return e
}

// libraries are adapters to the library over every transport, by name; lose
// makes the connection or its stream break.
var libraries = map[string]func(t *testing.T) (a *mcpserver.Adapter, lose func()){
	"stdio legacy": func(t *testing.T) (*mcpserver.Adapter, func()) {
		a := newFake(t, "library legacy", quickly())
		return a, func() { _, _ = call(context.WithoutCancel(t.Context()), a, "die", `{}`) }
	},
	"stdio modern": func(t *testing.T) (*mcpserver.Adapter, func()) {
		a := newFake(t, "library modern", quickly())
		return a, func() { _, _ = call(context.WithoutCancel(t.Context()), a, "die", `{}`) }
	},
	"http legacy": func(t *testing.T) (*mcpserver.Adapter, func()) {
		l := newLibrary(false)
		h := &sessions{library: l}
		return newHTTP(t, serve(t, h).URL, quickly()), h.restart
	},
	"http modern": func(t *testing.T) (*mcpserver.Adapter, func()) {
		l := newLibrary(true)
		a := newHTTP(t, serve(t, l).URL, quickly())
		return a, func() {
			l.answer(&libMsg{ID: json.RawMessage("1"), Method: "tools/call", Params: libParams{Name: "drop"}})
		}
	},
	"sse": func(t *testing.T) (*mcpserver.Adapter, func()) {
		o := &oldLibrary{library: newLibrary(false)}
		return newSSE(t, serve(t, o).URL+"/sse", quickly()), o.end
	},
}

func everyLibrary(t *testing.T, test func(t *testing.T, a *mcpserver.Adapter, e *ear, lose func())) {
	for name, make := range libraries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, lose := make(t)
			test(t, a, hear(t, a), lose)
		})
	}
}

func TestItems(t *testing.T) {
	everyLibrary(t, func(t *testing.T, a *mcpserver.Adapter, _ *ear, _ func()) {
		for list, want := range map[upstream.List]string{
			upstream.Prompts:   libPrompt,
			upstream.Resources: `{"uri":"lib://a","name":"a"} {"uri":"lib://b","name":"b","size":9007199254740993}`,
			upstream.Templates: "",
			upstream.Skills:    `{"uri":"skill://x/SKILL.md","frontmatter":{"name":"x"}}`,
		} {
			items, err := a.Items(t.Context(), list)
			var got []string
			for _, it := range items {
				got = append(got, string(it.Raw))
				if it.Key == "" || it.Upstream != "fake" {
					t.Errorf("%s: %+v", list, it)
				}
			}
			if err != nil || strings.Join(got, " ") != want {
				t.Errorf("%s: %s, %v; want %s", list, got, err, want)
			}
		}
		var held []string
		for _, h := range a.Held() {
			held = append(held, h.Tool+": "+h.Reason)
		}
		if got := strings.Join(held, "; "); got != "#2: prompts/list: name is missing, empty or not a string; "+
			"greet: prompts/list: an earlier one has the same name; #2: resources/list: the definition is not an object" {
			t.Errorf("held back: %s", got)
		}
		if got := a.Extensions(); len(got) != 3 || string(got["x/y"]) != `{"a":1e400}` {
			t.Errorf("extensions: %s", got)
		}
	})
}

// TestItemsThatAreNotThere: a server that declares no list is not asked for it.
func TestItemsThatAreNotThere(t *testing.T) {
	a := start(t, "good")
	for _, list := range []upstream.List{upstream.Prompts, upstream.Resources, upstream.Templates, upstream.Skills, "odd", upstream.Tools} {
		if items, err := a.Items(t.Context(), list); err != nil || items != nil {
			t.Errorf("%s: %v, %v", list, items, err)
		}
	}
}

func TestEveryOperation(t *testing.T) {
	everyLibrary(t, func(t *testing.T, a *mcpserver.Adapter, _ *ear, _ func()) {
		for op, want := range map[upstream.Op]string{
			upstream.GetPrompt:    `{"about":"it's 'ü'","by":"prompts/get"}`,
			upstream.GetTask:      `{"about":"it's 'ü'","by":"tasks/get"}`,
			upstream.UpdateTask:   `{"about":"it's 'ü'","by":"tasks/update"}`,
			upstream.CancelTask:   `{"about":"it's 'ü'","by":"tasks/cancel"}`,
			upstream.GetSkill:     `{"about":"it's 'ü'","by":"skills/get"}`,
			upstream.ReadDir:      `{"about":"it's 'ü'","by":"resources/directory/read"}`,
			upstream.Complete:     `{"about":"","by":"completion/complete"}`,
			upstream.ReadResource: "not_found invalid_arguments",
			"tasks/result":        "not_found",
			"initialize":          "not_found",
		} {
			r, err := a.Call(t.Context(), &upstream.Call{Op: op, Name: "it's 'ü'", Params: json.RawMessage(`{"ref":{"name":"x"},"_meta":{"progressToken":1}}`)})
			if err != nil {
				e, ok := err.(*upstream.Error) //nolint:errorlint // it is to be one as it is
				if !ok || !strings.Contains(want, e.Kind.Code()) || e.Tool != "" || e.Op != string(op) {
					t.Errorf("%s: %v (%+v)", op, err, e)
				}
				if op == upstream.ReadResource && (e.RPC == nil || string(e.RPC.Data) != `{"uri":1}`) {
					t.Errorf("%s: the error object is lost: %+v", op, e.RPC)
				}
				if op != upstream.ReadResource && e.Sent {
					t.Errorf("%s was sent", op)
				}
			} else if string(r.Raw) != want {
				t.Errorf("%s: %s, want %s", op, r.Raw, want)
			}
		}
		r, err := a.Call(t.Context(), &upstream.Call{Op: upstream.ReadResource, Name: "lib://a", Params: json.RawMessage(`{"uri":"lib://alias"}`)})
		if err != nil || string(r.Raw) != `{"contents":[{"uri":"lib://a","text":"of lib://a"}]}` {
			t.Errorf("%v, %v", r, err)
		}
	})
}

func TestNamesInHeaders(t *testing.T) {
	l := newLibrary(true)
	var mu sync.Mutex
	names := map[string]string{}
	a := newHTTP(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		names[r.Header.Get("Mcp-Method")] = r.Header.Get("Mcp-Name")
		mu.Unlock()
		l.ServeHTTP(w, r)
	})).URL, quickly())
	hear(t, a)
	for _, op := range []upstream.Op{upstream.CallTool, upstream.GetPrompt, upstream.ReadResource, upstream.GetTask, upstream.Complete, upstream.GetSkill} {
		_, _ = a.Call(t.Context(), &upstream.Call{Op: op, Name: "lib://" + string(op), Tool: nil, Params: json.RawMessage(`{}`)})
	}
	mu.Lock()
	defer mu.Unlock()
	got := fmt.Sprint(names["tools/call"], names["prompts/get"], names["resources/read"], names["tasks/get"], names["completion/complete"], names["skills/get"], names["server/discover"])
	if got != "lib://tools/calllib://prompts/getlib://resources/readlib://tasks/getlib://skills/get" {
		t.Errorf("the headers are %v", names)
	}
}
