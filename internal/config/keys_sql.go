package config

// SQL is what an upstream of kind "sql" has besides.
type SQL struct{}

var sqlKind = sourceKind{name: "sql"}

// sqlKeys stand in the table of the upstream itself.
var sqlKeys = []key{}

// sqlSections are the tables below it.
var sqlSections = []section{}
