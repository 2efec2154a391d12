package credentials_test

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

const dbPassword = "pw-canary/8W:q@2?xLm4"

// fakeDB connects nowhere, and says what it is told to.
type fakeDB struct {
	err    error
	closed bool
}

func (f *fakeDB) Connect(context.Context) (driver.Conn, error) { return nil, f.err }
func (f *fakeDB) Driver() driver.Driver                        { return nil }
func (f *fakeDB) Close() error                                 { f.closed = true; return nil }

func TestOpenDB(t *testing.T) {
	basic := credentials.Basic("reader", credentials.NewSecret(dbPassword))
	escaped := "pw-canary%2F8W%3Aq%402%3FxLm4"
	for name, c := range map[string]struct {
		address string
		attach  credentials.Attachment
		want    string // "" is refused
	}{
		"joined":           {"postgres://db.example:6432/sales?sslmode=require", basic, "postgres://reader:" + escaped + "@db.example:6432/sales?sslmode=require"},
		"same user":        {"mysql://reader@db.example/sales", basic, "mysql://reader:" + escaped + "@db.example/sales"},
		"whole":            {"postgres://reader:" + escaped + "@db.example/sales", credentials.None(), "postgres://reader:" + escaped + "@db.example/sales"},
		"none":             {"postgres://reader@db.example/sales", credentials.None(), "postgres://reader@db.example/sales"},
		"file":             {"sqlite:/a/b c.db", credentials.None(), "sqlite:/a/b c.db"},
		"another user":     {"postgres://boss@db.example/sales", basic, ""},
		"two passwords":    {"postgres://reader:x@db.example/sales", basic, ""},
		"file with user":   {"sqlite:/a", basic, ""},
		"bearer":           {"postgres://reader@db.example/sales", credentials.Bearer(credentials.NewSecret(dbPassword)), ""},
		"no host":          {"postgres:///sales", basic, ""},
		"no URL":           {"host=db.example password=" + dbPassword, credentials.None(), ""},
		"no URL at all":    {"postgres://reader:" + dbPassword + "@db.example:port/sales", credentials.None(), ""},
		"user with colons": {"postgres://db.example/sales", credentials.Basic("a:b", credentials.NewSecret(dbPassword)), ""},
	} {
		g, err := credentials.NewGrant(credentials.Spec{Name: "sales", Database: credentials.NewSecret(c.address), Attach: c.attach})
		if (err == nil) != (c.want != "") {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("%s: the error has the credential: %v", name, err)
			}
			continue
		}
		got, inner := "", &fakeDB{err: errors.New("x")}
		db, err := g.OpenDB(func(dsn string) (driver.Connector, error) { got = dsn; return inner, nil })
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
			continue
		}
		if err := db.Close(); err != nil || !inner.closed {
			t.Errorf("%s: %v, closed %t", name, err, inner.closed)
		}
	}
}

// TestOpenDBBound has a grant serve one upstream, and errors not repeat its
// credential, however drivers write it.
func TestOpenDBBound(t *testing.T) {
	const short = "tiger"
	escaped := "pw-canary%2F8W%3Aq%402%3FxLm4"
	for password, texts := range map[string][]string{
		dbPassword: {dbPassword, escaped, fmt.Sprintf("%q", dbPassword), "postgres://reader:" + escaped + "@db.example/sales"},
		short:      {"postgres://reader:tiger@db.example/sales", "cannot connect with user=reader password=tiger host=x", "reader:tiger@tcp(db.example)"},
	} {
		for _, text := range texts {
			g := dbGrant(t, password)
			db, err := g.OpenDB(func(string) (driver.Connector, error) { return &fakeDB{err: errors.New("dial: " + text)}, nil })
			if err != nil {
				t.Fatal(err)
			}
			if err := db.PingContext(t.Context()); err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), password) || strings.Contains(err.Error(), escaped) {
				t.Errorf("connecting: %v", err)
			}
			_ = db.Close()
			_, err = dbGrant(t, password).OpenDB(func(string) (driver.Connector, error) { return nil, errors.New("open: " + text) })
			if err == nil || strings.Contains(err.Error(), password) {
				t.Errorf("opening: %v", err)
			}
		}
	}
	g := dbGrant(t, dbPassword)
	plain := errors.New("connection refused")
	open := func(string) (driver.Connector, error) { return &fakeDB{err: plain}, nil }
	db, err := g.OpenDB(open)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // connects nowhere
	if err := db.PingContext(t.Context()); !errors.Is(err, plain) {
		t.Errorf("an error without the credential is %v", err)
	}
	if _, err := g.OpenDB(open); err == nil {
		t.Error("a grant opens two pools")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://db.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := g.Client(nil).Do(req); err == nil {
		_ = resp.Body.Close()
		t.Error("a grant of a database asks over HTTP")
	}
	if _, err := (&credentials.Grant{}).OpenDB(open); err == nil {
		t.Error("the zero grant opens a pool")
	}
	text, _ := json.Marshal("it was " + dbPassword + " and " + escaped)
	if g.Blank(text); strings.Contains(string(text), "8W") {
		t.Errorf("%s", text)
	}
	one, same, another := dbGrant(t, short).Fingerprint(), dbGrant(t, short).Fingerprint(), dbGrant(t, dbPassword).Fingerprint()
	if one == another || one != same {
		t.Error("fingerprints do not tell credentials apart")
	}
}

func dbGrant(t *testing.T, password string) *credentials.Grant {
	t.Helper()
	g, err := credentials.NewGrant(credentials.Spec{Name: "sales", Database: credentials.NewSecret("postgres://db.example/sales"), Attach: credentials.Basic("reader", credentials.NewSecret(password))})
	if err != nil {
		t.Fatal(err)
	}
	return g
}
