package config

// REST is what an upstream of kind "rest" has besides.
type REST struct{}

var restKind = sourceKind{name: "rest"}

// restKeys stand in the table of the upstream itself.
var restKeys = []key{}

// restSections are the tables below it.
var restSections = []section{}
