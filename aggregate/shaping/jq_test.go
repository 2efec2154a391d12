package shaping_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
)

func TestJQ(t *testing.T) {
	const value = `{"items":[{"id":9007199254740993,"total":0.1000000000000000055511151231257827,"x":"y"},{"id":2,"total":1.50,"x":"z"}],"huge":1e400,"text":"é\u2028<\ud83d\ude00"}`
	for program, want := range map[string]string{
		`.items | map({total, id})`:       `[{"id":9007199254740993,"total":0.1000000000000000055511151231257827},{"id":2,"total":1.50}]`,
		`.`:                               value,
		`{text, huge, items}`:             value, // the same in another order is no change
		`[.items[].id + 1]`:               `[9007199254740994,3]`,
		`.items[0].id * .items[0].id`:     `81129638414606699710187514626049`,
		`-.items[0].id`:                   `-9007199254740993`,
		`.items[1].total + 0`:             `1.5`,
		`.huge`:                           `1e400`,
		`{t: .text}`:                      "{\"t\":\"é\\u2028<😀\"}",
		`[.items[] | select(.x == "z")]`:  `[{"id":2,"total":1.50,"x":"z"}]`,
		`.items | sort_by(.id) | .[0].id`: `2`,
		`null`:                            `null`,
		`def env2: 1; env2`:               `1`,
	} {
		if got, _ := shape(t, shaping.Rules{JQ: program}, value, -1); got != want {
			t.Errorf("%s: %s", program, got)
		}
	}
	got, out := shape(t, shaping.Rules{JQ: `.items`, Fields: []string{"id"}}, value, 1)
	if got != `[{"id":9007199254740993}]` || len(out.Rows) != 2 {
		t.Errorf("fields come after jq: %s", got)
	}
}

// What a program does with an answer that it is not made for costs this answer,
// and says nothing of what is in it.
func TestJQFails(t *testing.T) {
	for program, want := range map[string]string{
		`.[0]`:                              "jq: expected an array but got: object",
		`.secret | map(.)`:                  "jq: cannot iterate over: string",
		`.secret | keys`:                    "jq: keys cannot be applied to: string",
		`.secret | tonumber`:                "jq: tonumber cannot be applied to",
		`.secret + 1`:                       "jq: cannot add: string",
		`error("no such customer")`:         "jq: error: no such customer",
		`error`:                             "jq: the program failed with an error of its own",
		`.secret | error`:                   "jq: the program failed with an error of its own",
		`error("bad " + .secret)`:           "jq: the program failed with an error of its own",
		`error("bad \(.secret)")`:           "jq: the program failed with an error of its own",
		`error({a: .secret})`:               "jq: the program failed with an error of its own",
		`"other" as $x | error(.secret)`:    "jq: the program failed with an error of its own",
		`try error("a (b)") catch error(.)`: "jq: error: a (b)",
		`error(null)`:                       "jq: the program failed with an error of its own",
		`format(.secret)`:                   "jq: the program failed",
		`.secret as $s | try error($s) catch error(.)`:  "jq: the program failed with an error of its own",
		`[] | .[987654321] = 1`:                         "jq: setpath cannot be applied to this",
		`[1] | flatten(-987654321)`:                     "jq: flatten depth should not be negative",
		`[] | .[-987654321] = 1`:                        "jq: setpath cannot be applied to this",
		`987654321987654321 | todate | test(987654321)`: "jq: ",
		`987654321 | test("x")`:                         "jq: test cannot be applied to this",
		`"x" | test(987654321)`:                         "jq: test cannot be applied to this",
		`.secret | test("[")`:                           "jq: the program failed",
		`.secret as $s | "x" | test("(" + $s)`:          "jq: the program failed",
		`.secret | strptime("%Y")`:                      "jq: strptime cannot be applied to this",
		`.secret | fromjson`:                            "jq: fromjson cannot be applied to",
		`1e987654321 | gmtime`:                          "jq: ",
		`{"a": 1} | getpath(["a", .secret, "b"])`:       "jq: ",
		`.[.n]`:                                "jq: expected an array but got: object",
		`[1] | .[{"a": "canary"}]`:             "jq: the program failed on this answer",
		`.n / 0`:                               "jq: cannot divide number",
		`empty`:                                "jq yields nothing",
		`.secret, .secret`:                     "jq yields more than one value",
		`.n, error("x")`:                       "jq yields more than one value",
		`.n | infinite`:                        "jq made a number that JSON cannot express",
		`nan`:                                  "jq made a number that JSON cannot express",
		`1e400 + .n`:                           "jq made a number that JSON cannot express",
		`"x" * 9000000`:                        "jq made more than 8388608 bytes",
		`{("x" * 9000000): 1}`:                 "jq made more than 8388608 bytes",
		`reduce range(40) as $i (.; [.,.])`:    "jq made more than 8388608 bytes",
		`reduce range(200) as $i (.; [.])`:     "jq made a value that is nested deeper than 128",
		`reduce range(20) as $i (3; . * .)`:    "jq made a number of more than 65536 bits",
		`[limit(1e9; repeat(1))]`:              "jq took longer than 1s",
		`[range(1e18)]`:                        "jq took longer than 1s",
		`def f: f; f`:                          "jq took longer than 1s",
		`until(false; .)`:                      "jq took longer than 1s",
		`[recurse(.)] | length`:                "jq took longer than 1s",
		`.n, last(range(1e18))`:                "jq took longer than 1s",
		`reduce range(1e18) as $i (0; [.])`:    "jq took longer than 1s",
		`try last(range(1e18)) catch "caught"`: "jq took longer than 1s",
	} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			s, err := shaping.New(shaping.Rules{JQ: program})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = s.Shape(t.Context(), json.RawMessage(`{"secret":"canary","n":1}`))
			// On a busy machine what makes too much may be out of time before.
			late := strings.Contains(want, "jq made") && err != nil && err.Error() == "jq took longer than 1s"
			if err == nil || !late && !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "987654") {
				t.Errorf("%v, want %s", err, want)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestJQIsGivenSoMuch(t *testing.T) {
	s, err := shaping.New(shaping.Rules{JQ: "length"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Shape(t.Context(), json.RawMessage(`"`+strings.Repeat("x", 8<<20)+`"`))
	if err == nil || !strings.HasPrefix(err.Error(), "the answer's 8388610 bytes are more than jq may be given, which is 8388608") {
		t.Error(err)
	}
}

func TestJQEndsWithTheCall(t *testing.T) {
	s, err := shaping.New(shaping.Rules{JQ: `last(range(1e18))`})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the client is gone")
	var w sync.WaitGroup
	for range 8 { // some run, some wait for their turn
		w.Go(func() {
			if _, err := s.Shape(ctx, json.RawMessage(`1`)); !errors.Is(err, gone) {
				t.Error(err)
			}
		})
	}
	cancel(gone)
	w.Wait()
}
