package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// wired writes a configuration and wires it. The returned function replaces
// the file.
func wired(t *testing.T, text string) (*invocation, *wiring, *aggregate.Aggregate, func(string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	inv := &invocation{opt: options{config: path}, Env: Env{Err: io.Discard, Environ: []string{"HOME=" + t.TempDir()},
		Exe: func() (string, error) { return "/nonexistent/bulkhead", nil }}}
	cfg, err := inv.load()
	if err != nil {
		t.Fatal(err)
	}
	w, err := wire(inv.Env, cfg, true)
	if err != nil {
		t.Fatal(err)
	}
	a, err := w.aggregate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return inv, w, a, write
}

func TestReloadsOfHTTPUpstreams(t *testing.T) {
	const one = "[upstream.a]\nurl = \"http://127.0.0.1:1/mcp\"\n"
	inv, w, a, write := wired(t, one)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	r := &reloader{inv, w, a}
	before := runtime.NumGoroutine()
	for i := range 200 {
		b := "[upstream.b]\nurl = \"http://127.0.0.1:1/" + strings.Repeat("x", 1+i%3) + "\"\n"
		write(one + b)
		kept := w.built["a"].member.Adapter
		r.reload(ctx)
		if got := a.Status().Sources; len(got) != 2 || w.built["a"].member.Adapter != kept {
			t.Fatalf("%+v", got)
		}
	}
	write("[upstream.a]\nurl = 5\n")
	r.reload(ctx)
	if got := a.Status().Sources; len(got) != 2 {
		t.Errorf("a faulty file changed the sources: %+v", got)
	}
	write(one)
	r.reload(ctx)
	for range 1200 { // until what was taken out has ended
		if runtime.NumGoroutine() <= before+10 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if after := runtime.NumGoroutine(); after > before+10 {
		t.Errorf("%d goroutines after 200 reloads, %d before", after, before)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestListWaitZeroIsNoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, _ := wired(t, "[server]\nlist_wait = \"0\"\nstate = \"none\"\n[upstream.a]\nurl = \"http://127.0.0.1:1/mcp\"\n")
		v, _ := a.View("")
		began := time.Now()
		if _, err := v.ListTools(t.Context(), &aggregate.Request{Principal: upstream.Local()}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the list waited %s", took)
		}
	})
}

func TestToolFilterTakesANameForNoPath(t *testing.T) {
	all := keep(config.ToolFilter{Allow: []string{"*"}, Deny: []string{"admin/*", "?rop"}})
	for name, want := range map[string]bool{"get": true, "crm/get": true, "admin/users/drop": false, "drop": false, "a/b/c": true} {
		if all(name) != want {
			t.Errorf("%s is offered: %v", name, !want)
		}
	}
}

func TestIdentityFollowsTheAccount(t *testing.T) {
	u := config.Upstream{Name: "a", URL: "https://a.example/mcp", Auth: config.Auth{Type: "bearer", Token: &config.Ref{Env: "ALICE"}}}
	v := u
	v.Auth.Token = &config.Ref{Env: "BOB"}
	if identity(u) == identity(v) {
		t.Error("another account's catalog would be served")
	}
	v.Auth.Token = &config.Ref{Env: "ALICE"}
	v.Timeout = time.Minute
	if identity(u) != identity(v) {
		t.Error("a time-out makes another source")
	}
}

func TestACallDuringTheFirstFetchLearnsOfItsFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeferred("crm", slog.New(slog.DiscardHandler), func(context.Context) (upstream.Adapter, error) {
			time.Sleep(time.Second)
			return nil, io.ErrUnexpectedEOF
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go d.Watch(ctx, upstream.Events{}) //nolint:errcheck // ended by cancel
		short, stop := context.WithTimeout(ctx, 500*time.Millisecond)
		defer stop()
		_, err := d.Call(short, &upstream.Call{})
		if e := upstream.AsError("", "", err); e.Kind != upstream.Timeout || e.Sent {
			t.Errorf("nothing was sent: %+v", e)
		}
		began := time.Now()
		_, err = d.Call(ctx, &upstream.Call{})
		if e := upstream.AsError("", "", err); e.Kind != upstream.Unavailable || time.Since(began) > time.Second {
			t.Errorf("after %s: %+v", time.Since(began), e)
		}
	})
}

func TestReportOfAnInterruption(t *testing.T) {
	var b strings.Builder
	if code := report(&b, context.Canceled); code != exitFailed || b.String() != "bulkhead: error: interrupted\n" {
		t.Errorf("%d %s", code, b.String())
	}
}

func TestATerminalIsNotDriven(t *testing.T) {
	if got, want := harmless("a\x1b[31mred\nnext \u202e é\n"), "a\\u001b[31mred\nnext \\u202e é\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
