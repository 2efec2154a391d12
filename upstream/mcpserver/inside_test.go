package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

func TestCallParams(t *testing.T) {
	for _, c := range []struct{ params, meta, want string }{
		{`{}`, ``, `{"name":"t"}`},
		{``, ``, `{"arguments":{"a":1},"name":"t"}`},
		{`{"name":"x"}`, `"v":1`, `{"name":"t","_meta":{"v":1}}`},
		{` {"a":1 , "name" : "x"}`, ``, ` {"a":1 , "name" : "t"}`},
		{`{"_meta":{"progressToken":1},"name":"x"}`, ``, `{"_meta":{},"name":"t"}`},
		{`{"_meta":{"progressToken":1},"name":"x"}`, `"v":1`, `{"_meta":{"v":1},"name":"t"}`},
		{`{"_meta":{"k":1, "progressToken":1},"name":"x"}`, `"v":1`, `{"_meta":{"k":1,"v":1},"name":"t"}`},
		{`{"_meta":null,"name":"x"}`, `"v":1`, `{"_meta":{"v":1},"name":"t"}`},
	} {
		got := callParams(&upstream.Call{
			Op: upstream.CallTool, Name: "t", Tool: &upstream.Tool{Name: "t"}, Params: json.RawMessage(c.params), Arguments: json.RawMessage(`{"a":1}`),
		}, []byte(c.meta))
		if string(got) != c.want {
			t.Errorf("callParams(%s, %s)\n= %s\nwant %s", c.params, c.meta, got, c.want)
		}
		if err := rawjson.Check(got, rawjson.Limits{}); err != nil {
			t.Errorf("callParams(%s): %v", c.params, err)
		}
	}
}

func TestOnlySaneRequestsAreAnswered(t *testing.T) {
	for msg, want := range map[string]bool{
		`{"id":1,"method":"ping"}`:    true,
		`{"id":"a","method":"ping"}`:  true,
		`{"id":null,"method":"ping"}`: false,
		`{"id":{},"method":"ping"}`:   false,
		`{"id":1}`:                    false,
		`{"method":"ping"}`:           false,
		`{"id":"` + strings.Repeat("x", 1<<20) + `","method":"ping"}`: false,
	} {
		if got := scan([]byte(msg)).answerable(); got != want {
			t.Errorf("%.60s: answerable is %v", msg, got)
		}
	}
}

func TestOwnerOf(t *testing.T) {
	for tail, want := range map[string]int64{
		`..."}]},"jsonrpc":"2.0","id":17}`:     17,
		`..."}]},"jsonrpc":"2.0","id": "17" }`: 17,
		`..."id":5}}`:                          -1,
		`..."id":5},"x":1}`:                    -1,
		`...`:                                  -1,
	} {
		id, ok := ownerOf(line{text: []byte(`{"result":{"content":[{"text":"aaa`), tail: []byte(tail)})
		if !ok {
			id = -1
		}
		if id != want {
			t.Errorf("the owner of %s is %d, want %d", tail, id, want)
		}
	}
	if _, ok := ownerOf(line{text: []byte(`{"id":5,"method":"x","params":"aaa`), tail: []byte(`"id":5}`)}); ok {
		t.Error("a request has an owner")
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("a", 200_000)
	in := "one\r\n\n" + long + "\n" + long + long + "END\nlast"
	for name, r := range map[string]io.Reader{
		"whole": strings.NewReader(in), "pieces": iotest.HalfReader(strings.NewReader(in)),
	} {
		lr := newLineReader(r, int64(len(long)))
		want := []struct {
			size int
			over bool
		}{{3, false}, {0, false}, {len(long), false}, {0, true}, {4, false}}
		for i, w := range want {
			ln, err := lr.next()
			if ln.over != w.over || (!w.over && len(ln.text) != w.size) {
				t.Fatalf("%s, line %d: %d bytes, over %v, %v", name, i, len(ln.text), ln.over, err)
			}
			if w.over && (!bytes.HasSuffix(ln.tail, []byte("END")) || len(ln.text) > ends) {
				t.Errorf("%s: of the over-long line %d bytes are left, the tail ends %.5q", name, len(ln.text), ln.tail[len(ln.tail)-5:])
			}
		}
	}
}

// FuzzSSE compares with a plain reading of the whole stream.
func FuzzSSE(f *testing.F) {
	for _, s := range []string{
		"data: a\n\n", "data:a\r\ndata: b\r\n\r\n", ": c\n\nid: 1\ndata\n\ndata: x\n\n", "data: cut", "\xef\xbb\xbfdata: bom\n\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		const max = 1 << 10
		var want []string
		var data []string
		text, _ := strings.CutPrefix(string(in), "\xef\xbb\xbf")
		lines := strings.Split(text, "\n")
		for _, l := range lines[:len(lines)-1] {
			l = strings.TrimRight(l, "\r")
			field, value, _ := strings.Cut(l, ":")
			switch {
			case l == "":
				if s := strings.Join(data, "\n"); s != "" {
					want = append(want, s)
				}
				data = nil
			case field == "data":
				data = append(data, strings.TrimPrefix(value, " "))
			}
		}
		r := newSSEReader(iotest.OneByteReader(bytes.NewReader(in)), max)
		for i := 0; ; i++ {
			got, err := r.next()
			if err != nil {
				if errors.Is(err, io.EOF) && i < len(want) {
					t.Fatalf("%d events, want %d", i, len(want))
				}
				if !errors.Is(err, io.EOF) && !errors.Is(err, httpcall.ErrTooLong) {
					t.Fatal(err)
				}
				return
			}
			if i >= len(want) || string(got) != want[i] {
				t.Fatalf("event %d is %q, want %q", i, got, want)
			}
		}
	})
}

// FuzzMessage holds that no text of a server makes the reader panic.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{}}`, `{"id":"1","error":{"code":-3.0,"message":"m"}}`,
		`{"id":1,"method":"ping"}`, `{"id`, `{"error":[]}`, `{"result":{"content":[`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		e := scan(in)
		_, _ = parseID(e.id)
		_, _ = ownerOf(line{text: in, tail: in})
		a, err := parseAnswer(in)
		if err == nil && a.rpc == nil {
			_, _ = parseResult(a, true)
		}
		_ = escape(string(in))
	})
}

func TestTargetOfMessages(t *testing.T) {
	const home = "https://user:pw@crm.example/a/sse?key=k"
	base, err := url.Parse(home)
	if err != nil {
		t.Fatal(err)
	}
	l := &sseLink{endpoint: home}
	for ref, want := range map[string]string{
		"messages?s=1":                     "https://user:pw@crm.example/a/messages?s=1",
		" /messages ":                      "https://user:pw@crm.example/messages",
		"?s=1":                             "https://user:pw@crm.example/a/sse?s=1",
		"https://CRM.example:443/m#x":      "https://user:pw@CRM.example:443/m",
		"https://other:pw@crm.example/m":   "https://user:pw@crm.example/m",
		"//crm.example/m":                  "https://user:pw@crm.example/m",
		"http://crm.example/m":             "",
		"https://crm.example:8443/m":       "",
		"https://crm.example.evil.example": "",
		"https://crm.example@evil.example": "",
		"//evil.example/m":                 "",
		"https:messages":                   "",
		"javascript:alert(1)":              "",
		"/m\x00":                           "",
	} {
		if got, err := l.target(base, ref); got != want || (err == nil) != (want != "") {
			t.Errorf("target of %q is %q, %v; want %q", ref, got, err, want)
		}
	}
}

func TestStalledChildIsReplaced(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a := NewStdio(Options{ID: "fake", stall: 200 * time.Millisecond}, func(ctx context.Context, name string, _ ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, name)
		cmd.Env = []string{"FAKE_MODE=stops reading"}
		return cmd
	}, exe)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.Watch(context.Background(), upstream.Events{})
	}()
	send := func(text string) error {
		_, err := a.Call(t.Context(), &upstream.Call{
			Op: upstream.CallTool, Name: "echo", Tool: &upstream.Tool{Name: "echo"}, Params: json.RawMessage(`{"arguments":{"text":"` + text + `"}}`),
		})
		return err
	}
	if err := send("the last one it reads"); err != nil {
		t.Error(err)
	}
	e, ok := errors.AsType[*upstream.Error](send(strings.Repeat("x", 4<<20)))
	if !ok || e.Kind != upstream.Unavailable || e.Public != "the server process stopped reading its input; restarting" {
		t.Errorf("the stalled call ended with %+v", e)
	}
	if err := send("to the next child"); err != nil {
		t.Error(err)
	}
	_ = a.Close()
	<-done
}

// A channel is used again, so an answer that came as its call was given up must
// not be the next call's.
func TestPendingForgetsLateAnswers(t *testing.T) {
	var p pending
	first, ch := p.add()
	if !p.deliver(first, incoming{msg: []byte("late")}) {
		t.Fatal("nobody waits")
	}
	p.drop(first, ch)
	second, again := p.add()
	if again != ch || second == first {
		t.Errorf("channel %v after %v, id %d after %d", again, ch, second, first)
	}
	select {
	case in := <-again:
		t.Errorf("%s for the next call", in.msg)
	default:
	}
	if p.deliver(first, incoming{}) || !p.deliver(second, incoming{msg: []byte("own")}) {
		t.Error("the wrong one waits")
	}
	if in := <-again; string(in.msg) != "own" {
		t.Errorf("%s", in.msg)
	}
	p.drop(second, again)
}
