package aggregate

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
