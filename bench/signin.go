package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bulkhead-mcp/bulkhead/bench/report"
)

const signInLimit = 1.05

// signIns compares calls that carry a credential with calls that carry none.
func signIns(ctx context.Context, s *stage, o options) (report.Section, error) {
	out := report.Section{
		Title: "Calls with a credential",
		Text:  "16 callers, one session, over HTTP. The token comes from an authorization server and is valid for the whole time; it is looked at for each call, and has 800 characters.",
	}
	secret := filepath.Join(s.dir, "secret")
	if err := os.WriteFile(secret, []byte("s3cret"), 0o600); err != nil {
		return out, err
	}
	f := family{name: "HTTP, legacy", targets: []target{overHTTP("direct", s.echoPID, s.upstream+path("legacy", few), false)}}
	for i, way := range []struct{ name, auth string }{
		{"Bulkhead, no credential", ""},
		{"Bulkhead, fixed bearer token", fmt.Sprintf("auth = { type = \"bearer\", token = { file = %q } }\n", secret)},
		{"Bulkhead, token of its own", fmt.Sprintf("auth = { type = \"client_credentials\", token_url = \"%s/token\", client_id = \"bench\", client_secret = { file = %q } }\n", s.upstream, secret)},
	} {
		config, err := s.configure(fmt.Sprintf("signin-%d", i), server+"listen = \"127.0.0.1:0\"\n"+s.httpUpstream("u", "legacy", few)+"prefix = \"\"\n"+way.auth)
		if err != nil {
			return out, err
		}
		own, url, err := startServing(ctx, s.binary, config, 1)
		if err != nil {
			return out, fmt.Errorf("%s: %w", way.name, err)
		}
		defer own.end()
		f.targets = append(f.targets, overHTTP(way.name, own.pid(), url+"/mcp", false))
	}
	got, err := measure(ctx, []family{f}, load{request: echoCall(), callers: 16, sessions: 1, length: o.burst}, 3*o.rounds)
	if err != nil {
		return out, err
	}
	t := report.Table{Head: []string{"through", "calls/s", "CPU µs a call", "× without a credential"}}
	for i, target := range f.targets {
		row := []string{target.name, middle(got[0][i].rate), middle(got[0][i].cpu), ""}
		if i > 1 {
			row[3] = spread(ratio(got[0], i, 1))
		}
		t.Rows = append(t.Rows, row)
	}
	out.Tables = []report.Table{t}
	out.Goals = []report.Goal{{Figure: "CPU a call with a valid token", Limit: signInLimit, Unit: " × without", Got: report.Of(ratio(got[0], 3, 1))}}
	return out, nil
}
