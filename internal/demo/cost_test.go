package demo_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/bulkhead-mcp/bulkhead/internal/demo"
	"github.com/bulkhead-mcp/bulkhead/internal/o200k"
)

// TestCost holds what both ways cost a model to the definition: with definitions
// that outweigh all else, five readings of them against two; and exactly, where
// a source fails.
func TestCost(t *testing.T) {
	heavy := json.RawMessage(`[` + strings.Repeat(`{"name":"find"},`, 20_000) + `{}]`)
	for name, tt := range map[string]struct {
		definitions json.RawMessage
		fail        []int // passes in which a source fails
		check       func(*demo.Report)
	}{
		"heavy": {heavy, nil, func(r *demo.Report) {
			if ratio := r.Cost.Ratio(); math.Abs(ratio-2.0/5) > 0.01 {
				t.Errorf("the ratio is %f, want 2 turns through 5", ratio)
			}
		}},
		"both fail": {json.RawMessage(`[]`), []int{1, 2}, func(r *demo.Report) {
			c := r.Cost
			if c.Definitions != o200k.NewCounter().Count("[]") || c.Question == 0 || c.Serial <= c.Parallel || c.Parallel <= c.Question {
				t.Errorf("%+v", c)
			}
		}},
		"nothing to count": {nil, nil, func(r *demo.Report) {
			if r.Cost != nil {
				t.Errorf("%+v", r.Cost)
			}
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, err := demo.Run(t.Context(), failing(overSandbox(t), "tickets_open_tickets", tt.fail...), demo.Options{Definitions: tt.definitions})
			if err != nil {
				t.Fatal(name, err)
			}
			tt.check(r)
			var b bytes.Buffer
			var told struct {
				Ratio  *float64 `json:"token_overhead_ratio"`
				Tokens *struct {
					Tokenizer                               string
					Definitions, Question, Serial, Parallel int
				} `json:"model_tokens"`
			}
			if err := r.WriteJSON(&b); err != nil || json.Unmarshal(b.Bytes(), &told) != nil {
				t.Fatal(err)
			}
			if (told.Ratio != nil) != (r.Cost != nil) || (told.Tokens != nil) != (r.Cost != nil) {
				t.Errorf("%s: %s", name, b.String())
			}
			if c := r.Cost; c != nil && (math.Abs(*told.Ratio-c.Ratio()) > 0.0006 || told.Tokens.Tokenizer != "o200k_base" ||
				told.Tokens.Serial != c.Serial || told.Tokens.Parallel != c.Parallel || told.Tokens.Definitions != c.Definitions || told.Tokens.Question != c.Question) {
				t.Errorf("%s: %s", name, b.String())
			}
		})
	}
}
