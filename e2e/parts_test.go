package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// partsOf is a service of all kinds that notes on which connection each is asked.
type partsOf struct {
	*httptest.Server
	mu    sync.Mutex
	peers map[string]string
}

func (s *partsOf) peer(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers[name]
}

// TestPartsAreReadAgain: a file that a source is made of is part of the
// configuration. With another content that source is made anew when the
// configuration is read again; whatever has the same one goes on undisturbed.
func TestPartsAreReadAgain(t *testing.T) {
	t.Parallel()
	s := &partsOf{peers: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.peers[strings.Split(r.URL.Path, "/")[1]] = r.RemoteAddr
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"a":1}}`)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	// What stands in the file of each kind, where NAME is that of a tool.
	texts := map[string]string{
		"rest":    "[action.NAME]\nmethod = 'GET'\npath = '/x'\n",
		"openapi": `{"openapi":"3.0.3","info":{"title":"x","version":"1"},"paths":{"/x":{"get":{"operationId":"NAME","responses":{"200":{"description":"x"}}}}}}`,
		"graphql": "query NAME { a }",
	}
	keys := map[string]string{"rest": "definition = 'FILE'", "openapi": "document = 'FILE'\noperations = ['*']", "graphql": "documents = ['FILE']"}
	home, config, kinds := t.TempDir(), "", []string{"graphql", "openapi", "rest"}
	for _, kind := range kinds {
		writeFile(t, strings.ReplaceAll(texts[kind], "NAME", "get_one"), home, kind)
		config += upstreamTable(kind, "kind = '"+kind+"'", "url = '"+s.URL+"/"+kind+"'", "auth.type = 'none'", strings.ReplaceAll(keys[kind], "FILE", kind))
	}
	p := startIn(t, home, config, nil)
	c := p.stdio(true)
	c.ready()
	names := map[string]string{"rest": "get_one", "openapi": "get_one", "graphql": "get_one"}
	// ask calls each and returns its connection.
	ask := func() map[string]string {
		t.Helper()
		peers := map[string]string{}
		for _, kind := range kinds {
			if r := c.mustCall(kind+"_"+names[kind], map[string]any{}); r.IsError {
				t.Fatalf("%s: %s", kind, r.text())
			}
			peers[kind] = s.peer(kind)
		}
		return peers
	}
	reloads := 0
	reload := func() {
		t.Helper()
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		reloads++
		if !eventually(func() bool { return strings.Count(p.log.String(), "configuration reloaded") == reloads }) {
			t.Fatalf("not reloaded\n%s", p.log)
		}
	}
	before := ask()
	for _, kind := range kinds { // a file that was only touched
		if err := os.Chtimes(filepath.Join(home, kind), time.Time{}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	reload()
	if after := ask(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("with the same content: %v, before %v", after, before)
	}
	for _, kind := range kinds {
		writeFile(t, strings.ReplaceAll(texts[kind], "NAME", "get_two"), home, kind) // as long as before
		names[kind] = "get_two"
		reload()
		if !eventually(func() bool { return slices.Contains(c.tools(), kind+"_get_two") }) {
			t.Fatalf("%s: the tools are %q", kind, c.tools())
		}
		after := ask()
		for _, other := range kinds {
			if (after[other] != before[other]) != (other == kind) {
				t.Errorf("%s has changed: %s is asked on %s, before on %s", kind, other, after[other], before[other])
			}
		}
		before = after
	}
	writeFile(t, "[action.get_two]\nmethod = 'FETCH'\n", home, "rest") // changes nothing that runs
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return strings.Contains(p.log.String(), "configuration not reloaded") }) {
		t.Errorf("a fault is not told\n%s", p.log)
	}
	if after := ask(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("with a fault: %v, before %v", after, before)
	}
}
