package graphql

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// How much of the errors of one answer is passed on.
const (
	maxFaults  = 20
	maxMessage = 500 // bytes of one
)

// fault is one error of an answer (GraphQL, October 2021, section 7.1.2).
type fault struct {
	message string
	code    string // extensions.code, or type at GitHub; in capitals with underscores
	path    json.RawMessage
}

type faults struct {
	list []fault
	more int // beyond maxFaults
}

func readFaults(raw json.RawMessage) faults {
	var f faults
	if rawjson.Kind(raw) != '[' {
		return f
	}
	for e := range rawjson.Elements(raw) {
		if len(f.list) == maxFaults {
			f.more++
			continue
		}
		f.list = append(f.list, readFault(e))
	}
	return f
}

func readFault(raw json.RawMessage) fault {
	if rawjson.Kind(raw) != '{' {
		if rawjson.Kind(raw) == '"' { // not as it should be, but clear
			return fault{message: cut(rawjson.String(raw))}
		}
		return fault{message: "an error without a message"}
	}
	var f fault
	f.message, _ = rawjson.GetString(raw, "message")
	f.code, _ = rawjson.GetString(raw, "type")
	if more, _ := rawjson.Get(raw, memberExtensions); rawjson.Kind(more) == '{' {
		if code, _ := rawjson.GetString(more, "code"); code != "" {
			f.code = code
		}
	}
	if path, _ := rawjson.Get(raw, "path"); rawjson.Kind(path) == '[' && len(path) <= maxMessage {
		f.path = path
	}
	if f.message == "" {
		f.message = "an error without a message"
	}
	f.message, f.code = cut(f.message), normal(cut(f.code))
	return f
}

// concerns reports whether this may be why a field of data is null, as what has no path
// is of each.
func (e fault) concerns(field string) bool {
	for first := range rawjson.Elements(e.path) {
		return rawjson.String(first) == field
	}
	return true
}

// cut bounds a text of the service.
func cut(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage], "") + "…"
}

// normal writes a code as most services do: NOT_FOUND, not not-found.
func normal(code string) string {
	return strings.ToUpper(strings.NewReplacer("-", "_", " ", "_").Replace(code))
}

// kinds is what codes mean. Sources:
// https://www.apollographql.com/docs/apollo-server/data/errors (Apollo, and Yoga after it),
// https://shopify.dev/docs/api/admin-graphql#status-and-error-codes,
// https://linear.app/developers/sdk-errors, https://linear.app/developers/rate-limiting,
// https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api,
// https://hasura.io/docs/2.0/api-reference/graphql-api/overview.
var kinds = map[string]upstream.Kind{
	"RATELIMITED": upstream.RateLimited, "RATE_LIMITED": upstream.RateLimited, "THROTTLED": upstream.RateLimited,
	"RATE_LIMIT_EXCEEDED": upstream.RateLimited, "TOO_MANY_REQUESTS": upstream.RateLimited,

	"UNAUTHENTICATED": upstream.NeedsLogin, "AUTHENTICATION_ERROR": upstream.NeedsLogin, "UNAUTHORIZED": upstream.NeedsLogin,
	"INVALID_JWT": upstream.NeedsLogin,

	"FORBIDDEN": upstream.Denied, "ACCESS_DENIED": upstream.Denied, "INSUFFICIENT_SCOPES": upstream.Denied, "SHOP_INACTIVE": upstream.Denied,

	"NOT_FOUND": upstream.NotFound,

	"BAD_USER_INPUT": upstream.InvalidArguments, "INPUT_ERROR": upstream.InvalidArguments, "INVALID_INPUT": upstream.InvalidArguments,
	"INVALID_VARIABLE": upstream.InvalidArguments, "MAX_COST_EXCEEDED": upstream.InvalidArguments,
	"MAX_NODE_LIMIT_EXCEEDED": upstream.InvalidArguments, "ARGUMENT_LIMIT": upstream.InvalidArguments,

	"GRAPHQL_PARSE_FAILED": upstream.UpstreamError, "GRAPHQL_VALIDATION_FAILED": upstream.UpstreamError,
	"VALIDATION_FAILED": upstream.UpstreamError, "OPERATION_RESOLUTION_FAILURE": upstream.UpstreamError,
	"UNDEFINEDFIELD": upstream.UpstreamError, "PERSISTED_QUERY_NOT_FOUND": upstream.UpstreamError,
}

// unbegun are the codes by which a service says that it has not begun to carry
// the operation out, if there is no data either.
var unbegun = []string{
	"GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "VALIDATION_FAILED", "OPERATION_RESOLUTION_FAILURE", "UNDEFINEDFIELD",
	"PERSISTED_QUERY_NOT_FOUND", "BAD_USER_INPUT", "INVALID_VARIABLE", "MAX_COST_EXCEEDED", "MAX_NODE_LIMIT_EXCEEDED",
	"UNAUTHENTICATED", "RATELIMITED", "RATE_LIMITED", "THROTTLED", "RATE_LIMIT_EXCEEDED", "TOO_MANY_REQUESTS",
}

// kind is what the errors mean by the first code that is known, Internal if none
// is, and whether that code says that nothing was carried out.
func (f faults) kind() (kind upstream.Kind, notBegun bool) {
	for _, e := range f.list {
		k, ok := kinds[e.code]
		if e.aboutVariable() {
			return upstream.InvalidArguments, ok && slices.Contains(unbegun, e.code)
		}
		if ok {
			return k, slices.Contains(unbegun, e.code)
		}
	}
	return upstream.Internal, false
}

// aboutVariable reports whether a variable does not fit its type. Servers give
// that any code, or none; the words are those of graphql-js, graphql-ruby and
// graphql-java.
func (e fault) aboutVariable() bool {
	return strings.HasPrefix(e.message, `Variable "$`) || strings.HasPrefix(e.message, "Variable $") || strings.HasPrefix(e.message, "Variable '")
}

// unfit are the first words by which servers say that a document does not fit
// their schema: those of graphql-js and of what was written after it, of
// graphql-ruby, and of graphql-java.
var unfit = []string{
	"Cannot query field ", "Unknown type ", "Unknown argument ", "Unknown fragment ", "Unknown field ",
	"Field '", "Argument '", "InputObject '", "Validation error", "field '",
}

// aboutDocument reports whether the service refuses the operation itself, and
// not what it was called with.
func (f faults) aboutDocument() bool {
	for _, e := range f.list {
		if e.aboutVariable() || e.path != nil {
			return false
		}
		switch e.code {
		case "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "VALIDATION_FAILED", "UNDEFINEDFIELD":
			return true
		case "":
			if slices.ContainsFunc(unfit, func(start string) bool { return strings.HasPrefix(e.message, start) }) {
				return true
			}
		}
	}
	return false
}

// text is the errors in a line.
func (f faults) text() string {
	const most = 3
	var parts []string
	for _, e := range f.list[:min(len(f.list), most)] {
		if e.code != "" {
			e.message = e.code + ": " + e.message
		}
		parts = append(parts, e.message)
	}
	if n := len(f.list) + f.more - len(parts); n > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(parts, "; ")
}

// gap is one error beside data: which place is missing, and why.
type gap struct {
	Message string          `json:"message"`
	Path    json.RawMessage `json:"path,omitempty"`
	Code    string          `json:"code,omitempty"`
}

func (f faults) gaps() []gap {
	var out []gap
	for _, e := range f.list {
		out = append(out, gap{e.message, e.path, e.code})
	}
	if f.more > 0 {
		out = append(out, gap{Message: fmt.Sprintf("and %d more errors", f.more)})
	}
	return out
}

// data is the errors for machines.
func (f faults) data() json.RawMessage {
	raw, err := rawjson.Marshal(map[string]any{memberErrors: f.gaps()})
	if err != nil { // there is nothing in them that does not encode
		return nil
	}
	return raw
}
