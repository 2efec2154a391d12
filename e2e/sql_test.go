package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	account "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/data"
	"github.com/bulkhead-mcp/bulkhead/internal/sandbox/warehousedb"
)

// warehouse is a SQLite file in a directory of its own, which the configuration
// names by a path of its own directory.
func warehouse(t *testing.T) (home string) {
	t.Helper()
	home = t.TempDir()
	if err := warehousedb.Write(t.Context(), filepath.Join(home, "warehouse.db"), data.Generate(time.Time{})); err != nil {
		t.Fatal(err)
	}
	return home
}

const warehouseConfig = `
[upstream.warehouse]
kind = "sql"
database = "sqlite:./warehouse.db"
query = true
max_rows = 3
max_cell = "16B"
%s

[upstream.warehouse.statements.orders]
sql = "SELECT order_id, status FROM orders WHERE status = :status AND total_cents >= :least ORDER BY placed_at DESC"
description = "The latest orders."
params.status = { enum = ["shipped", "delivered"], default = "delivered", doc = "Their state." }
params.least = { type = "integer", required = true }

[upstream.warehouse.statements.cancel]
sql = "UPDATE orders SET status = 'cancelled' WHERE order_id = :order_id"
write = true
params.order_id.required = true

[upstream.names]
kind = "sql"
database = "sqlite:warehouse.db"
schema = false
statements.names.sql = "SELECT name FROM customers ORDER BY 1 LIMIT 1"
`

// TestDatabase has a SQLite file asked by statements, queries and a look at the
// schema, and nothing written that need not be.
func TestDatabase(t *testing.T) {
	t.Parallel()
	p := startIn(t, warehouse(t), fmt.Sprintf(warehouseConfig, ""), nil)
	c := p.stdio(true)
	c.ready()
	want := []string{"names_names", "warehouse_orders", "warehouse_query", "warehouse_schema"}
	if got := slices.DeleteFunc(c.tools(), func(name string) bool { return strings.HasPrefix(name, "bulkhead_") }); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	var list struct {
		Tools []struct {
			Name, Description string
			InputSchema       json.RawMessage
		}
	}
	if err := json.Unmarshal(c.must("tools/list", nil), &list); err != nil {
		t.Fatal(err)
	}
	for _, tool := range list.Tools {
		if tool.Name == "warehouse_orders" && (!strings.Contains(tool.Description, "The latest orders.") || !strings.Contains(string(tool.InputSchema), `"Their state."`) || !strings.Contains(string(tool.InputSchema), `"required":["least"]`)) {
			t.Errorf("%s %s", tool.Description, tool.InputSchema)
		}
	}
	for _, ask := range []struct {
		tool, args, want string
		failed           bool
	}{
		{"warehouse_orders", `{"least":100}`, `"delivered"],`, false},
		{"warehouse_orders", `{"least":100,"status":"shipped"}`, `there are more rows than these 3`, false},
		{"warehouse_orders", `{"least":"x"}`, "invalid_arguments", true},
		{"warehouse_orders", `{}`, "invalid_arguments", true},
		{"warehouse_query", `{"sql":"SELECT count(*) AS n, 'a text that is too long' AS t FROM customers"}`, `[[300,"a text that is t… [cut: 16 of 23 bytes]"]]`, false},
		{"warehouse_query", `{"sql":"DELETE FROM orders"}`, "invalid_arguments", true},
		{"warehouse_query", `{"sql":"ATTACH 'x.db' AS x"}`, "invalid_arguments", true},
		{"warehouse_schema", `{"detail":"full","filter":"cust*"}`, `["customers","name","TEXT",0,null,null]`, false},
		{"names_names", `{}`, `"row_count":1`, false},
	} {
		r := c.mustCall(ask.tool, json.RawMessage(ask.args))
		if r.IsError != ask.failed || !strings.Contains(r.text(), ask.want) {
			t.Errorf("%s %s: %s", ask.tool, ask.args, r.text())
		}
	}
	// No more calls than connections, so that none waits for one within its own time.
	if r := c.mustCall("bulkhead_sources", nil); strings.Count(r.text(), `"concurrency":32`) != 2 {
		t.Errorf("%s", r.text())
	}
}

// TestDatabaseWrites has a statement that writes be offered where that is allowed.
func TestDatabaseWrites(t *testing.T) {
	t.Parallel()
	p := startIn(t, warehouse(t), fmt.Sprintf(warehouseConfig, `writes = "serial"`), nil)
	c := p.stdio(false)
	c.ready()
	if r := c.mustCall("warehouse_cancel", map[string]string{"order_id": "O-100001"}); r.IsError || !strings.Contains(r.text(), `"rows_affected":1`) {
		t.Errorf("%s", r.text())
	}
	if r := c.mustCall("warehouse_query", map[string]string{"sql": "SELECT status FROM orders WHERE order_id = 'O-100001'"}); !strings.Contains(r.text(), `[["cancelled"]]`) {
		t.Errorf("%s", r.text())
	}
}

const databasePassword = "db-canary-7Q2xLm4RzT9w"

// TestPostgres has the password come from where the configuration says and show
// nowhere, and a superuser be refused and told.
func TestPostgres(t *testing.T) {
	t.Parallel()
	address := postgres(t)
	table := func(name string, lines ...string) string {
		return "[upstream." + name + "]\nkind = 'sql'\nquery = true\n" + strings.Join(lines, "\n") + "\n"
	}
	bossAuth := "auth = { type = 'basic', user = 'boss', password = { env = 'DB_PASSWORD' } }"
	readerAuth := strings.Replace(bossAuth, "boss", "reader", 1)
	config := table("split", "database = 'postgres://"+address+"/postgres'", readerAuth) +
		table("whole", "database = { env = 'DATABASE_URL' }") +
		table("mighty", "database = 'postgres://"+address+"/postgres'", bossAuth) +
		table("allowed", "database = 'postgres://"+address+"/postgres'", "allow_privileged = true", bossAuth) +
		table("wrong", "database = 'postgres://"+address+"/postgres'", "auth = { type = 'basic', user = 'reader', password = { env = 'WRONG' } }") +
		table("broken", "database = { env = 'DATABASE_URL' }", "statements.a.sql = 'DELETE FROM x'")
	env := []string{"DB_PASSWORD=" + databasePassword, "WRONG=wrong-" + databasePassword, "DATABASE_URL=postgres://reader:" + databasePassword + "@" + address + "/postgres", "PGPASSWORD=" + databasePassword, "PGHOST=127.0.0.9"}
	p := start(t, config+"[server]\nlog_level = 'debug'\n", env)
	c := p.stdio(true)
	c.ready()
	var said strings.Builder
	for name, want := range map[string]string{"split": `[["reader"]]`, "whole": `[["reader"]]`, "allowed": `[["boss"]]`, "mighty": "denied", "wrong": "needs_login"} {
		r := c.mustCall(name+"_query", map[string]string{"sql": "SELECT current_user"})
		said.WriteString(r.text())
		if !strings.Contains(r.text(), want) {
			t.Errorf("%s: %s", name, r.text())
		}
	}
	for name, want := range map[string]string{"mighty": "is a superuser", "wrong": "refuses its credential", "broken": "configuration does not fit"} {
		if s := c.source(name); s.State != "down" || !strings.Contains(s.Error, want) {
			t.Errorf("%s: %+v", name, s)
		}
	}
	raw, _ := json.Marshal(c.sources())
	stdout, stderr, code := run(t, config, env, "check")
	if code != 0 || !strings.Contains(stdout, "is a superuser") || strings.Count(stdout, "ok ") != 3 {
		t.Errorf("check: %d\n%s\n%s", code, stdout, stderr)
	}
	for where, text := range map[string]string{"answers": said.String(), "sources": string(raw), "log": p.log.String(), "check": stdout + stderr} {
		if strings.Contains(text, "canary") {
			t.Errorf("the password is in the %s:\n%s", where, text)
		}
	}
}

// postgres starts a server of the test's own; boss and reader have the same
// password.
func postgres(t *testing.T) string {
	t.Helper()
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil {
		bins = append([]string{path}, bins...)
	}
	if len(bins) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("PostgreSQL is not installed")
		}
		t.Skip("PostgreSQL is not installed")
	}
	bin := filepath.Dir(bins[len(bins)-1])
	dir, err := os.MkdirTemp("", "bulkhead-pg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	port := strconv.Itoa(freePort(t))
	if err := os.WriteFile(filepath.Join(dir, "pw"), []byte(databasePassword), 0o644); err != nil { //nolint:gosec // the server is another user
		t.Fatal(err)
	}
	if out, err := asPostgres(t, dir, filepath.Join(bin, "initdb"), "-D", dir+"/data", "-U", "boss", "--pwfile", dir+"/pw", "-A", "scram-sha-256", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	role := "CREATE ROLE reader LOGIN PASSWORD '" + databasePassword + "';\n"
	single := asPostgres(t, dir, filepath.Join(bin, "postgres"), "--single", "-D", dir+"/data", "postgres")
	single.Stdin = strings.NewReader(role)
	if out, err := single.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	server := asPostgres(t, dir, filepath.Join(bin, "postgres"), "-D", dir+"/data", "-h", "127.0.0.1", "-p", port, "-k", dir, "-c", "fsync=off")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGINT)
		_ = server.Wait()
	})
	// It listens some time before it lets anybody in.
	if !eventually(func() bool {
		return exec.Command(filepath.Join(bin, "pg_isready"), "-h", "127.0.0.1", "-p", port).Run() == nil
	}) {
		t.Fatal("PostgreSQL is not ready")
	}
	return "127.0.0.1:" + port
}

// asPostgres makes a command that does not run as root, which PostgreSQL refuses.
func asPostgres(t *testing.T, dir, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	if os.Getuid() != 0 {
		return cmd
	}
	u, err := account.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd
}
