// Package mcpauth signs in to MCP servers as MCP revisions 2025-11-25 and
// 2026-07-28 say: it reads the challenge of a server that refuses, finds the
// authorization server, gets a client id there, and keeps the scopes that were
// asked for. [Source] is the whole of it: a [credentials.Source] for one server
// and one person.
//
// It owns what may be believed of all that: metadata come from strangers. Every
// document is fetched without following redirects, limited in size, depth and
// time, and used only if it names itself rightly; which addresses may be reached
// is up to the *http.Client that it is handed. A token, a registration and a
// configured client id stay with the issuer that they belong to.
//
// It must not know the configuration, how tokens are refreshed and kept (package
// credentials does that), or what is asked of the server afterwards.
package mcpauth
