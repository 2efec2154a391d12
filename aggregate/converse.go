package aggregate

import (
	"context"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// converse has a call carried out and sees to what the upstream asks meanwhile,
// in the words of the client's era.
func (v *View) converse(ctx context.Context, _ *Request, c *upstream.Call, h upstream.Handler) (*upstream.Result, error) {
	return h(ctx, c)
}
