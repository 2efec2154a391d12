package aggregate_test

import (
	"github.com/bulkhead-mcp/bulkhead/aggregate"
)

// limited is a member with limits.
func limited(f *fake, l aggregate.Limits) aggregate.Member {
	m := member(f)
	m.Limits = l
	return m
}
