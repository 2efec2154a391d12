package mcpserver

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

func TestListenParams(t *testing.T) {
	topic := func(note, key string) upstream.Topic { return upstream.Topic{Note: note, Key: key} }
	for _, c := range []struct {
		offers offers
		topics []upstream.Topic
		want   string
	}{
		{offers{}, nil, `{}`},
		{offers{toolsChanged: true}, nil, `{"toolsListChanged":true}`},
		{offers{}, []upstream.Topic{topic(upstream.NoteUpdated, `b"`), topic(upstream.NoteUpdated, "a")}, `{"resourceSubscriptions":["a","b\""]}`},
		{
			offers{promptsChanged: true}, []upstream.Topic{topic(upstream.NoteTask, "t"), topic(upstream.NoteUpdated, "a")},
			`{"promptsListChanged":true,"resourceSubscriptions":["a"],"taskIds":["t"]}`,
		},
	} {
		p := &peer{modern: true, offers: c.offers, meta: modernMeta("v", json.RawMessage(`{}`))}
		topics := map[upstream.Topic]*interest{}
		tasks := false
		for _, t := range c.topics {
			topics[t] = &interest{}
			tasks = tasks || t.Note == upstream.NoteTask
		}
		params := listenParams(p, topics)
		if err := rawjson.Check(params, rawjson.Limits{}); err != nil {
			t.Fatalf("%s: %v", params, err)
		}
		if got, _ := rawjson.Get(params, "notifications"); string(got) != c.want {
			t.Errorf("the filter is %s, want %s", got, c.want)
		}
		if got := strings.Contains(string(params), `/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}`); got != tasks {
			t.Errorf("tasks are declared: %v; %s", got, params)
		}
	}
}

func TestWithoutStream(t *testing.T) {
	const id = `"io.modelcontextprotocol/subscriptionId":7`
	for in, want := range map[string]string{
		`{"uri":"a"}`:                                  `{"uri":"a"}`,
		`{"uri":"a","_meta":{"v":1}}`:                  `{"uri":"a","_meta":{"v":1}}`,
		`{"_meta":{` + id + `},"uri":"a"}`:             `{"uri":"a"}`,
		`{"uri":"a","_meta":{"v":1e400, ` + id + ` }}`: `{"uri":"a","_meta":{"v":1e400 }}`,
		`{"_meta":` + `null}`:                          `{"_meta":null}`,
	} {
		if got := withoutStream(json.RawMessage(in)); string(got) != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}
