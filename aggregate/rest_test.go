package aggregate

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/shaping"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

func TestRestsAreBounded(t *testing.T) {
	s := newRestStore()
	me := restOwner{upstream.Local(), "crm"}
	item := json.RawMessage(make([]byte, 1<<20))
	many := make([]json.RawMessage, maxRests/2>>20+1)
	for i := range many {
		many[i] = item
	}
	if handle := s.put(me, many, 1<<20); handle != "" {
		t.Error("half of all the room was given to one answer")
	}
	call := &upstream.Call{Op: upstream.CallTool, Upstream: "crm", Tool: &upstream.Tool{Upstream: "crm"}}
	if note := notice(call, 70<<20, "", false); !strings.Contains(note, "too large to keep; ask for less") {
		t.Error(note)
	}
	var handles []string
	for range 5 {
		handles = append(handles, s.put(me, many[:maxRests/4>>20], 1<<20))
	}
	if _, ok := s.get(handles[0], upstream.Local()); ok || s.size > maxRests {
		t.Errorf("the oldest is still there (%v), %d bytes kept", ok, s.size)
	}
	if _, ok := s.get(handles[4], upstream.Local()); !ok {
		t.Error("the newest is gone")
	}
}

// Small pages cost more than the bytes in them, and all that counts.
func TestRestsAreCountedWithWhatTheyCost(t *testing.T) {
	s := newRestStore()
	var pages []restPage
	for range 50_000 {
		pages = append(pages, restPage{[]json.RawMessage{textPart("[0]")}, "row 1 of 50000"})
	}
	if s.keep(restOwner{}, pages) == "" || s.size < 50_000*(100+len(textPart("[0]"))) {
		t.Errorf("they count %d bytes", s.size)
	}
	if s.put(restOwner{}, make([]json.RawMessage, 4<<20), 1<<10) != "" {
		t.Error("items of no length count nothing")
	}
}

// What is too long to keep is not put into pages first.
func TestPagesEndWhereTheyAreTooMany(t *testing.T) {
	row := json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	v := &shaping.Shaped{IsList: true, Total: 1000, Rows: slices.Repeat([]json.RawMessage{row}, 1000)}
	x := selection{rule: &shaping.Shaper{Rules: shaping.Rules{MaxRows: 1}}, v: v, limit: 2 << 20}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	pages, ok := (&shapes{max: 2 << 20}).pages(x, 1)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; ok || pages != nil || took > 2000<<20 {
		t.Errorf("%d pages, %d bytes", len(pages), took)
	}
}

// To find which texts say what is structured is linear, however many there are.
func TestFindingThePayloadIsLinear(t *testing.T) {
	work := func(n int) (took uint64) {
		row := `{"id":1,"x":"` + strings.Repeat("x", 100) + `"}`
		texts := make([]json.RawMessage, n)
		for i := range texts {
			texts[i] = textPart(row)
		}
		rows := "[" + strings.TrimSuffix(strings.Repeat(row+",", n), ",") + "]"
		for _, structured := range []string{`{"a":` + rows + `}`, `{"a":` + rows + `,"b":[]}`, `{"a":` + strings.Replace(rows, "[", "[0,", 1) + `}`} {
			res, err := upstream.ParseResult(fmt.Appendf(nil, `{"content":%s,"structuredContent":%s}`, array(texts), structured))
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			payloadOf(res)
			runtime.ReadMemStats(&after)
			took += after.TotalAlloc - before.TotalAlloc
		}
		return took
	}
	if one, two := work(300), work(600); two > 3*one {
		t.Errorf("twice as many take %d bytes, not %d", two, one)
	}
}

// A signature costs no more than its length and one look at the schema.
func TestSignaturesOfHostileTools(t *testing.T) {
	var names, properties, values []string
	for i := range 150_000 {
		names = append(names, fmt.Sprintf(`"argument_%06d"`, i))
		properties = append(properties, names[i]+`:{"type":"string"}`)
		values = append(values, fmt.Sprintf(`{"type":"type_%06d"}`, i))
	}
	object := `{"type":"object","required":[` + strings.Join(names, ",") + `],"properties":{` + strings.Join(properties, ",") + `}}`
	began := time.Now()
	for want, schema := range map[string]string{
		"argument_000000: string, argument_000001: string, ": object,
		"any: type_000000|type_000001|":                      `{"type":"object","required":["any"],"properties":{"any":{"anyOf":[` + strings.Join(values, ",") + `]}}}`,
		"of: {argument_000000: string, argument_000001: ":    `{"type":"object","required":["of"],"properties":{"of":` + object + `}}`,
	} {
		got := signature(&upstream.Tool{Raw: json.RawMessage(`{"inputSchema":` + schema + `}`)})
		if !strings.HasPrefix(got, want) || len(got) < maxSignature || len(got) > 3*maxSignature {
			t.Errorf("%d bytes: %.100s", len(got), got)
		}
	}
	if took := time.Since(began); took > 2*time.Minute {
		t.Errorf("it took %s", took)
	}
}

// Paging is linear: a huge text in the smallest pages is no way to keep a
// processor busy, and nothing of it is lost.
func TestPagesOfAHugeText(t *testing.T) {
	text := strings.Repeat("héllo \"wörld\"\n", 1<<20)
	const limit = 1 << 10
	pages := paginate([]json.RawMessage{textPart("before"), textPart(text), []byte(`{"type":"image"}`)}, limit)
	var got strings.Builder
	for i, page := range pages {
		size := 0
		for _, item := range page {
			part, _ := rawjson.GetString(item, "text")
			got.WriteString(part)
			size += len(item)
		}
		if size > limit || size < limit/2 && i < len(pages)-1 {
			t.Fatalf("page %d of %d has %d bytes", i, len(pages), size)
		}
	}
	if got.String() != "before"+text {
		t.Error("the pages are not the text")
	}
}

func TestExpiredRestsAreLetGoUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRestStore()
		s.put(restOwner{upstream.Local(), "crm"}, []json.RawMessage{textPart("x")}, 1<<10)
		time.Sleep(restsExpire + time.Second)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.size != 0 || len(s.rests) != 0 || len(s.order) != 0 {
			t.Errorf("%d bytes of %d rests are still kept", s.size, len(s.rests))
		}
	})
}
