package mcpserver_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fake is a small MCP server over stdio that misbehaves in one way, named by
// its mode. The test binary runs it when it is started again with FAKE_MODE.
type fake struct {
	mode  string
	mu    sync.Mutex
	out   *bufio.Writer
	lists int
	talk  talker
}

type fakeMsg struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
	Params struct {
		Name         string          `json:"name"`
		Level        string          `json:"level"`
		Capabilities json.RawMessage `json:"capabilities"`
		Cursor       string          `json:"cursor"`
		Arguments    struct {
			Text string `json:"text"`
			MS   int    `json:"ms"`
		} `json:"arguments"`
		RequestID json.RawMessage `json:"requestId"`
		Meta      struct {
			Token        json.RawMessage `json:"progressToken"`
			Capabilities json.RawMessage `json:"io.modelcontextprotocol/clientCapabilities"`
			Level        string          `json:"io.modelcontextprotocol/logLevel"`
		} `json:"_meta"`
	} `json:"params"`
}

func (f *fake) raw(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.WriteString(s)
	f.out.Flush()
}

func (f *fake) line(format string, args ...any) { f.raw(fmt.Sprintf(format, args...) + "\n") }

func (f *fake) result(id json.RawMessage, result string) {
	f.line(`{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
}

func (f *fake) fail(id json.RawMessage, code int, message string) {
	f.line(`{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%q}}`, id, code, message)
}

func textResult(s string) string {
	q, _ := json.Marshal(s)
	return fmt.Sprintf(`{"content":[{"type":"text","text":%s}]}`, q)
}

func fakeTool(name string) string {
	return fmt.Sprintf(`{"name":%q,"inputSchema":{"type":"object"}}`, name)
}

var fakeTools = `{"tools":[` + strings.Join([]string{fakeTool("echo"), fakeTool("sleep"), fakeTool("fail"), fakeTool("refuse")}, ",") + `]}`

func runFake(mode string) {
	f := &fake{mode: mode, out: bufio.NewWriter(os.Stdout)}
	switch mode {
	case "library legacy", "library modern":
		serveLibrary(mode == "library modern")
		return
	case "hang at start":
		time.Sleep(time.Hour)
	case "exit at once":
		fmt.Fprintln(os.Stderr, "no database configured")
		os.Exit(3)
	case "huge stderr":
		os.Stderr.Write(bytes.Repeat([]byte("e"), 8<<20))
		for range 20_000 {
			fmt.Fprintln(os.Stderr, "line \x1b[31m of noise")
		}
	case "ignores SIGTERM":
		signal.Ignore(syscall.SIGTERM)
	case "grandchildren":
		cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & echo $! >&2; trap '' TERM; sleep 1000")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		fmt.Fprintln(os.Stderr, cmd.Process.Pid)
	case "noise":
		f.line("Server starting on stdio...")
		f.line("[1,2,3]")
		f.line("")
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		text, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var m fakeMsg
		if err := json.Unmarshal(text, &m); err != nil {
			f.line("cannot read %q", text)
			continue
		}
		f.handle(&m)
		if mode == "stops reading" && m.Method == "tools/call" {
			time.Sleep(time.Hour)
		}
	}
	if mode == "ignores SIGTERM" {
		time.Sleep(time.Hour)
	}
}

func (f *fake) handle(m *fakeMsg) {
	switch m.Method {
	case "server/discover":
		f.discover(m)
	case "initialize":
		if f.mode == "silent on initialize" || f.mode == "modern, slow and silent" {
			return
		}
		if f.mode == "modern only" || f.mode == "modern, slow start" {
			f.fail(m.ID, -32601, "method not found")
			return
		}
		f.talk.take(m)
		f.result(m.ID, `{"protocolVersion":"2025-11-25","capabilities":{"logging":{},"tools":{"listChanged":true}},"serverInfo":{"name":"fake","version":"1"}}`)
	case "tools/list":
		f.list(m)
	case "tools/call":
		f.call(m)
	case "subscriptions/listen":
		f.line(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true}}}`)
		f.line(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	case "", "logging/setLevel":
		f.talk.take(m)
		if m.Method == "logging/setLevel" {
			f.result(m.ID, `{}`)
		}
	case "notifications/cancelled":
		if f.mode == "answers after cancel" {
			f.result(m.Params.RequestID, textResult("late"))
		}
	default:
		if m.ID != nil && m.Method != "" {
			f.fail(m.ID, -32601, "method not found")
		}
	}
}

func (f *fake) discover(m *fakeMsg) {
	const modern = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}`
	switch f.mode {
	case "empty success to discover":
		f.result(m.ID, `{}`)
	case "modern only", "silent on initialize", "asks for input":
		f.result(m.ID, modern)
	case "dumb after discover":
		select {}
	case "modern, listens":
		f.result(m.ID, strings.Replace(modern, `"tools":{}`, `"tools":{"listChanged":true}`, 1))
	case "modern, slow start", "both, slow start", "modern, slow and silent":
		time.Sleep(500 * time.Millisecond)
		f.result(m.ID, modern)
	case "refuses once":
		if f.lists++; f.lists == 1 {
			f.line(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32022,"message":"no","data":{"supported":["2026-07-28"]}}}`, m.ID)
			return
		}
		f.result(m.ID, modern)
	case "dies of discover":
		os.Exit(1)
	case "ignores discover":
	default:
		f.fail(m.ID, -32601, "method not found")
	}
}

func (f *fake) list(m *fakeMsg) {
	switch f.mode {
	case "10,000 tools":
		page, _ := strconv.Atoi(m.Params.Cursor)
		var tools []string
		for i := range 100 {
			tools = append(tools, fakeTool(fmt.Sprintf("tool_%d", page*100+i)))
		}
		next := ""
		if page < 99 {
			next = fmt.Sprintf(`,"nextCursor":"%d"`, page+1)
		}
		f.result(m.ID, `{"tools":[`+strings.Join(tools, ",")+`]`+next+`}`)
	case "cursor loop":
		f.result(m.ID, `{"tools":[],"nextCursor":"again"}`)
	case "endless pages":
		f.lists++
		f.result(m.ID, fmt.Sprintf(`{"tools":[],"nextCursor":"%d"}`, f.lists))
	case "odd tools":
		f.result(m.ID, `{"tools":[`+fakeTool("good")+`,{"name":"bad"},7,`+fakeTool("good")+`,{"inputSchema":{"type":"object"}}],"nextCursor":""}`)
	default:
		f.result(m.ID, fakeTools)
	}
}

func (f *fake) call(m *fakeMsg) {
	switch f.mode {
	case "dies mid-call":
		if m.Params.Arguments.Text == "die" {
			os.Exit(7)
		}
	case "dies mid-line":
		if m.Params.Arguments.Text == "die" {
			f.raw(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"te`, m.ID))
			os.Exit(7)
		}
	case "garbage":
		f.line(`{"jsonrpc":"2.0","id":%s,"result":{"content":[}}`, m.ID)
		return
	case "duplicate members":
		f.line(`{"jsonrpc":"2.0","id":%s,"result":{"isError":false,"isError":true}}`, m.ID)
		return
	case "talks":
		go func() { f.result(m.ID, textResult(f.talk.run(m, f.line, func() { os.Exit(7) }))) }()
		return
	case "progress":
		go func() {
			for i := range m.Params.Arguments.MS {
				f.line("%s", progressOf(m, i))
			}
			f.result(m.ID, textResult(string(m.Params.Meta.Token)))
		}()
		return
	case "late progress":
		f.result(m.ID, textResult("done"))
		f.line("%s", progressOf(m, 0))
		return
	case "odd progress":
		for _, params := range oddProgress(m) {
			f.line(`{"jsonrpc":"2.0","method":"notifications/progress","params":%s}`, params)
		}
		f.line(`{"jsonrpc":"2.0","method":"notifications/progress"}`)
	case "answers twice":
		f.result(m.ID, textResult("first"))
		f.result(m.ID, textResult("second"))
		return
	case "wrong id":
		f.result(json.RawMessage("99999"), textResult("not yours"))
		f.result(json.RawMessage(`{"x":1}`), textResult("nobody's"))
		f.result(json.RawMessage("null"), textResult("nobody's"))
	case "string id":
		m.ID = json.RawMessage(`"` + string(m.ID) + `"`)
	case "floods":
		for range 100_000 {
			f.line(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		}
	case "pings":
		f.line(`{"jsonrpc":"2.0","id":%s,"method":"ping"}`, m.ID)
		f.line(`{"jsonrpc":"2.0","id":%s,"method":"sampling/createMessage","params":{}}`, m.ID)
	case "CRLF":
		f.raw(fmt.Sprintf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\r\n", m.ID, textResult("crlf")))
		return
	case "50 MB":
		f.raw(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"`, m.ID))
		f.raw(strings.Repeat("x", 50<<20))
		f.raw("\"}]}}\n")
		return
	case "too long, id last":
		f.line(`{"result":%s,"jsonrpc":"2.0","id":%s}`, textResult(strings.Repeat("x", 3<<20)), m.ID)
		return
	case "too long, id first":
		f.result(m.ID, textResult(strings.Repeat("x", 3<<20)))
		return
	case "long refusals":
		if m.Params.Name == "refuse" {
			f.result(m.ID, textResult(strings.Repeat("x", 1<<20)))
			return
		}
	case "closes stdout":
		os.Stdout.Close()
		return
	case "asks for input", "own resultType":
		f.result(m.ID, `{"resultType":"input_required","inputRequests":{}}`)
		return
	}
	f.normal(m)
}

func (f *fake) normal(m *fakeMsg) {
	id := append(json.RawMessage(nil), m.ID...)
	switch m.Params.Name {
	case "echo":
		f.result(id, textResult(m.Params.Arguments.Text))
	case "sleep":
		time.AfterFunc(time.Duration(m.Params.Arguments.MS)*time.Millisecond, func() { f.result(id, textResult("slept")) })
	case "fail":
		f.result(id, `{"content":[],"isError":true}`)
	case "refuse":
		f.fail(id, -32602, "wrong arguments")
	default:
		f.fail(id, -32602, "no such tool")
	}
}
