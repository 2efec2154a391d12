package aggregate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// validated refuses a call whose arguments are no object and, with schema set,
// one whose arguments do not match the tool's input schema. Without schema the
// upstream decides: one that takes "5" for 5 keeps doing so behind us.
func validated(schema bool, log *slog.Logger) upstream.Middleware {
	schemas := &schemaCache{log: log}
	return func(next upstream.Handler) upstream.Handler {
		return func(ctx context.Context, c *upstream.Call) (*upstream.Result, error) {
			if c.Tool == nil { // a prompt's arguments are its upstream's business
				return next(ctx, c)
			}
			problem := ""
			if !rawjson.IsNull(c.Arguments) && rawjson.Kind(c.Arguments) != '{' {
				problem = "arguments is not an object"
			} else if schema {
				problem = schemas.check(c.Tool, c.Arguments)
			}
			if problem != "" {
				return nil, &upstream.Error{
					Upstream: c.Upstream, Tool: c.Name, Op: "validate",
					Kind: upstream.InvalidArguments, Public: problem,
					Err: errArguments, // what is wrong may quote the arguments, which no log line may
				}
			}
			return next(ctx, c)
		}
	}
}

var errArguments = errors.New("the arguments are not what the tool takes")

// schemaCache compiles each tool's input schema once.
type schemaCache struct {
	log      *slog.Logger
	compiled sync.Map     // *upstream.Tool → *compiledSchema
	size     atomic.Int64 // bytes of the definitions in it
}

// maxSchemas bounds the cache, in bytes of definitions, against an upstream
// that keeps changing them.
const maxSchemas = 32 << 20

type compiledSchema struct {
	once   sync.Once
	schema *jsonschema.Schema // nil if it does not compile
	parts  int                // objects and lists that it consists of
	refs   bool               // parts of it refer to others
	told   sync.Once          // that arguments were too much for it
}

// check returns what is wrong with the arguments, "" if nothing.
func (s *schemaCache) check(t *upstream.Tool, arguments []byte) string {
	err := s.validate(t, arguments)
	if invalid, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		return told(leaves(invalid, nil))
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// validate returns why the arguments are not what a tool takes: as a rule a
// *jsonschema.ValidationError.
func (s *schemaCache) validate(t *upstream.Tool, arguments []byte) error {
	v, known := s.compiled.Load(t)
	if !known {
		if size := int64(len(t.Raw)); s.size.Add(size) > maxSchemas {
			s.compiled.Clear()
			s.size.Store(size)
		}
		v, _ = s.compiled.LoadOrStore(t, &compiledSchema{})
	}
	cs := v.(*compiledSchema)
	cs.once.Do(func() {
		var err error
		if err = cs.compile(t); err != nil {
			s.log.Warn("input schema not usable, arguments are not checked against it",
				"upstream", string(t.Upstream), "tool", t.Name, "error", err)
		}
	})
	if cs.schema == nil {
		return nil
	}
	if rawjson.IsNull(arguments) {
		arguments = []byte("{}")
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(arguments))
	if err != nil {
		return err
	}
	if m := measure(doc); m.wide || (cs.refs || m.values*cs.parts > maxWork) && tooMuch(cs.schema, doc) {
		cs.told.Do(func() {
			s.log.Warn("to check arguments against the input schema would take too long, they are not",
				"upstream", string(t.Upstream), "tool", t.Name)
		})
		return nil
	}
	return cs.schema.Validate(doc)
}

// noLoader refuses to fetch anything: a schema of an upstream must not make us
// reach out (basic, §$ref).
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("reference to %s is not followed", url)
}

func (cs *compiledSchema) compile(t *upstream.Tool) error {
	raw, _ := rawjson.Get(t.Raw, "inputSchema")
	if len(raw) > maxSchema {
		return errSchemaSize
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	m := measure(doc)
	if m.depth > maxSchemaDepth || m.parts > maxSchemaParts || m.wide {
		return errSchemaSize
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	const url = "schema:input"
	if err = c.AddResource(url, doc); err != nil {
		return err
	}
	cs.parts, cs.refs = m.parts, m.refs
	cs.schema, err = c.Compile(url)
	return err
}

// maxProblems is how many faults of one call are named.
const maxProblems = 5

// leaves lists the faults at the ends of the tree, which say where and what;
// the nodes above them only say that something below is wrong.
func leaves(e *jsonschema.ValidationError, out []string) []string {
	if len(e.Causes) == 0 && len(out) < maxProblems {
		return append(out, problem(e))
	}
	for _, cause := range e.Causes {
		out = leaves(cause, out)
	}
	return out
}

// told puts faults together, in the same order each time.
func told(faults []string) string {
	slices.Sort(faults)
	return strings.Join(faults, "; ")
}

// problem says where and what one fault is.
func problem(e *jsonschema.ValidationError) string {
	at := "arguments"
	if len(e.InstanceLocation) > 0 {
		at = strings.Join(e.InstanceLocation, ".")
	}
	return at + ": " + e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
}
