package sqldb_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

func TestMain(m *testing.M) {
	egress.Poison()
	status := m.Run()
	pgServer.stop()
	mariaServer.stop()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// server is a database server of our own: a free port of this machine, files in a
// temporary directory. One serves all tests that need it.
type server struct {
	name  string
	start func(dir string, port int) (*exec.Cmd, error)
	ready func(s *server) error // also makes what the tests need
	once  sync.Once
	dir   string
	port  int
	cmd   *exec.Cmd
	err   error
}

var (
	pgServer    = &server{name: "PostgreSQL", start: startPostgres, ready: fillPostgres}
	mariaServer = &server{name: "MariaDB", start: startMariaDB, ready: fillMariaDB}
)

// need starts the server, or skips the test where it is not installed.
func (s *server) need(t testing.TB) *server {
	t.Helper()
	s.once.Do(func() { s.err = s.run() })
	if s.err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("%s cannot be started here: %v", s.name, s.err)
		}
		t.Fatalf("%s: %v", s.name, s.err)
	}
	return s
}

func (s *server) run() error {
	var err error
	if s.dir, err = os.MkdirTemp("", "bulkhead-db-"); err != nil {
		return err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { //nolint:gosec // the server is another user
		return err
	}
	if s.port, err = freePort(); err != nil {
		return err
	}
	if s.cmd, err = s.start(s.dir, s.port); err != nil {
		return err
	}
	until := time.Now().Add(2 * time.Minute)
	for {
		if err = s.ready(s); err == nil || time.Now().After(until) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// freePort returns a port that nobody listens on at the moment, and that the system
// gives to nobody of its own accord before the server has it.
func freePort() (port int, err error) {
	for range 1000 {
		port = 15_000 + rand.IntN(15_000)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}

func (s *server) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGINT) // PostgreSQL: fast shutdown
		if s.name == "MariaDB" {
			_ = s.cmd.Process.Signal(syscall.SIGTERM)
		}
		_ = s.cmd.Wait()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

func runAs(name, dir string, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	if err := as(name, cmd, dir); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

// find looks for a program where Debian puts it too.
func find(names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil && name != "initdb" {
			return path, nil
		}
		for _, dir := range []string{"/usr/lib/postgresql/*/bin", "/usr/sbin", "/usr/local/pgsql/bin"} {
			if found, _ := filepath.Glob(filepath.Join(dir, name)); len(found) > 0 {
				return found[len(found)-1], nil
			}
		}
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no program %s", names[0])
}

const superPassword = "super-canary-7Q2xLm4RzT9w"

func startPostgres(dir string, port int) (*exec.Cmd, error) {
	initdb, err := find("initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := find("postgres")
	if err != nil {
		return nil, err
	}
	password := filepath.Join(dir, "pw")
	if err := os.WriteFile(password, []byte(superPassword), 0o644); err != nil { //nolint:gosec // of a server that lives for seconds
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := runAs("postgres", dir, initdb, "-D", data, "-U", "boss", "--pwfile", password, "-A", "scram-sha-256", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8"); err != nil {
		return nil, err
	}
	cmd := exec.Command(postgres, "-D", data, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-k", dir, "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=300", "-c", "logging_collector=off")
	cmd.Dir = dir
	if err := as("postgres", cmd); err != nil {
		return nil, err
	}
	return cmd, cmd.Start()
}

func startMariaDB(dir string, port int) (*exec.Cmd, error) {
	install, err := find("mariadb-install-db", "mysql_install_db")
	if err != nil {
		return nil, err
	}
	mariadbd, err := find("mariadbd", "mysqld")
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	common := []string{"--no-defaults", "--datadir=" + data}
	if err := runAs("mysql", dir, install, append(common, "--auth-root-authentication-method=normal", "--skip-test-db")...); err != nil {
		return nil, err
	}
	start := filepath.Join(dir, "init.sql")
	if err := os.WriteFile(start, []byte("CREATE USER 'boss'@'127.0.0.1' IDENTIFIED BY '"+superPassword+"';\nGRANT ALL PRIVILEGES ON *.* TO 'boss'@'127.0.0.1' WITH GRANT OPTION;\n"), 0o644); err != nil { //nolint:gosec // of a server that lives for seconds
		return nil, err
	}
	cmd := exec.Command(mariadbd, append(common, "--bind-address=127.0.0.1", "--port="+strconv.Itoa(port), "--socket="+filepath.Join(dir, "s"), "--pid-file="+filepath.Join(dir, "p"),
		"--init-file="+start, "--max-connections=300", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--skip-name-resolve", "--secure-file-priv=", "--plugin-maturity=unknown")...)
	cmd.Dir = dir
	if err := as("mysql", cmd); err != nil {
		return nil, err
	}
	return cmd, cmd.Start()
}

// dsn returns the address of the server for a user; every password is the same.
func (s *server) dsn(user string) string {
	scheme, database := "postgres", "sales"
	if s.name == "MariaDB" {
		scheme = "mysql"
	}
	return fmt.Sprintf("%s://%s:%s@127.0.0.1:%d/%s", scheme, user, superPassword, s.port, database)
}

// execAll runs statements as the user, in that database.
func execAll(opt sqldb.Options, dsn string, statements ...string) error {
	opt.AllowPrivileged = true
	db, err := openRaw(opt, dsn)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // of a test
	ctx, cancel := context.WithTimeout(context.Background(), generous)
	defer cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // of a test
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%.60s: %w", s, err)
		}
	}
	return nil
}

func openRaw(opt sqldb.Options, dsn string) (*sql.DB, error) {
	c, err := opt.Connector(dsn)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}
