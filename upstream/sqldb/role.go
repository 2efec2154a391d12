package sqldb

import (
	"fmt"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// tooMighty refuses a role that may do more than a reader should.
func tooMighty(found string) error {
	return &refusal{upstream.Denied, fmt.Sprintf(
		"its database role may do more than a reader should, so it is not used: it %s; the operator has to give it a role that may only read, or to allow it with allow_privileged", found)}
}
