package upstream

import "slices"

// Levels returns the levels of log messages, the least severe first (MCP,
// logging, §Log Levels; RFC 5424, section 6.2.1).
func Levels() []string {
	return []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}
}

// Severity orders levels: 1 is debug, 8 is emergency, 0 is none of them.
func Severity(level string) int { return 1 + slices.Index(Levels(), level) }
