package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// What one list may amount to.
const (
	maxPages     = 1_000
	maxEntries   = 100_000
	maxListBytes = 64 << 20
)

// methods are what the lists are read with; their names are also what people
// are told.
var methods = map[upstream.List]string{
	upstream.Tools: methodTools, upstream.Prompts: "prompts/list", upstream.Resources: "resources/list",
	upstream.Templates: "resources/templates/list", upstream.Skills: "skills/list",
}

// listing collects the pages of one list.
type listing struct {
	a    *Adapter
	list upstream.List
	// take keeps one entry, or says why it is held back. key is what it goes by,
	// "" if it has nothing of the kind.
	take  func(p *peer, raw json.RawMessage) (key string, err error)
	held  []upstream.Held
	keys  map[string]bool
	count int // entries, taken or held back
	bytes int
	fresh time.Duration // of the pages so far
}

// errTwice is the failure of an entry whose key another one has.
var errTwice = errors.New("an earlier one has the same name")

// drain reads a list through all its pages. A server that has no such list has
// an empty one.
func (l *listing) drain(ctx context.Context) error {
	l.keys, l.fresh = map[string]bool{}, upstream.Announced
	cursor, cursors := json.RawMessage(nil), map[string]bool{}
	for page := 1; ; page++ {
		next, err := l.page(ctx, cursor)
		switch {
		case err != nil:
		case next == nil:
			l.a.shelf.hold(&l.a.opt, l.list, l.held)
			l.a.shelf.date(l.list, l.fresh)
			return nil
		case cursors[string(next)]:
			err = l.bad("its list %s goes round in circles: a page has the cursor of an earlier one", l.list)
		case page == maxPages:
			err = l.bad("its list %s has more than %d pages", l.list, maxPages)
		}
		if err != nil {
			return named(l.a, err, "", methods[l.list])
		}
		cursors[string(next)] = true
		cursor = next
	}
}

// mostFresh is the longest that a server's word about a list is believed.
const mostFresh = 24 * time.Hour

// fresh returns how long a page of a list stays good.
func (p *peer) fresh(l upstream.List, page json.RawMessage) time.Duration {
	if raw, ok := rawjson.Get(page, "ttlMs"); ok && p.modern {
		if ms, err := strconv.ParseFloat(string(raw), 64); err == nil && ms >= 0 {
			return time.Duration(min(ms*float64(time.Millisecond), float64(mostFresh)))
		}
	}
	if slices.Contains(p.offers.announced(), l) {
		return upstream.Announced
	}
	return 0
}

func (l *listing) bad(format string, arg ...any) error {
	return failure(upstream.UpstreamError, true, fmt.Sprintf(format, arg...), nil)
}

// page reads one page and returns the cursor of the next, nil after the last.
func (l *listing) page(ctx context.Context, cursor json.RawMessage) (json.RawMessage, error) {
	ans, c, err := l.a.exchange(ctx, func(p *peer) (request, error) {
		if !p.offers.has(l.list) {
			return request{}, errNoList
		}
		members := ""
		if cursor != nil {
			members = `"cursor":` + string(cursor)
		}
		return request{method: methods[l.list], params: ownParams(members, p.meta)}, nil
	})
	switch {
	case errors.Is(err, errNoList):
		return nil, nil
	case err != nil:
		// A server without such a list need not know the method, and some that
		// have resources know no templates.
		if e := upstream.AsError("", "", err); e.RPC != nil && e.RPC.Code == upstream.CodeMethodNotFound &&
			!(l.list == upstream.Tools && c.peer.offers.tools) {
			return nil, nil
		}
		return nil, err
	}
	if err := l.add(c.peer, ans.result); err != nil {
		return nil, err
	}
	l.fresh = min(l.fresh, c.peer.fresh(l.list, ans.result))
	next, _ := rawjson.Get(ans.result, "nextCursor")
	// An empty cursor is a cursor like any other (MCP 2026-07-28, pagination);
	// before that, servers used to say so that there is no more.
	if rawjson.Kind(next) != '"' || (!c.peer.modern && string(next) == `""`) {
		return nil, nil
	}
	return next, nil
}

func (l *listing) add(p *peer, page json.RawMessage) error {
	if l.bytes += len(page); l.bytes > maxListBytes {
		return l.bad("its list %s is larger than %d MiB", l.list, maxListBytes>>20)
	}
	arr, _ := rawjson.Get(page, string(l.list))
	if rawjson.Kind(arr) != '[' {
		return l.bad("answered %s without an array called %s", methods[l.list], l.list)
	}
	for raw := range rawjson.Elements(arr) {
		if l.count++; l.count > maxEntries {
			return l.bad("its list %s has more than %d entries", l.list, maxEntries)
		}
		key, err := l.take(p, raw)
		if err == nil {
			l.keys[key] = true
			continue
		}
		if key == "" {
			key = fmt.Sprintf("#%d", l.count)
		}
		reason := err.Error()
		if l.list != upstream.Tools {
			reason = methods[l.list] + ": " + reason
		}
		l.held = append(l.held, upstream.Held{Tool: key, Reason: reason})
	}
	return nil
}
