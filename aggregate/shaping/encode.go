package shaping

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// maxBits is how long a whole number may be that a program has made: to write one
// in decimal takes time that grows with the square of its length.
const maxBits = 1 << 16

var (
	errLong = fmt.Errorf("jq made more than %d bytes", maxValue)
	errDeep = fmt.Errorf("jq made a value that is nested deeper than %d", rawjson.DefaultDepth)
)

// encode writes what a program has made as JSON, objects sorted by name: the
// library does not know the order in which members came.
func encode(v any) (json.RawMessage, error) { return encodeTo(nil, v, 0) }

func encodeTo(out []byte, v any, depth int) ([]byte, error) {
	switch {
	case len(out) > maxValue:
		return nil, errLong
	case depth > rawjson.DefaultDepth:
		return nil, errDeep
	}
	switch v := v.(type) {
	case nil:
		return append(out, "null"...), nil
	case bool:
		return strconv.AppendBool(out, v), nil
	case string:
		if len(v) > maxValue {
			return nil, errLong
		}
		return append(out, rawjson.Quote(v)...), nil
	case json.Number:
		return append(out, v...), nil
	case int:
		return strconv.AppendInt(out, int64(v), 10), nil
	case *big.Int:
		if v.BitLen() > maxBits {
			return nil, errors.New("jq made a number of more than 65536 bits")
		}
		return v.Append(out, 10), nil
	case float64:
		text, err := json.Marshal(v)
		if err != nil {
			return nil, errors.New("jq made a number that JSON cannot express, such as infinity or the result of 0 divided by 0")
		}
		return append(out, text...), nil
	case []any:
		return encodeList(out, v, depth)
	case map[string]any:
		return encodeObject(out, v, depth)
	}
	return nil, errors.New("jq made what is no JSON")
}

func encodeList(out []byte, v []any, depth int) ([]byte, error) {
	out = append(out, '[')
	for i, e := range v {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = encodeTo(out, e, depth+1); err != nil {
			return nil, err
		}
	}
	return append(out, ']'), nil
}

func encodeObject(out []byte, v map[string]any, depth int) ([]byte, error) {
	out = append(out, '{')
	for i, name := range slices.Sorted(maps.Keys(v)) {
		if i > 0 {
			out = append(out, ',')
		}
		if len(name) > maxValue {
			return nil, errLong
		}
		out = append(append(out, rawjson.Quote(name)...), ':')
		var err error
		if out, err = encodeTo(out, v[name], depth+1); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}
