package aggregate

import (
	"encoding/json"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// The extensions of the protocol that are carried from one side to the other.
const (
	extensionTasks  = "io.modelcontextprotocol/tasks"
	extensionSkills = "io.modelcontextprotocol/skills"
	extensionUI     = "io.modelcontextprotocol/ui"
)

var carried = []string{extensionSkills, extensionTasks, extensionUI}

// taskTarget returns whose task a request names, and the upstream's own id of
// it. The error is an *upstream.RPCError.
func (v *View) taskTarget(r *Request) (*member, string, error) {
	if m, id, ok := v.taskOf(r.Principal, ""); ok {
		return m, id, nil
	}
	return nil, "", invalid("unknown task", nil)
}

// taskOf returns whose task a principal knows under an id, and the upstream's
// own id of it.
func (v *View) taskOf(upstream.Principal, string) (*member, string, bool) { return nil, "", false }

// exposeTaskIn returns an object that tells the state of a task as a principal
// may see it.
func (a *Aggregate) exposeTaskIn(_ upstream.ID, _ upstream.Principal, obj json.RawMessage) json.RawMessage {
	return obj
}
