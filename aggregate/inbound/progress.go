package inbound

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

const methodProgress = "notifications/progress"

// progress makes the progress of one call that of its client.
type progress struct {
	token json.RawMessage // of the client, as it came
	last  float64
}

func newProgress(token json.RawMessage) progress { return progress{token, math.Inf(-1)} }

// text takes the params of an upstream's notification and gives them the
// client's token; all else stays as it came. MCP (progress): the value must
// increase with each notification, so what does not is dropped: nil.
func (p *progress) text(params json.RawMessage) []byte {
	raw, _ := rawjson.Get(params, "progress")
	value, err := strconv.ParseFloat(string(raw), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || !(value > p.last) {
		return nil
	}
	ours, err := rawjson.Set(params, "progressToken", p.token)
	if err != nil {
		return nil
	}
	text := noteText(methodProgress, ours)
	if len(text) > progressBytes {
		return nil
	}
	p.last = value
	return text
}

// noteText returns a whole notification; nil params are left out.
func noteText(method string, params json.RawMessage) []byte {
	head := `{"jsonrpc":"2.0","method":` + string(rawjson.Quote(method))
	if params == nil {
		return []byte(head + "}")
	}
	return slices.Concat([]byte(head+`,"params":`), rawjson.OneLine(params), closingBrace)
}
