package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/admin"
)

func TestPlace(t *testing.T) {
	e := Env{Environ: []string{"XDG_RUNTIME_DIR=/run/user/7", "TMPDIR=/other/tmp"}}
	if _, ok := e.place(""); ok {
		t.Error("there is a place although nothing is to be kept")
	}
	p, ok := e.place("/state/0123456789ab")
	if !ok || p.Key != "0123456789ab" || len(p.Dirs) != 3 || p.Dirs[0] != "/state/0123456789ab" || p.Dirs[1] != "/run/user/7/bulkhead" ||
		!strings.HasPrefix(p.Dirs[2], filepath.Join("/other/tmp", "bulkhead-")) {
		t.Errorf("%+v", p)
	}
}

// Without a terminal --watch prints it again below, until it is interrupted, which
// is no failure; with --json each is a line.
func TestWatch(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			inv := &invocation{Env: Env{Out: &out}, opt: options{watch: true, json: asJSON}}
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			looked := 0
			err := inv.show(ctx, func(context.Context) []admin.Report {
				if looked++; looked == 2 {
					return nil
				}
				return []admin.Report{sample(1)}
			})
			if err != nil || looked != 3 {
				t.Errorf("%v after %d looks", err, looked)
			}
			if asJSON {
				dec := json.NewDecoder(&out)
				for i, want := range []int{1, 0, 1} {
					var found struct{ Instances []admin.Report }
					if err := dec.Decode(&found); err != nil || len(found.Instances) != want || found.Instances == nil {
						t.Errorf("%d: %v %+v", i, err, found)
					}
				}
				return
			}
			if got := out.String(); strings.Count(got, "\nSOURCE ") != 2 || strings.Contains(got, "\x1b") || !strings.Contains(got, "\n\nno server runs with this configuration any more\n\n") {
				t.Error(got)
			}
		})
	}
}
