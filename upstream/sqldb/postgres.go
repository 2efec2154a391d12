package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgres asks PostgreSQL.
type postgres struct {
	opt  *Options
	side *sync.WaitGroup
}

const dialTimeout = 10 * time.Second

// quiet is what the driver would take from PG* variables, ~/.pgpass,
// ~/.pg_service.conf and ~/.postgresql if the address did not say it
// (https://www.postgresql.org/docs/current/libpq-envars.html).
var quiet = map[string]string{
	"passfile": os.DevNull, "servicefile": os.DevNull, "sslkey": "", "sslcert": "", "sslcertmode": "disable", "sslpassword": "", "sslsni": "1", "sslrootcert": "",
	"sslnegotiation": "postgres", "target_session_attrs": "any", "connect_timeout": "10", "channel_binding": "prefer", "require_auth": "",
	"min_protocol_version": "3.0", "max_protocol_version": "3.0", "options": "", "timezone": "UTC", "application_name": "bulkhead",
}

// connector implements dialect.
func (p *postgres) connector(dsn string) (driver.Connector, error) {
	a, err := parseAddress(dsn, "postgres", "5432", "sslmode", "sslrootcert", "search_path", "application_name")
	if err != nil {
		return nil, err
	}
	mode := a.query.Get("sslmode")
	switch {
	case mode == "" && a.near():
		mode = "prefer"
	case mode == "":
		mode = "verify-full"
	case mode != "disable" && mode != "require" && mode != "verify-ca" && mode != "verify-full":
		return nil, errors.New("sslmode must be verify-full, verify-ca, require or disable: the others let anybody on the way switch encryption off")
	}
	settings := map[string]string{"host": a.host, "port": a.port, "user": a.user, "password": a.password, "database": a.database, "sslmode": mode}
	maps.Copy(settings, quiet)
	if cert := a.query.Get("sslrootcert"); cert != "" {
		settings["sslrootcert"] = cert
	}
	cfg, err := parsePostgres(settings)
	if err != nil {
		return nil, err
	}
	if port, _ := strconv.Atoi(a.port); cfg.Host != a.host || int(cfg.Port) != port || cfg.User != a.user || cfg.Password != a.password {
		return nil, errors.New("the address was taken for another one")
	}
	cfg.RuntimeParams = p.session(a)
	cfg.DialFunc = (&net.Dialer{Timeout: dialTimeout}).DialContext
	cfg.OnNotice, cfg.OnNotification = nil, nil
	cfg.MaxProtocolMessageBodyLen = p.opt.rowBytes()
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec // never the simple protocol
	cfg.StatementCacheCapacity, cfg.DescriptionCacheCapacity = 0, 0
	return stdlib.GetConnector(*cfg, stdlib.OptionAfterConnect(p.admit)), nil
}

// session is what every connection begins with. Read-only is the default of its
// transactions, beside each one's own.
func (p *postgres) session(a *address) map[string]string {
	out := map[string]string{
		"application_name": "bulkhead", "timezone": "UTC", "datestyle": "ISO", "intervalstyle": "iso_8601", "extra_float_digits": "1", "client_encoding": "UTF8", "bytea_output": "hex",
		"standard_conforming_strings": "on", "default_transaction_read_only": "on",
		"statement_timeout":                   strconv.FormatInt(p.opt.Timeout.Milliseconds(), 10),
		"idle_in_transaction_session_timeout": "60000", "lock_timeout": "10000",
	}
	for _, name := range []string{"search_path", "application_name"} {
		if v := a.query.Get(name); v != "" {
			out[name] = v
		}
	}
	return out
}

// parsePostgres makes the driver's configuration. It can only be had from the
// driver's own parser, which looks for the service that PGSERVICE names even if
// nothing of it counts; then a file is shown to it in which there is one.
func parsePostgres(settings map[string]string) (*pgx.ConnConfig, error) {
	text := func() string {
		var b strings.Builder
		for name, v := range settings {
			fmt.Fprintf(&b, "%s='%s' ", name, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v))
		}
		return b.String()
	}
	cfg, err := pgx.ParseConfig(text())
	if err != nil && strings.Contains(err.Error(), "service") {
		var f *os.File
		if f, err = os.CreateTemp("", "bulkhead-*.conf"); err == nil {
			defer os.Remove(f.Name()) //nolint:errcheck // empty and ours
			_, err = f.WriteString("[bulkhead]\n")
			_ = f.Close()
			settings["service"], settings["servicefile"] = "bulkhead", f.Name()
			if err == nil {
				cfg, err = pgx.ParseConfig(text())
			}
		}
	}
	if err != nil {
		if parse, ok := errors.AsType[*pgconn.ParseConfigError](err); ok && parse.Unwrap() != nil {
			err = parse.Unwrap() // the rest repeats the address
		}
		return nil, fmt.Errorf("the database's address: %w", err)
	}
	return cfg, nil
}

// admit looks at the role of a new connection.
func (p *postgres) admit(ctx context.Context, conn *pgx.Conn) error {
	if p.opt.AllowPrivileged {
		return nil
	}
	var found string
	err := conn.QueryRow(ctx, privileges, p.opt.Query).Scan(&found)
	if err == nil && found != "" {
		err = tooMighty(found)
	}
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx)) // nobody else does
	}
	return err
}

// meaning implements dialect. The classes are those of
// https://www.postgresql.org/docs/current/errcodes-appendix.html.
func (p *postgres) meaning(err error) (cause, string) {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		if _, long := errors.AsType[*pgproto3.ExceededMaxBodyLenErr](err); long {
			return large, ""
		}
		return lost, ""
	}
	said := e.Message
	if e.Hint != "" {
		said += " (" + e.Hint + ")"
	}
	switch e.Code {
	case "57014":
		return late, said
	case "42501", "25006":
		return forbidden, said
	case "40001", "40P01":
		return again, said
	case "55P03":
		return locked, said
	case "53300":
		return crowded, said
	case "22P02", "22007", "22008", "22003", "22021", "08P01", "42804", "22P03":
		return unfit, said
	case "26000": // after it was prepared once more
		return away, "a pooler on the way does not keep a connection's prepared statements; the operator has to connect to the database itself, or in the pooler's session mode"
	case "53400": // such as temp_file_limit, which the next statement need not reach
		return faulty, said
	case "3D000", "57P01", "57P02", "57P03", "57P04", "57P05", "25P03":
		return away, said
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "28":
		return login, said
	case "42", "0A", "34":
		return misshapen, said
	case "08", "53":
		return away, said
	}
	return faulty, said
}
