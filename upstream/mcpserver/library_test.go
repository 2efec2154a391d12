package mcpserver_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// library is a server of resources and prompts, of either era and over every
// transport. Its tools make it do things:
//
//	update {text: uri}    tells that a resource has changed, with a number of its own
//	tell   {text: raw}    sends a notification as it is
//	state  {}             what is subscribed, sorted
//	opened {}             how many streams of notifications there have been
//	drop   {}             ends every stream of notifications
//	die    {}             ends the process (stdio only)
type library struct {
	modern bool
	// shared sends on the channel for notifications of the legacy era.
	shared func(msg string)
	// noAck: streams are never confirmed.
	noAck bool

	mu      sync.Mutex
	number  int
	opened  int
	subs    map[string]bool
	streams map[*libStream]bool
	// once are requests that are seen, by method, for tests that count.
	seen map[string]int
}

// libStream is one subscriptions/listen.
type libStream struct {
	id     json.RawMessage
	filter libFilter
	send   func(msg string)
	quit   chan struct{}
	once   sync.Once
}

func (s *libStream) end() { s.once.Do(func() { close(s.quit) }) }

type libFilter struct {
	Tools     bool     `json:"toolsListChanged,omitempty"`
	Prompts   bool     `json:"promptsListChanged,omitempty"`
	Resources bool     `json:"resourcesListChanged,omitempty"`
	URIs      []string `json:"resourceSubscriptions,omitempty"`
	Tasks     []string `json:"taskIds,omitempty"`
}

type libMsg struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params libParams       `json:"params"`
}

type libParams struct {
	Name      string                     `json:"name"`
	URI       string                     `json:"uri"`
	TaskID    string                     `json:"taskId"`
	Cursor    *string                    `json:"cursor"`
	Filter    libFilter                  `json:"notifications"`
	RequestID json.RawMessage            `json:"requestId"`
	Meta      map[string]json.RawMessage `json:"_meta"`
	Arguments struct {
		Text string `json:"text"`
	} `json:"arguments"`
}

const (
	libCaps = `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},` +
		`"completions":{},"extensions":{"io.modelcontextprotocol/skills":{"directoryRead":true},"io.modelcontextprotocol/tasks":{}, "x/y":{"a":1e400}}}`
	libPrompt = `{"name":"greet", "x":1e400,"arguments":[{"name":"who"}]}`
)

func newLibrary(modern bool) *library {
	return &library{modern: modern, subs: map[string]bool{}, streams: map[*libStream]bool{}, seen: map[string]int{}, shared: func(string) {}}
}

func libResult(id json.RawMessage, result string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
}

func libError(id json.RawMessage, code int, message string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%q,"data":{"uri":1}}}`, id, code, message)
}

// answer returns the answer to anything but subscriptions/listen; "" for none.
func (l *library) answer(m *libMsg) string {
	l.mu.Lock()
	l.seen[m.Method]++
	l.mu.Unlock()
	switch {
	case m.ID == nil:
		return ""
	case m.Method == "server/discover" && l.modern:
		return libResult(m.ID, `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":`+libCaps+`}`)
	case m.Method == "initialize" && !l.modern:
		return libResult(m.ID, `{"protocolVersion":"2025-06-18","capabilities":`+libCaps+`,"serverInfo":{"name":"library","version":"1"}}`)
	case strings.HasSuffix(m.Method, "/list"):
		return l.list(m)
	case m.Method == "tools/call":
		return l.tool(m)
	case m.Method == "resources/read":
		if !strings.HasPrefix(m.Params.URI, "lib://") {
			return libError(m.ID, map[bool]int{false: -32002, true: -32602}[l.modern], "Resource not found")
		}
		return libResult(m.ID, fmt.Sprintf(`{"contents":[{"uri":%q,"text":"of %s"}]}`, m.Params.URI, m.Params.URI))
	case !l.modern && (m.Method == "resources/subscribe" || m.Method == "resources/unsubscribe"):
		if strings.HasPrefix(m.Params.URI, "secret:") {
			return libError(m.ID, -32002, "Resource not found")
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.subs[m.Params.URI] = m.Method == "resources/subscribe"
		return libResult(m.ID, `{}`)
	case m.Method == "prompts/get", m.Method == "completion/complete", strings.HasPrefix(m.Method, "tasks/"),
		m.Method == "skills/get", m.Method == "resources/directory/read":
		q, _ := json.Marshal(m.Params.Name + m.Params.URI + m.Params.TaskID)
		return libResult(m.ID, fmt.Sprintf(`{"about":%s,"by":%q}`, q, m.Method))
	}
	return libError(m.ID, -32601, "method not found")
}

func (l *library) list(m *libMsg) string {
	first := m.Params.Cursor == nil
	switch m.Method {
	case "tools/list":
		return libResult(m.ID, `{"tools":[`+fakeTool("update")+`]}`)
	case "prompts/list":
		return libResult(m.ID, `{"prompts":[`+libPrompt+`,{"title":"nameless"},`+libPrompt+`]}`)
	case "resources/list":
		if first {
			return libResult(m.ID, `{"resources":[{"uri":"lib://a","name":"a"},7],"nextCursor":"more"}`)
		}
		return libResult(m.ID, `{"resources":[{"uri":"lib://b","name":"b","size":9007199254740993}]}`)
	case "skills/list":
		return libResult(m.ID, `{"skills":[{"uri":"skill://x/SKILL.md","frontmatter":{"name":"x"}}]}`)
	}
	return libError(m.ID, -32601, "no templates here")
}

func (l *library) tool(m *libMsg) string {
	arg, text := m.Params.Arguments.Text, "done"
	switch m.Params.Name {
	case "update":
		l.update(arg)
	case "tell":
		l.everywhere(func(*libStream) bool { return true }, "", arg)
	case "state":
		text = l.state()
	case "opened":
		l.mu.Lock()
		text = fmt.Sprint(l.opened)
		l.mu.Unlock()
	case "drop":
		l.mu.Lock()
		for s := range l.streams {
			s.end()
		}
		l.mu.Unlock()
	case "die":
		os.Exit(7)
	default:
		text = arg
	}
	return libResult(m.ID, textResult(text))
}

// update tells that a resource has changed to whom has subscribed to it.
func (l *library) update(uri string) int {
	l.mu.Lock()
	l.number++
	n := l.number
	on, shared := l.subs[uri], l.shared
	l.mu.Unlock()
	if l.modern {
		l.everywhere(func(s *libStream) bool { return slices.Contains(s.filter.URIs, uri) },
			fmt.Sprintf(`"uri":%q,"n":%d`, uri, n), "")
	} else if on {
		shared(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":%q,"n":%d}}`, uri, n))
	}
	return n
}

// everywhere sends an update with these members, or a message as it is.
func (l *library) everywhere(which func(*libStream) bool, members, raw string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.modern {
		l.shared(raw)
		return
	}
	for s := range l.streams {
		switch {
		case !which(s):
		case raw != "":
			s.send(raw)
		default:
			s.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":%s},%s}}`, s.id, members))
		}
	}
}

func (l *library) state() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	have := map[string]bool{}
	for uri, on := range l.subs {
		if on {
			have[uri] = true
		}
	}
	for s := range l.streams {
		for _, k := range slices.Concat(s.filter.URIs, s.filter.Tasks) {
			have[k] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(have)), " ")
}

// listen opens a stream; refused is the answer if it does not. Whoever serves it
// waits for quit and calls close.
func (l *library) listen(m *libMsg, send func(string)) (s *libStream, refused string) {
	f := m.Params.Filter
	for _, uri := range f.URIs {
		if strings.HasPrefix(uri, "poison:") {
			return nil, libError(m.ID, -32602, "cannot listen to that")
		}
	}
	caps := string(m.Params.Meta["io.modelcontextprotocol/clientCapabilities"])
	if len(f.Tasks) > 0 && !strings.Contains(caps, "io.modelcontextprotocol/tasks") {
		return nil, libError(m.ID, -32021, "capability missing")
	}
	f.URIs = slices.DeleteFunc(f.URIs, func(u string) bool { return strings.HasPrefix(u, "secret:") })
	s = &libStream{id: m.ID, filter: f, send: send, quit: make(chan struct{})}
	granted, _ := json.Marshal(f)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened++
	if !l.noAck {
		send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":%s},"notifications":%s}}`, m.ID, granted))
	}
	l.streams[s] = true
	return s, ""
}

func (l *library) close(s *libStream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.streams, s)
}

// serveLibrary is the library as a child process.
func serveLibrary(modern bool) {
	var mu sync.Mutex
	send := func(msg string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(msg)
	}
	l := newLibrary(modern)
	l.shared = send
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var m libMsg
		_ = json.Unmarshal(in.Bytes(), &m)
		switch {
		case m.Method == "subscriptions/listen" && modern:
			s, refused := l.listen(&m, send)
			if s == nil {
				send(refused)
				continue
			}
			go func() {
				<-s.quit
				l.close(s)
				send(libResult(s.id, `{"resultType":"complete"}`))
			}()
		case m.Method == "notifications/cancelled":
			l.mu.Lock()
			for s := range l.streams {
				if string(s.id) == string(m.Params.RequestID) {
					s.end()
				}
			}
			l.mu.Unlock()
		default:
			if a := l.answer(&m); a != "" {
				send(a)
			}
		}
	}
}

// ServeHTTP is the library over Streamable HTTP.
func (l *library) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && !l.modern {
		sse(w)
		events := make(chan string, 10_000)
		l.mu.Lock()
		l.shared = func(msg string) { events <- msg }
		l.mu.Unlock()
		for {
			select {
			case <-r.Context().Done():
				return
			case msg := <-events:
				fmt.Fprintf(w, "data: %s\n\n", msg)
				w.(http.Flusher).Flush()
			}
		}
	}
	var m libMsg
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&m) != nil {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if m.Method == "subscriptions/listen" && l.modern {
		l.serveListen(w, r, &m)
		return
	}
	a := l.answer(&m)
	if a == "" {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(a))
}

func (l *library) serveListen(w http.ResponseWriter, r *http.Request, m *libMsg) {
	events := make(chan string, 10_000)
	s, refused := l.listen(m, func(msg string) { events <- msg })
	if s == nil {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(refused))
		return
	}
	defer l.close(s)
	sse(w)
	for {
		select {
		case <-r.Context().Done():
			return
		case <-s.quit:
			return
		case msg := <-events:
			// Late, so that what was sent before a stream is replaced comes after the
			// confirmation of the next one.
			if !strings.Contains(msg, "acknowledged") {
				time.Sleep(2 * time.Millisecond)
			}
			fmt.Fprintf(w, "data: %s\n\n", msg)
			w.(http.Flusher).Flush()
		}
	}
}
