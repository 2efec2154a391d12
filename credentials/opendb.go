package credentials

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// database is where a grant's credential may go that is one of a database: its
// host and port, which stand in the address alone. A path, such as SQLite's, goes
// nowhere.
type database struct {
	dsn   Secret   // whole, with user and password
	words []string // how drivers repeat the credential, beside what scrub finds
	scrub *scrubber
}

var (
	filePath   = regexp.MustCompile(`^[a-z0-9]+:[^:]`)
	schemeForm = regexp.MustCompile(`^[a-z0-9]{1,12}$`)
)

// newDatabase joins the address with the credential. Its errors do not repeat it.
func newDatabase(address Secret, a Attachment) (*database, error) {
	text := address.reveal()
	if a.kind != "" && a.kind != "basic" {
		return nil, errors.New("a database takes a user and a password, no other credential")
	}
	if a.err != nil {
		return nil, a.err
	}
	if !strings.Contains(text, "://") {
		if !filePath.MatchString(text) || a.kind != "" {
			return nil, errors.New("the database's address is no URL, or is a file, which takes no credential")
		}
		return &database{dsn: address}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Opaque != "" || u.Fragment != "" {
		return nil, errors.New("the database's address is no URL with a host")
	}
	d := &database{}
	password, has := u.User.Password()
	if a.kind == "basic" {
		user := a.user
		if has || u.User.Username() != "" && u.User.Username() != user {
			return nil, errors.New("the database's address has a password, or another user than its credential")
		}
		password = a.bare[1].reveal()
		u.User = url.UserPassword(user, password)
	}
	whole := u.String()
	d.dsn = NewSecret(whole)
	if password != "" {
		d.scrub = newScrubber(NewSecret(password), d.dsn, NewSecret(u.User.String()))
		d.words = []string{":" + password + "@", "password=" + password, "password='" + password, ":" + password + "@tcp", whole}
	}
	return d, nil
}

// clean takes the credential out of what an error says. One that has it loses what
// it wraps, which would say it again.
func (d *database) clean(err error) error {
	if err == nil || d.scrub == nil {
		return err
	}
	text := err.Error()
	if d.scrub.has(text) || slices.ContainsFunc(d.words, func(w string) bool { return strings.Contains(text, w) }) {
		return errors.New("the driver's error repeats the credential and is not shown")
	}
	return err
}

// OpenDB returns a pool of connections to the grant's database, with its credential
// and no other's. open makes of the whole address what connects; it must not keep or
// log the address, nor connect elsewhere. Nothing is dialled before the pool is used.
// Errors of open and of connecting do not repeat the credential. A second call, or
// one after [Grant.Client], fails: one grant serves one upstream.
func (g *Grant) OpenDB(open func(dsn string) (driver.Connector, error)) (*sql.DB, error) {
	if g.database == nil {
		return nil, fmt.Errorf("credentials of %s: there is no database to open", g.spec.Name)
	}
	if !g.taken.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("credentials of %s: the grant is in use by another client", g.spec.Name)
	}
	c, err := open(g.database.dsn.reveal())
	if err != nil {
		return nil, fmt.Errorf("credentials of %s: %w", g.spec.Name, g.database.clean(err))
	}
	return sql.OpenDB(&boundConnector{c, g.database}), nil
}

// Blank takes the credential of the grant's database out of text in place, for
// what the database says.
func (g *Grant) Blank(text []byte) {
	if g.database != nil && g.database.scrub != nil {
		g.database.scrub.clean(text)
	}
}

// boundConnector connects with the credential of one grant.
type boundConnector struct {
	driver.Connector
	to *database
}

// Connect implements driver.Connector.
func (b *boundConnector) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := b.Connector.Connect(ctx)
	return c, b.to.clean(err)
}

// Close implements io.Closer, which database/sql looks for.
func (b *boundConnector) Close() error {
	if c, ok := b.Connector.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Scheme returns what a database's address begins with, before the colon, which is
// no secret; "" if that is no scheme.
func Scheme(address Secret) string {
	scheme, _, ok := strings.Cut(address.reveal(), ":")
	if !ok || !schemeForm.MatchString(scheme) {
		return ""
	}
	return scheme
}
