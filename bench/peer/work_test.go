package peer_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// TestWork: a call takes as long as it says, its value is made of what it is
// given, and the order of calls is told.
func TestWork(t *testing.T) {
	url := serving(t, "http") + "/work/mcp"
	ask := func(arguments string) (isError bool, found struct {
		Value string
		Rows  []struct {
			Value string
			MS    float64
		}
		TookUS int64 `json:"took_us"`
		At     int64
	}) {
		t.Helper()
		_, answer, _ := post(t, url, "", fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read","arguments":%s}}`, arguments))
		var m struct {
			ID     int
			Result struct {
				IsError           bool
				StructuredContent json.RawMessage
			}
		}
		if err := json.Unmarshal(answer, &m); err != nil || m.ID != 7 {
			t.Fatalf("%s: %v", answer, err)
		}
		if m.Result.IsError {
			return true, found
		}
		if err := json.Unmarshal(m.Result.StructuredContent, &found); err != nil {
			t.Fatalf("%s: %v", answer, err)
		}
		return false, found
	}
	began := time.Now()
	refused, found := ask(`{"key":"k","ms":20.5,"of":["a()","b(c())"],"rows":[1,2.5]}`)
	if took := time.Since(began); refused || took < 20*time.Millisecond || found.TookUS < 20_500 || found.TookUS > took.Microseconds() {
		t.Errorf("took %v, %+v", took, found)
	}
	if found.Value != "k(a(),b(c()))" || len(found.Rows) != 2 || found.Rows[1].Value != "k(a(),b(c()))[1]" || found.Rows[1].MS != 2.5 || found.At != 1 {
		t.Errorf("%+v", found)
	}
	if refused, _ := ask(`{"key":"k","fails":true}`); !refused {
		t.Error("a call that is to fail did not")
	}
	if _, found := ask(`{"key":"k"}`); found.At != 3 || found.Value != "k()" {
		t.Errorf("%+v", found)
	}
}
