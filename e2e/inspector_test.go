package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The Inspector's command line reaches what stands around tools, and puts a load
// on a tool without one failure, over each edge in each era.
func TestInspectorOnEverything(t *testing.T) {
	t.Parallel()
	bin, err := npm()
	needed(t, err)
	config := "[server]\nnames = 'flat'\nlist_wait = '30s'\n" +
		upstreamTable("fixture", "command = ["+strconv.Quote(buildFixture(t))+"]")
	home := t.TempDir()
	file := filepath.Join(home, "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	_, url := serveHTTP(t, config)
	stdio := []string{"-e", "BULKHEAD_CONFIG=" + file, "-e", raceOptions, "--", os.Getenv(binaryVariable)}
	http := []string{"--transport", "http", "--server-url", url}
	sse := []string{"--transport", "sse", "--server-url", strings.TrimSuffix(url, "/mcp") + "/sse"}
	for name, way := range map[string]struct {
		era    string
		target []string
	}{
		"stdio legacy": {"legacy", stdio}, "stdio modern": {"modern", stdio},
		"http legacy": {"legacy", http}, "http modern": {"modern", http}, "sse": {"legacy", sse},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, step := range []struct {
				want string
				args []string
			}{
				{`"test_prompt_with_arguments"`, []string{"prompts/list"}},
				{"two", []string{"prompts/get", "--prompt-name", "test_prompt_with_arguments", "--prompt-args", "arg1=one", "arg2=two"}},
				{`"test://static-text"`, []string{"resources/list"}},
				{`"test://template/{id}/data"`, []string{"resources/templates/list"}},
				{"test://template/7/data", []string{"resources/read", "--uri", "test://template/7/data"}},
				{`"errors":0`, []string{"tools/call", "--tool-name", "test_simple_text", "--load", "--load-requests", "300", "--load-concurrency", "20"}},
			} {
				args := slices.Concat([]string{filepath.Join(bin, "mcp-inspector"), "--cli", "--protocol-era", way.era, "--format", "json",
					"--method"}, step.args, way.target)
				out := inspect(t, home, filepath.Join(bin, "node"), args)
				if !json.Valid(out) || !strings.Contains(string(out), step.want) {
					t.Errorf("%s: no %s in %.700s", step.args, step.want, out)
				}
			}
		})
	}
}
