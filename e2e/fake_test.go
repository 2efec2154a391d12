package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fake is an MCP server over stdio that misbehaves in one way, named by its
// mode. What the mode does not concern, it does as it should.
type fake struct {
	mode string
	mu   sync.Mutex
	out  *bufio.Writer
	seen []string // methods, in order
	// asking is the call that waits for an answer from the client's user.
	asking   json.RawMessage
	declared json.RawMessage // the client's capabilities
}

type fakeRequest struct {
	ID     json.RawMessage
	Method string
	Result json.RawMessage // of an answer
	Params struct {
		Name, Cursor string
		Arguments    struct {
			Text string
			MS   int
		}
		RequestID    json.RawMessage
		Capabilities json.RawMessage
	}
}

func runFake(mode string) {
	if mode == "by file" { // so that it can change between two runs
		text, _ := os.ReadFile("mode") // none is none
		mode = string(text)
	}
	f := &fake{mode: mode, out: bufio.NewWriter(os.Stdout)}
	switch mode {
	case "hangs at start":
		time.Sleep(time.Hour)
	case "starts slowly":
		time.Sleep(3 * time.Second)
	case "dies at start":
		_, _ = os.Stderr.WriteString("no database configured\n")
		os.Exit(3)
	case "has a child":
		child := exec.Command("/bin/sh", "-c", "sleep 1000 & exec sleep 1000")
		if err := child.Start(); err != nil {
			os.Exit(1)
		}
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var r fakeRequest
		if json.Unmarshal(line, &r) == nil {
			f.seen = append(f.seen, r.Method)
			f.handle(&r)
		}
	}
}

func (f *fake) say(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = fmt.Fprintf(f.out, format+"\n", args...)
	_ = f.out.Flush()
}

func (f *fake) result(id json.RawMessage, result string) {
	f.say(`{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
}

func (f *fake) text(id json.RawMessage, text string) {
	quoted, _ := json.Marshal(text) // a string always can
	f.result(id, `{"content":[{"type":"text","text":`+string(quoted)+`}]}`)
}

func (f *fake) handle(r *fakeRequest) {
	switch r.Method {
	case "": // an answer
		f.text(f.asking, "answered: "+string(r.Result))
	case "initialize":
		f.declared = r.Params.Capabilities
		f.result(r.ID, `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"fake","version":"1"}}`)
	case "server/discover":
		f.say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"method not found"}}`, r.ID)
	case "tools/list":
		f.list(r)
	case "tools/call":
		f.call(r)
	case "ping":
		f.result(r.ID, `{}`)
	case "notifications/cancelled":
		if f.mode == "answers after cancel" {
			f.text(r.Params.RequestID, "too late")
		}
	}
}

const strictSchema = `{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}`

func fakeTool(name, schema string) string {
	return fmt.Sprintf(`{"name":%q,"inputSchema":%s}`, name, schema)
}

func (f *fake) list(r *fakeRequest) {
	const object = `{"type":"object"}`
	switch f.mode {
	case "10,000 tools":
		page, _ := strconv.Atoi(r.Params.Cursor) // "" is the first
		var tools []string
		for i := range 500 {
			tools = append(tools, fakeTool(fmt.Sprintf("tool_%d", page*500+i), object))
		}
		next := ""
		if page < 19 {
			next = fmt.Sprintf(`,"nextCursor":"%d"`, page+1)
		}
		f.result(r.ID, `{"tools":[`+strings.Join(tools, ",")+`]`+next+`}`)
	case "an odd tool":
		f.result(r.ID, `{"tools":[`+fakeTool("good", object)+`,{"name":"bad"}]}`)
	default:
		f.result(r.ID, `{"tools":[`+strings.Join([]string{
			fakeTool("echo", object), fakeTool("sleep", object), fakeTool("strict", strictSchema),
			fakeTool("fail", object), fakeTool("about", object), fakeTool("act", object),
		}, ",")+`]}`)
	}
}

func (f *fake) call(r *fakeRequest) {
	switch r.Params.Name {
	case "echo", "strict":
		f.text(r.ID, r.Params.Arguments.Text)
	case "sleep":
		time.AfterFunc(time.Duration(r.Params.Arguments.MS)*time.Millisecond, func() { f.text(r.ID, "slept") })
	case "fail":
		f.result(r.ID, `{"content":[{"type":"text","text":"no such record"}],"isError":true}`)
	case "about":
		f.about(r.ID)
	default:
		f.act(r)
	}
}

// about tells what the child sees of its surroundings.
func (f *fake) about(id json.RawMessage) {
	dir, _ := os.Getwd() // "" shows in the test
	text, _ := json.Marshal(map[string]any{"dir": dir, "env": os.Environ(), "pid": os.Getpid(), "seen": f.seen, "declared": f.declared})
	f.text(id, string(text))
}

// act misbehaves.
func (f *fake) act(r *fakeRequest) {
	switch f.mode {
	case "dies mid-call":
		_, _ = f.out.WriteString(`{"jsonrpc":"2.0","id":`)
		_ = f.out.Flush()
		os.Exit(7)
	case "garbage":
		f.say("%s", strings.Repeat("\x00\xff garbage ", 1000))
		f.say(`{"jsonrpc":"2.0","id":%s,"result":{"content":[}}`, r.ID)
	case "answers twice":
		f.text(r.ID, "first")
		f.text(r.ID, "second")
	case "answers after cancel": // and not before
	case "floods":
		for range 100_000 {
			f.say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}`)
		}
		f.text(r.ID, "flooded")
	case "list changes":
		for range 100_000 {
			f.say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		}
		f.text(r.ID, "changed")
	case "50 MB":
		f.text(r.ID, strings.Repeat("x", 50<<20))
	case "too large":
		f.text(r.ID, strings.Repeat("x", 8<<20))
	case "asks":
		f.asking = r.ID
		f.say(`{"jsonrpc":"2.0","id":"q1","method":"elicitation/create","params":{"message":"Which one?","requestedSchema":{"type":"object","properties":{}}}}`)
	case "closes":
		_ = os.Stdout.Close()
	case keepsLedger: // and does not answer
		enterLedger(r.Params.Arguments.Text)
	default:
		f.text(r.ID, "nothing happens")
	}
}
