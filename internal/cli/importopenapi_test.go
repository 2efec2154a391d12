package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream/openapi"
)

const shopDocument = `
openapi: 3.0.3
info: {title: Shop API, version: "1"}
paths:
  /items:
    get: {operationId: items/list, responses: {"200": {description: ok}}}
  /items/{id}:
    delete: {operationId: items/delete, responses: {"204": {description: ok}}}
`

func shop(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(file, []byte(shopDocument), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What is written is a configuration, also where there was none; what was there is
// kept, and is left alone if it would not be right any more.
func TestImportWrites(t *testing.T) {
	doc, file := shop(t), filepath.Join(t.TempDir(), "bulkhead.toml")
	write := func(args ...string) (int, string) {
		code, _, errs := invoke(t, nil, append([]string{"import-openapi", doc, "--write", "--config", file, "--match", "items/*"}, args...)...)
		return code, errs
	}
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if code, errs := write("--url", "https://example.com/v1"); code != 0 || !strings.Contains(errs, "upstream shop_api added to "+file+"\n") {
		t.Fatalf("%d %s", code, errs)
	}
	first := read(file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(first, "[upstream.shop_api]\n") {
		t.Errorf("%v %v\n%s", info, err, first)
	}
	if _, err := os.Stat(file + ".bak"); err == nil {
		t.Error("there was nothing to keep")
	}
	if code, errs := write("--url", "nonsense", "--name", "other"); code != 1 || !strings.Contains(errs, "would not be right with it") || read(file) != first {
		t.Errorf("%d %s", code, errs)
	}
	taken, bad := "there is an upstream \"shop_api\" in "+file+" already", "--name: \"Bad Name\" is no valid name for an upstream"
	for want, wrong := range map[string][]string{taken: nil, taken + "\n": {"--name", "shop_api"}, bad: {"--name", "Bad Name"}} {
		if code, errs := write(append(wrong, "--url", "https://example.com/v1")...); code != 2 || !strings.Contains(errs, want) || strings.Contains(errs, "line ") || read(file) != first {
			t.Errorf("%q: %d %s", wrong, code, errs)
		}
	}
	if code, errs := write("--url", "https://example.com/v1", "--name", "other"); code != 0 || !strings.Contains(errs, "as it was: "+file+".bak") {
		t.Errorf("%d %s", code, errs)
	}
	if now := read(file); !strings.HasPrefix(now, first) || !strings.Contains(now, "[upstream.other]") || read(file+".bak") != first {
		t.Errorf("%s", now)
	}
}

// On a terminal that is too narrow for a line, an operation has several.
func TestListFitsTheTerminal(t *testing.T) {
	c := &openapi.Compiled{Operations: []openapi.Operation{{
		ID: "items/list", Named: "items/list", Method: "GET", Path: "/items", Class: "read", Parameters: strings.Fields(strings.Repeat("argument ", 12)),
	}}}
	list := func(width int) string {
		t.Helper()
		var b strings.Builder
		if err := listOperations(&b, c, width); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for _, width := range []int{0, 200} {
		if said := list(width); !strings.HasPrefix(said, "OPERATION ") || strings.Count(said, "\n") != 2 {
			t.Errorf("%d: %s", width, said)
		}
	}
	said := list(80)
	if !strings.HasPrefix(said, "items/list  read\n    GET /items\n    argument argument") || strings.Count(said, "argument") != 12 {
		t.Error(said)
	}
	for line := range strings.Lines(said) {
		if len(line) > 81 {
			t.Errorf("too long: %s", line)
		}
	}
}

// What became no tool is told by name, with its reason, by those who look.
func TestCheckTellsWhatIsLeftOut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	text := "[upstream.shop]\nkind = 'openapi'\nurl = 'http://127.0.0.1:1/'\ndocument = '" + shop(t) + "'\noperations = ["
	check := func(operations string) string {
		t.Helper()
		if err := os.WriteFile(file, []byte(text+operations+"]\n[server]\nstate = 'none'\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, out, errs := invoke(t, nil, "check", "--config", file)
		return out + errs
	}
	said := check("'items/*', 'nope'")
	for _, want := range []string{
		`tool "nope" is held back: no operation of the document has this name`,
		`tool "items/delete" is held back: its path has {id}`, "ready   shop               1 tool ",
		"0 of 1 upstream answer, 1 more is ready, 1 tool\n", "hint: what is ready has not been asked",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in\n%s", want, said)
		}
	}
	if said := check("'nope'"); !strings.Contains(said, `down: nothing in the document became a tool: "nope": no operation of the document has this name`) {
		t.Error(said)
	}
}

// TestImportOfAMisspeltOperation: the operation that is meant is named.
func TestImportOfAMisspeltOperation(t *testing.T) {
	code, _, errs := invoke(t, nil, "import-openapi", shop(t), "--operations", "items/lsit,zzzzzzzz")
	if code != 1 || !strings.Contains(errs, `"items/lsit" names no operation; did you mean items/list?`) || !strings.Contains(errs, "\"zzzzzzzz\" names no operation\n") {
		t.Errorf("%d %s", code, errs)
	}
}
