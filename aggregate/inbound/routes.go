package inbound

// route is how this package treats a method that goes to the [Service]; the zero
// value is one that does not.
type route struct {
	service bool
	modern  bool   // legacy clients are not offered it
	tells   bool   // may take long: has progress, log messages and questions
	named   string // the member that the Mcp-Name header repeats; "" if none does
	unsaid  bool   // the header may be missing
}

// of reports whether the method goes to the service in an era.
func (rt route) of(modern bool) bool { return rt.service && (modern || !rt.modern) }

// routeOf knows the methods of MCP 2024-11-05 to 2026-07-28 that the service
// answers, and those of the extensions for tasks and skills. What Mcp-Name
// repeats: MCP 2026-07-28, transports, §Request Metadata; the extension for
// tasks, §Routing. That for skills does not say.
func routeOf(method string) route {
	switch method {
	case methodToolsCall, "prompts/get":
		return route{service: true, tells: true, named: "name"}
	case "resources/read":
		return route{service: true, tells: true, named: "uri"}
	case "completion/complete":
		return route{service: true, tells: true}
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list":
		return route{service: true}
	case "tasks/get", "tasks/update", "tasks/cancel":
		return route{service: true, modern: true, tells: true, named: "taskId"}
	case "skills/list":
		return route{service: true, modern: true}
	case "skills/get":
		return route{service: true, modern: true, tells: true, named: "uri", unsaid: true}
	case "resources/directory/read":
		return route{service: true, tells: true, named: "uri", unsaid: true}
	}
	return route{}
}
