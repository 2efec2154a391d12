package config

// OpenAPI is what an upstream of kind "openapi" has besides.
type OpenAPI struct{}

var openapiKind = sourceKind{name: "openapi"}

// openapiKeys stand in the table of the upstream itself.
var openapiKeys = []key{}

// openapiSections are the tables below it.
var openapiSections = []section{}
