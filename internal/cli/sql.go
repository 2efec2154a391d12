package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/sqldb"
)

// newSQL builds what asks a database.
func newSQL(ctx context.Context, w *wiring, u config.Upstream, signedIn *atomic.Pointer[signIn]) (upstream.Adapter, error) {
	if u.Sandbox != "" {
		return newWarehouse(ctx, w, u, signedIn)
	}
	address := credentials.NewSecret(u.SQL.Database.Literal)
	scheme, _, _ := strings.Cut(u.SQL.Database.Literal, ":")
	if r := u.SQL.Database.Ref; r != nil {
		var err error
		if address, err = credentials.Resolve(ctx, ref(r)); err != nil {
			return nil, fmt.Errorf("database: %w", err)
		}
		scheme = credentials.Scheme(address)
	}
	attach, err := attachment(ctx, u.Auth)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	g, err := credentials.NewGrant(credentials.Spec{Name: u.Name, Database: address, Attach: attach})
	if err != nil {
		return nil, err
	}
	opt, err := sqlOptions(u, scheme)
	if err != nil {
		return nil, err
	}
	opt.Log, opt.Clean = w.log, g.Blank
	db, err := g.OpenDB(opt.Connector)
	if err != nil {
		return nil, err
	}
	a, err := sqldb.New(ctx, opt, db)
	if err != nil {
		_ = db.Close() // nothing was connected
		return nil, &upstream.Error{Upstream: opt.ID, Op: "configure", Kind: upstream.Unavailable, Public: "its configuration does not fit it; the operator has to see to it", Err: err}
	}
	return a, nil
}

// checkSQL tells what is wrong with the statements of a database, unless what
// database it is is a secret.
func checkSQL(u config.Upstream) error {
	scheme, _, named := strings.Cut(u.SQL.Database.Literal, ":")
	if !named || u.Sandbox != "" {
		return nil
	}
	opt, err := sqlOptions(u, scheme)
	if err != nil {
		return err
	}
	return opt.Check()
}

// sqlOptions says what of a database is offered.
func sqlOptions(u config.Upstream, scheme string) (sqldb.Options, error) {
	if scheme == "postgresql" {
		scheme = "postgres"
	}
	opt := sqldb.Options{
		ID: upstream.ID(u.Name), Driver: sqldb.Driver(scheme), Query: u.SQL.Query, NoSchema: !u.SQL.Schema, Writes: u.Writes != "deny",
		AllowPrivileged: u.SQL.AllowPrivileged, MaxRows: u.SQL.MaxRows, MaxCell: int(u.SQL.MaxCell), MaxBytes: int(min(u.MaxMessage, 16<<20)),
		Concurrency: places(u), Timeout: u.Timeout, Statements: make(map[string]sqldb.Statement, len(u.SQL.Statements)),
	}
	for name, s := range u.SQL.Statements {
		st := sqldb.Statement{SQL: s.SQL, Description: s.Description, Write: s.Write, Params: make(map[string]sqldb.Param, len(s.Params))}
		for p, def := range s.Params {
			param := sqldb.Param{Type: def.Type, Required: def.Required, Enum: def.Enum, Doc: def.Doc}
			if def.Default != nil {
				raw, err := json.Marshal(def.Default)
				if err != nil {
					return opt, fmt.Errorf("statement %s: parameter %s: %w", name, p, err)
				}
				param.Default = raw
			}
			st.Params[p] = param
		}
		opt.Statements[name] = st
	}
	return opt, nil
}

// sqlConns is how many connections to one database there are at most, where
// limit.concurrency does not say fewer: its default is for servers that take
// hundreds, and databases have a hundred in all.
const sqlConns = 32

// places is how many calls to a source run at once: no more than a database has
// connections, so that who waits for one is seen to wait, and spends nothing of the
// time that a call may take.
func places(u config.Upstream) int {
	if u.Kind == "sql" {
		return min(u.Limit.Concurrency, sqlConns)
	}
	return u.Limit.Concurrency
}
