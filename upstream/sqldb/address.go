package sqldb

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// address is the parts of a database's URL.
type address struct {
	host, port, user, password, database string
	query                                url.Values
}

// parseAddress reads the URL of a server. Errors do not repeat it.
func parseAddress(dsn, scheme, port string, query ...string) (*address, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, errors.New("the database's address is no URL")
	}
	if u.Scheme != scheme && !(scheme == "postgres" && u.Scheme == "postgresql") {
		return nil, fmt.Errorf("the database's address does not begin with %s://", scheme)
	}
	a := &address{host: u.Hostname(), port: u.Port(), user: u.User.Username(), database: strings.TrimPrefix(u.Path, "/"), query: u.Query()}
	a.password, _ = u.User.Password()
	if a.port == "" {
		a.port = port
	}
	for _, name := range slices.Sorted(maps.Keys(a.query)) {
		if !slices.Contains(query, name) || len(a.query[name]) != 1 {
			return nil, fmt.Errorf("the database's address has the parameter %.40q; there may be %s, each once", name, strings.Join(query, ", "))
		}
	}
	switch {
	case a.host == "" || strings.Contains(a.host, ",") || strings.HasPrefix(a.host, "/"):
		return nil, errors.New("the database's address names no host, or more than one")
	case a.user == "":
		return nil, errors.New("the database's address names no user")
	case a.database == "" || strings.Contains(a.database, "/"):
		return nil, errors.New("the database's address names no database")
	}
	return a, nil
}

// near reports whether the server is on this machine.
func (a *address) near() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.host == "localhost" || err == nil && ip.IsLoopback()
}
