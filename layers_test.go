package main_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const module = "github.com/bulkhead-mcp/bulkhead"

// layer says what one package of ours may import from us, and why no more.
type layer struct {
	pkg    string // below the module; "" is main
	may    []string
	reason string
}

// layers is the whole import graph. A package that is not here may not exist;
// one that is here must.
var layers = []layer{
	{"", []string{"internal/cli", "internal/egress"}, "main shuts net/http's defaults and starts the command line"},
	{"internal/cli", []string{
		"aggregate", "aggregate/inbound", "aggregate/shaping", "credentials", "credentials/mcpauth", "internal/admin", "internal/bearer", "internal/config", "internal/connect", "internal/demo", "internal/egress", "internal/metrics", "internal/near", "internal/o200k",
		"internal/procguard", "internal/sandbox", "internal/sandbox/data", "internal/sandbox/restapi", "internal/sandbox/warehousedb", "internal/sandbox/web", "internal/telemetry", "upstream", "upstream/graphql", "upstream/mcpserver", "upstream/openapi", "upstream/rawjson", "upstream/rest", "upstream/rest/connectors", "upstream/sqldb",
	}, "the only wiring: sole importer of credentials and config"},
	{"aggregate/inbound", []string{"aggregate", "upstream", "upstream/rawjson"}, "an edge knows the aggregate, never an upstream's kind"},
	{"aggregate/search", nil, "ranks texts, whatever they are about"},
	{"aggregate/shaping", []string{"upstream/rawjson"}, "leaves out of JSON, whatever it is the answer to"},
	{"aggregate/plan", []string{"upstream/rawjson"}, "a plan knows calls by their names and results as JSON"},
	{"aggregate", []string{"aggregate/plan", "aggregate/search", "aggregate/shaping", "cache", "internal/near", "upstream", "upstream/drift", "upstream/gate", "upstream/rawjson"}, "the one server knows adapters by their interface only"},
	{"upstream/httpcall", []string{"upstream", "upstream/limits", "upstream/rawjson"}, "one request and what its failure means, whatever is asked"},
	{"upstream/limits", []string{"upstream/rawjson"}, "reads answers, whoever sent them"},
	{"cache", nil, "keeps values, whatever they are"},
	{"upstream/gate", []string{"upstream"}, "a gate sees calls, not who makes them"},
	{"upstream/drift", []string{"upstream"}, "remembers differences, whoever finds them"},
	{"upstream/graphql", []string{"upstream", "upstream/drift", "upstream/httpcall", "upstream/limits", "upstream/rawjson"}, "an adapter takes standard-library handles; texts come from whoever read them"},
	{"upstream/mcpserver", []string{"upstream", "upstream/httpcall", "upstream/limits", "upstream/rawjson"}, "an adapter takes standard-library handles; if it needs a token it is in the wrong package"},
	{"upstream/rest", []string{"upstream", "upstream/drift", "upstream/httpcall", "upstream/limits", "upstream/rawjson"}, "an adapter takes standard-library handles and plain data"},
	{"upstream/rest/connectors", []string{"upstream/rest"}, "definitions in files, whoever asks with them"},
	{"upstream/openapi", []string{"upstream/rawjson", "upstream/rest"}, "a document becomes a definition; it neither fetches nor asks"},
	{"upstream/sqldb", []string{"upstream", "upstream/drift", "upstream/rawjson"}, "an adapter takes a *sql.DB; who may connect is decided by whoever opens it"},
	{"upstream/upstreamtest", []string{"upstream", "upstream/rawjson"}, "the conformance suite knows what every adapter knows"},
	{"upstream", []string{"upstream/rawjson"}, "the vocabulary is at the bottom"},
	{"bench", []string{"bench/peer", "bench/report", "bench/workload"}, "the benchmark drives the real binary from outside"},
	{"bench/peer", nil, "what we are compared with has nothing of ours"},
	{"bench/report", nil, "figures and their looks, whatever was measured"},
	{"bench/workload", nil, "a scheduler made of our code would share its mistakes"},
	{"e2e", nil, "the end-to-end tests drive the real binary from outside"},
	{"e2e/vendors", nil, "a stand-in made of our code would share its mistakes"},
	{"e2e/npmpack", nil, "reads packages of others for tests"},
	{"e2e/mutants", nil, "plants bugs in text and has go test find them"},
	{"e2e/fixture", []string{"upstream/rawjson"}, "the server to test against is written on JSON text and knows nothing else of us"},
	{"e2e/authclient", []string{"credentials", "credentials/mcpauth", "internal/egress", "upstream", "upstream/mcpserver"}, "a client to be judged is made of what Bulkhead's is made of"},
	{"upstream/rawjson", nil, "JSON text functions know nothing of us"},
	{"credentials/mcpauth", []string{"credentials", "upstream/rawjson"}, "signing in to MCP servers rests on credentials, not the other way round"},
	{"credentials", nil, "secrets depend on nothing that could leak them"},
	{"internal/admin", []string{"aggregate"}, "what a process says of itself is the aggregate's status"},
	{"internal/bearer", []string{"aggregate/inbound", "upstream", "upstream/rawjson"}, "says who sends a request, and knows nothing of what it is for"},
	{"internal/config", []string{"internal/near"}, "configuration is plain data"},
	{"internal/near", nil, "compares names, whatever has them"},
	{"internal/connect", []string{"upstream"}, "pages know users by name; how they are told apart and what they connect are functions that they are handed"},
	{"internal/config/gen", []string{"internal/config"}, "writes the reference pages"},
	{"internal/egress", nil, "a transport knows no upstream"},
	{"internal/telemetry", nil, "a logger knows nobody who logs"},
	{"internal/metrics", []string{"aggregate", "internal/o200k", "upstream"}, "counts what the aggregate tells of calls"},
	{"internal/o200k", nil, "counts tokens of texts, whatever they say"},
	{"internal/procguard", nil, "ends processes, whoever started them"},
	{"internal/demo", []string{"internal/o200k"}, "asks through a function it is handed"},
	{"internal/sandbox", []string{"internal/sandbox/data", "upstream", "upstream/rawjson"}, "sample sources are adapters like any other"},
	{"internal/sandbox/authserver", nil, "an authorization server knows nothing of what its tokens open"},
	{"internal/sandbox/web", []string{"internal/sandbox/authserver", "upstream/rawjson"}, "a guarded endpoint reads of a request what it needs, not who answers it"},
	{"internal/sandbox/restapi", []string{"upstream", "upstream/rawjson"}, "a sample service asks a sample source, whoever is in front of it"},
	{"internal/sandbox/warehousedb", []string{"internal/sandbox/data"}, "the sample warehouse is a file, whoever asks it"},
	{"internal/sandbox/data", nil, "sample data is apart from how it is served"},
}

// owners says which package alone may import a library.
var owners = []struct {
	library string
	may     []string
	reason  string
}{
	{"github.com/mark3labs/mcp-go/client", []string{"upstream/mcpserver", "bench/peer"}, "only the adapter speaks to MCP servers; the benchmark measures the library itself"},
	{"github.com/mark3labs/mcp-go/server", []string{"aggregate/inbound", "bench/peer"}, "only the edge serves MCP clients; the benchmark measures the library itself"},
	{"github.com/knadh/koanf", []string{"internal/config"}, "one reader of the configuration"},
	{"github.com/zalando/go-keyring", []string{"credentials"}, "secrets are fetched in one place"},
	{"golang.org/x/oauth2", []string{"credentials"}, "tokens are handled in one place"},
	{"github.com/go-jose/go-jose", []string{"internal/bearer"}, "clients' tokens are verified in one place"},
	{"filippo.io/age", []string{"credentials"}, "what is sealed is sealed in one place"},
	{"github.com/gofrs/flock", []string{"credentials"}, "locks between processes are for tokens"},
	{"github.com/jackc/pgx", []string{"upstream/sqldb"}, "databases are asked in one place"},
	{"github.com/go-sql-driver/mysql", []string{"upstream/sqldb"}, "databases are asked in one place"},
	{"modernc.org", []string{"upstream/sqldb", "internal/sandbox/warehousedb"}, "databases are asked in one place; the sample one is written in another"},
	{"github.com/hashicorp/golang-lru", []string{"cache"}, "one cache, bounded and partitioned"},
	{"github.com/pelletier/go-toml", []string{"internal/config", "upstream/rest"}, "definitions and the configuration are read in one place each"},
	{"github.com/getkin/kin-openapi", []string{"upstream/openapi"}, "documents are read in one place"},
	{"github.com/oasdiff/yaml", []string{"upstream/openapi"}, "documents are read in one place"},
	{"github.com/kljensen/snowball", []string{"aggregate/search"}, "words are cut in one place"},
	{"github.com/vektah/gqlparser", []string{"upstream/graphql"}, "GraphQL is read and written in one place"},
	{"github.com/tiktoken-go/tokenizer", []string{"internal/o200k"}, "tokens are counted in one place"},
	{"github.com/itchyny/gojq", []string{"aggregate/shaping"}, "programs are compiled and bounded in one place"},
	{"html/template", nil, "it finds methods by name, so that the linker keeps every exported method: a tenth of the program"},
	{"text/template", nil, "it finds methods by name, so that the linker keeps every exported method: a tenth of the program"},
	{"testing", []string{"upstream/upstreamtest"}, "production code does not import testing"},
}

type listed struct {
	ImportPath   string
	Dir          string
	Imports      []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

func list(t *testing.T) map[string]listed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Imports,GoFiles,TestGoFiles,XTestGoFiles", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	pkgs := make(map[string]listed)
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p listed
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")] = p
	}
	return pkgs
}

func TestLayers(t *testing.T) {
	pkgs := list(t)
	for _, l := range layers {
		p, ok := pkgs[l.pkg]
		if !ok {
			t.Errorf("package %q has disappeared: take it out of the layers", l.pkg)
			continue
		}
		for _, imported := range p.Imports {
			rel, ours := strings.CutPrefix(imported, module+"/")
			if ours && !slices.Contains(l.may, rel) {
				t.Errorf("%q imports %q, but %s", l.pkg, rel, l.reason)
			}
		}
	}
	for name, p := range pkgs {
		known := slices.ContainsFunc(layers, func(l layer) bool { return l.pkg == name })
		if !known && len(p.GoFiles) > 0 {
			t.Errorf("package %q has no place in the layers: give it one, with a reason", name)
		}
	}
}

func TestLibrariesHaveOneOwner(t *testing.T) {
	for name, p := range list(t) {
		for _, imported := range p.Imports {
			for _, o := range owners {
				within := imported == o.library || strings.HasPrefix(imported, o.library+"/")
				if within && !slices.Contains(o.may, name) {
					t.Errorf("%q imports %s, but %s", name, imported, o.reason)
				}
			}
		}
	}
}

// The caps on tails: medians do not tell good code from bad, tails do.
const (
	maxFileLines     = 500
	maxFunctionLines = 80
	maxMethods       = 20
	maxInterface     = 5
)

func TestCaps(t *testing.T) {
	for name, p := range list(t) {
		methods := make(map[string]int)
		for _, file := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			path := filepath.Join(p.Dir, file)
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if lines := strings.Count(string(src), "\n"); lines > maxFileLines {
				t.Errorf("%s/%s has %d lines, at most %d: split it by noun", name, file, lines, maxFileLines)
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, path, src, 0)
			if err != nil {
				t.Fatal(err)
			}
			test := strings.HasSuffix(file, "_test.go")
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					lines := fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1
					if lines > maxFunctionLines && !test {
						t.Errorf("%s/%s: %s has %d lines, at most %d", name, file, n.Name.Name, lines, maxFunctionLines)
					}
					if !test && n.Recv != nil {
						methods[receiver(n)]++
					}
				case *ast.InterfaceType:
					if n.Methods.NumFields() > maxInterface {
						t.Errorf("%s/%s: an interface has %d methods, at most %d", name, file, n.Methods.NumFields(), maxInterface)
					}
				}
				return true
			})
		}
		for typ, n := range methods {
			if n > maxMethods {
				t.Errorf("%s.%s has %d methods, at most %d: it knows too much", name, typ, n, maxMethods)
			}
		}
	}
}

func receiver(f *ast.FuncDecl) string {
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X
	}
	if id, ok := typ.(*ast.Ident); ok {
		return id.Name
	}
	return "?"
}

func TestEveryPackageSaysItsJob(t *testing.T) {
	for name, p := range list(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		said := false
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			said = said || f.Doc != nil
		}
		if !said {
			t.Errorf("package %q has no package comment", name)
		}
	}
}
