package aggregate

// taskTarget returns whose task a request names in params.taskId, and the
// upstream's own id of it. The error is an *upstream.RPCError.
func taskTarget(_ *View, _ *Request) (*member, string, error) {
	return nil, "", invalid("unknown task: leave params.taskId to the answer that began it", nil)
}
