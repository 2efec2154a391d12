package main

import (
	"context"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

const busyPlaces = 8

func (st *studio) besideHog(ctx context.Context, session *httpSession, out *report.Section, rounds int) error {
	return nil
}
