package mcpserver

import (
	"context"
	"encoding/json"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Items implements [upstream.Lister]. An entry that cannot be offered is held
// back, like a tool.
func (a *Adapter) Items(ctx context.Context, list upstream.List) ([]upstream.Item, error) {
	if list == upstream.Tools || methods[list] == "" {
		return nil, nil // which Tools reads, or nobody
	}
	var items []upstream.Item
	l := listing{a: a, list: list}
	l.take = func(_ *peer, raw json.RawMessage) (string, error) {
		it, err := upstream.ParseItem(a.opt.ID, list, raw)
		if err == nil && l.keys[it.Key] {
			err = errTwice
		}
		if err == nil {
			items = append(items, it)
		}
		return it.Key, err
	}
	if err := l.drain(ctx); err != nil {
		return nil, err
	}
	return items, nil
}
