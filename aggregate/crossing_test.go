package aggregate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// secretive asks everybody the same, as a legacy or a modern upstream would at
// random, and answers with who called and what it was told.
func secretive(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
	who := c.Principal.String()
	if c.Back.Ask != nil && rand.IntN(2) == 0 {
		var told []string
		for range 1 + rand.IntN(3) {
			answer, err := c.Back.Ask(ctx, question("who?"))
			if err != nil {
				return nil, upstream.AsError("crm", "get", err)
			}
			told = append(told, string(answer))
			time.Sleep(rand.N(100 * time.Millisecond))
		}
		return upstream.TextResult(who+" "+strings.Join(told, " "), false), nil
	}
	var params struct {
		InputResponses map[string]json.RawMessage `json:"inputResponses"`
		RequestState   string                     `json:"requestState"`
	}
	if err := json.Unmarshal(c.Params, &params); err != nil {
		return nil, err
	}
	if params.RequestState != "" && params.RequestState != who {
		return upstream.TextResult("CROSSED "+who+" "+params.RequestState, false), nil
	}
	if len(params.InputResponses) == 0 {
		return needs(fmt.Sprintf(`{"inputRequests":{"q1":{"method":"elicitation/create","params":{"message":"who?"}}},"requestState":%q}`, who))
	}
	return upstream.TextResult(who+" "+string(params.InputResponses["q1"]), false), nil
}

// thief is what several users throw at it: their own states, and those that
// others were given.
type thief struct {
	mu     sync.Mutex
	states []*string
}

func (s *thief) note(state *string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states = append(s.states, state)
}

func (s *thief) any() *string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.states) == 0 {
		return nil
	}
	return s.states[rand.IntN(len(s.states))]
}

// Whatever several users do at once with equal calls, and with each other's
// states, what one answers reaches nobody else's call.
func TestUsersNeverCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, aggregate.Options{AskTimeout: 2 * time.Second}, secretive)
		var stolen thief
		var done, refused atomic.Int32
		var w sync.WaitGroup
		for u := range 6 {
			who := upstream.NewPrincipal("idp", fmt.Sprint("user", u))
			mine := fmt.Sprintf(`{"secret":"of %s"}`, who)
			for range 4 {
				w.Go(func() {
					for range 60 {
						converseAtRandom(t, v, who, mine, &stolen, &done, &refused)
					}
				})
			}
		}
		w.Wait()
		t.Logf("%d done, %d refused", done.Load(), refused.Load())
		if done.Load() < 300 || refused.Load() < 100 {
			t.Errorf("%d done, %d refused: this proves little", done.Load(), refused.Load())
		}
	})
}

func converseAtRandom(t *testing.T, v *aggregate.View, who upstream.Principal, mine string, stolen *thief, done, refused *atomic.Int32) {
	r := modernRequest(who, getX)
	if rand.IntN(4) == 0 {
		r = legacyRequest(everything, func(context.Context, upstream.Question) (json.RawMessage, error) {
			time.Sleep(rand.N(300 * time.Millisecond))
			return json.RawMessage(mine), nil
		})
		r.Principal = who
	}
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second+rand.N(time.Second))
		o, err := send(t, ctx, v, r)
		cancel()
		if err != nil {
			if err.Code != upstream.CodeInvalidParams {
				t.Error(err)
			}
			refused.Add(1)
			return
		}
		if o.State == nil {
			if o.IsError {
				return
			}
			if !strings.HasPrefix(o.text(), who.String()+" ") || strings.Count(o.text(), "secret") != strings.Count(o.text(), mine) {
				t.Errorf("%s got %s", who, o.text())
			}
			done.Add(1)
			return
		}
		stolen.note(o.State)
		state := o.State
		switch rand.IntN(8) {
		case 0:
			return // never comes back
		case 1, 2:
			state = stolen.any()
		case 3:
			time.Sleep(rand.N(4 * time.Second)) // perhaps too late
		}
		r = modernRequest(who, retry(state, fmt.Sprintf(`{"q1":%s,"q2":%s,"q3":%s}`, mine, mine, mine)))
	}
}
