package config

// GraphQL is what an upstream of kind "graphql" has besides.
type GraphQL struct {
	Documents []File
	Schema    File // Path is "" if there is none
	// Unmatched are the patterns of documents that match no file.
	Unmatched []string `json:"-"`
}

var graphqlKind = sourceKind{
	name: "graphql", where: []string{"url"}, also: []string{"documents", "schema_file", "allow_http", "auth"},
	hint: `add url = "https://...", the address of the GraphQL service`,
}

// graphqlKeys stand in the table of the upstream itself.
var graphqlKeys = []key{
	{name: "documents", kind: files, example: []any{"queries/*.graphql"},
		doc:   "Files with GraphQL operations, or patterns of their names; they are read again when one changes, or the configuration. Each named query is a tool, and with another `writes` than `deny` each named mutation; its variables are the arguments and the comment above it is the description. Fragments are shared among the files. `bulkhead import-graphql` proposes some. With `kind = \"graphql\"` only.",
		field: func(t target) any { return &t.upstream.GraphQL }},
	{name: "schema_file", kind: file, example: "schema.graphql",
		doc:   "The schema of the GraphQL service, in the schema definition language or as the JSON answer to introspection. With it, operations are checked before anything is sent, and enums, input objects and answers are described to the model. With `kind = \"graphql\"` only.",
		field: func(t target) any { return &t.upstream.GraphQL.Schema }},
}

// graphqlSections are the tables below it.
var graphqlSections = []section{}
