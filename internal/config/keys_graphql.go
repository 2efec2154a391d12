package config

// GraphQL is what an upstream of kind "graphql" has besides.
type GraphQL struct{}

var graphqlKind = sourceKind{name: "graphql"}

// graphqlKeys stand in the table of the upstream itself.
var graphqlKeys = []key{}

// graphqlSections are the tables below it.
var graphqlSections = []section{}
