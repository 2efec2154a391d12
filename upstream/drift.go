package upstream

import "time"

// Drift is a difference between what a tool was said to answer and what it
// answers.
type Drift struct {
	Tool    string // the upstream's own name
	Field   string // the path of the field, e.g. "records[].owner"; "" is the whole
	Problem string // e.g. "is gone", "is a string, not a number"; for people and the model
	Since   time.Time
}

// Drifter is an adapter that notices by itself that its source has changed.
type Drifter interface {
	// Drift returns what was noticed, the oldest first, a bounded number.
	Drift() []Drift
}
