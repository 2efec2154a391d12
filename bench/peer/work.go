package peer

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// work is an upstream whose calls take as long as their arguments say. It speaks
// the legacy era over HTTP.
type work struct{ begun atomic.Int64 }

// The tools of work. What they answer is made of what they were asked alone,
// but for took_us, how long the call was here, and at, the place in which it
// began among all calls here.
const workTools = `"tools":[` +
	`{"name":"read","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}},` +
	`{"name":"write","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":false}}]`

type workArguments struct {
	Key   string
	MS    float64
	Of    []string
	Rows  []float64
	Fails bool
}

type workResult struct {
	Value  string    `json:"value"`
	Rows   []workRow `json:"rows,omitempty"`
	TookUS int64     `json:"took_us"`
	At     int64     `json:"at"`
}

type workRow struct {
	Value string  `json:"value"`
	MS    float64 `json:"ms"`
}

func (u *work) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct{ Arguments workArguments }
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &m) != nil || m.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	var result string
	switch m.Method {
	case "initialize":
		result = `"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"work","version":"1"}`
	case "tools/list":
		result = workTools
	case "tools/call":
		at := u.begun.Add(1)
		select {
		case <-time.After(time.Duration(m.Params.Arguments.MS * float64(time.Millisecond))):
		case <-r.Context().Done():
			return
		}
		result = m.Params.Arguments.result(at, began)
	}
	out := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{%s}}`, m.ID, result)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(out)))
	_, _ = w.Write(out) // whoever asked has gone
}

// result is the members of a call's result.
func (a *workArguments) result(at int64, began time.Time) string {
	if a.Fails {
		return `"content":[{"type":"text","text":"refused"}],"isError":true`
	}
	found := workResult{Value: a.Key + "(" + strings.Join(a.Of, ",") + ")", At: at}
	for i, ms := range a.Rows {
		found.Rows = append(found.Rows, workRow{fmt.Sprintf("%s[%d]", found.Value, i), ms})
	}
	found.TookUS = time.Since(began).Microseconds()
	text, err := json.Marshal(found)
	if err != nil {
		return `"content":[],"isError":true`
	}
	return fmt.Sprintf(`"content":[{"type":"text","text":"done"}],"structuredContent":%s`, text)
}
