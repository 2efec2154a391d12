package demo

import (
	"encoding/json"
	"io"
	"math"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/o200k"
)

type jsonPass struct {
	Wall    float64    `json:"wall_ms"`
	Sum     float64    `json:"sum_ms"`
	Slowest float64    `json:"slowest_ms"`
	Tokens  *int       `json:"tokens_renewed,omitempty"` // only where a source demands tokens
	Calls   []jsonSpan `json:"calls"`
}

type jsonCost struct {
	Tokenizer   string `json:"tokenizer"`
	Definitions int    `json:"definitions"` // read at each turn, as is the question
	Question    int    `json:"question"`
	Serial      int    `json:"serial"`
	Parallel    int    `json:"parallel"`
}

type jsonSpan struct {
	Source   string  `json:"source"`
	Tool     string  `json:"tool"`
	Start    float64 `json:"start_ms"`
	End      float64 `json:"end_ms"`
	Duration float64 `json:"duration_ms"`
	Bytes    int     `json:"bytes"`
	Error    string  `json:"error,omitempty"`
}

// WriteJSON writes the report as one indented JSON object. Times are numbers
// in milliseconds, to the microsecond; the names of the members are stable.
func (r *Report) WriteJSON(w io.Writer) error {
	var tokens *jsonCost
	var ratio *float64
	if c := r.Cost; c != nil {
		tokens = &jsonCost{o200k.Name, c.Definitions, c.Question, c.Serial, c.Parallel}
		rounded := math.Round(c.Ratio()*1000) / 1000
		ratio = &rounded
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Question   string   `json:"question"`
		Customer   string   `json:"customer"`
		CustomerID string   `json:"customer_id"`
		Failed     bool     `json:"failed"`
		Speedup    float64  `json:"speedup"` // serial wall through parallel wall
		Serial     jsonPass `json:"serial"`
		Parallel   jsonPass `json:"parallel"`
		TokensOf   string   `json:"tokens_of,omitempty"`
		// What a model would have to process, and the parallel through the serial.
		ModelTokens *jsonCost `json:"model_tokens,omitempty"`
		Ratio       *float64  `json:"token_overhead_ratio,omitempty"`
		Answer      Summary   `json:"answer"`
	}{r.Question, r.Customer, r.CustomerID, r.Failed(), math.Round(r.Speedup()*100) / 100, r.json(r.Serial), r.json(r.Parallel), r.TokensOf, tokens, ratio, r.Answer})
}

func (r *Report) json(p Pass) jsonPass {
	out := jsonPass{Wall: ms(p.Wall), Sum: ms(p.Sum), Slowest: ms(p.Slowest), Calls: []jsonSpan{}}
	if r.TokensOf != "" {
		out.Tokens = &p.Tokens
	}
	for _, s := range p.Calls {
		out.Calls = append(out.Calls, jsonSpan{s.Source, s.Tool, ms(s.Start), ms(s.End), ms(s.Duration()), s.Bytes, s.Error})
	}
	return out
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
