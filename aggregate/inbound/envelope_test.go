package inbound

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// FuzzScan: whatever the scan lets through, Go's decoder reads as the same
// message, so that mcp-go is never shown another one than we judged.
func FuzzScan(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f.Add([]byte(strings.TrimPrefix(strings.TrimSpace(line), "> ")))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		msgs, batch, fault := scan(text, rawjson.Limits{})
		if fault != nil {
			if len(msgs) != 0 {
				t.Fatal("a fault and messages")
			}
			return
		}
		texts := []json.RawMessage{text}
		if batch {
			texts = nil
			if err := json.Unmarshal(text, &texts); err != nil {
				t.Fatal("encoding/json refuses:", err)
			}
		}
		if len(texts) != len(msgs) {
			t.Fatalf("%d messages, encoding/json reads %d", len(msgs), len(texts))
		}
		for i := range msgs {
			compare(t, &msgs[i], texts[i])
		}
	})
}

func compare(t *testing.T, m *message, text []byte) {
	t.Helper()
	if m.fault != nil {
		return
	}
	var std struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  string          `json:"method"`
		Params  json.RawMessage `json:"params"`
		Result  json.RawMessage `json:"result"`
		Error   json.RawMessage `json:"error"`
	}
	err := json.Unmarshal(text, &std)
	if m.method == "" { // a response, which is never read further
		if err == nil && std.Method != "" || err == nil && std.Result == nil && std.Error == nil {
			t.Fatalf("a message without a method: %s", text)
		}
		return
	}
	if err != nil {
		t.Fatal("encoding/json refuses:", err)
	}
	if std.Version != "2.0" || std.Method != m.method || !bytes.Equal(std.ID, m.id) {
		t.Fatalf("we read %s %q, encoding/json %s %q", m.id, m.method, std.ID, std.Method)
	}
	var params, again struct {
		Name   string          `json:"name"`
		Cursor json.RawMessage `json:"cursor"`
		Meta   struct {
			Token json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	}
	_ = json.Unmarshal(std.Params, &params)
	_ = json.Unmarshal(m.params, &again)
	name, _ := rawjson.GetString(m.params, "name")
	if params.Name != name || params.Name != again.Name || !bytes.Equal(params.Meta.Token, m.token) && m.token != nil {
		t.Fatalf("we read name %q and token %s, encoding/json %q and %s", name, m.token, params.Name, params.Meta.Token)
	}
}

// FuzzIDInBeginning: the id that is found in the beginning of a message is that
// of the message.
func FuzzIDInBeginning(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`), 30)
	f.Add([]byte(`{"jsonrpc":"2.0","id":12345,"method":"ping"}`), 24)
	f.Add([]byte(`{"params":{"id":2},"a":"\"id\":3","id":"x\"y","z":1}`), 48)
	f.Fuzz(func(t *testing.T, text []byte, n int) {
		if rawjson.Check(text, rawjson.Limits{}) != nil || rawjson.Kind(text) != '{' || n < 0 || n > len(text) {
			return
		}
		id := idIn(text[:n])
		if id == nil {
			return
		}
		if whole, _ := rawjson.Get(text, "id"); !bytes.Equal(whole, id) {
			t.Fatalf("found %s, it is %s", id, whole)
		}
	})
}

func TestLinesAreSplit(t *testing.T) {
	const limit = 100
	long := strings.Repeat("x", limit)
	in := "a\n\n" + long + "\n" + long + "y\n" + strings.Repeat("z", 1<<20) + "\nb\r\nlast"
	r := newLineReader(strings.NewReader(in), limit)
	for _, want := range []struct {
		line    string
		tooLong bool
	}{{"a", false}, {"", false}, {long, false}, {long + "y", true}, {"z", true}, {"b\r", false}, {"last", false}} {
		line, tooLong, err := r.next()
		if err != nil || tooLong != want.tooLong || !strings.HasPrefix(string(line), want.line) || !tooLong && string(line) != want.line || len(line) > headBytes {
			t.Fatalf("%.20q %v %v, want %.20q %v", line, tooLong, err, want.line, want.tooLong)
		}
	}
	if _, _, err := r.next(); err == nil {
		t.Fatal("no end")
	}
}
