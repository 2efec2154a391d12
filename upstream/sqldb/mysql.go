package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"
)

// mysqlDB asks MySQL and MariaDB.
type mysqlDB struct {
	opt  *Options
	side *sync.WaitGroup
}

// connector implements dialect. The driver reads no option file; it sends one
// statement at a time, prepared at the server.
func (m *mysqlDB) connector(dsn string) (driver.Connector, error) {
	a, err := parseAddress(dsn, "mysql", "3306", "tls")
	if err != nil {
		return nil, err
	}
	secure := a.query.Get("tls")
	switch {
	case secure == "" && a.near():
		secure = "preferred"
	case secure == "":
		secure = "true"
	case secure != "true" && secure != "skip-verify" && secure != "false":
		return nil, errors.New("tls must be true, skip-verify or false")
	}
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName, cfg.TLSConfig = "tcp", hostPort(a), a.user, a.password, a.database, secure
	cfg.Timeout = dialTimeout
	cfg.DialFunc = m.dial
	cfg.MaxAllowedPacket = max(m.opt.MaxBytes, 1<<20) * 4
	cfg.Logger = &mysql.NopLogger{}
	// With this each connection gets a copy of its own: of the one that they share
	// the driver takes encryption away where a server offers none.
	own := mysql.BeforeConnect(func(context.Context, *mysql.Config) error { return nil })
	if err := cfg.Apply(own); err != nil {
		return nil, err
	}
	inner, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, errors.New("the database's address does not fit its driver")
	}
	return &mysqlConnector{inner, m.opt}, nil
}

// mysqlConnector gives each connection its session.
type mysqlConnector struct {
	driver.Connector
	opt *Options
}

// Connect implements driver.Connector.
func (c *mysqlConnector) Connect(ctx context.Context) (driver.Conn, error) {
	d := &dialling{}
	conn, err := c.Connector.Connect(context.WithValue(ctx, diallingKey{}, d))
	if err != nil {
		return nil, err
	}
	s, err := c.admit(ctx, conn)
	if err != nil {
		_ = conn.Close() // what failed is known
		return nil, err
	}
	s.wire, s.again = d.wire, c.Connector
	return s, nil
}

// admit begins the session of a connection and looks at its role.
func (c *mysqlConnector) admit(ctx context.Context, dc driver.Conn) (*mysqlSession, error) {
	conn, err := asMySQLConn(dc)
	if err != nil {
		return nil, err
	}
	thread, server, err := identify(ctx, conn)
	if err != nil {
		return nil, err
	}
	version, _, _ := strings.Cut(server, " ")
	if !c.opt.AllowPrivileged {
		grants, err := grantsOf(ctx, conn, version)
		if err != nil {
			return nil, err
		}
		if found := mighty(grants); found != "" {
			return nil, tooMighty(found)
		}
	}
	limit := fmt.Sprintf("max_execution_time = %d", c.opt.Timeout.Milliseconds()) // MySQL; of SELECT
	if strings.Contains(version, "MariaDB") {
		limit = "max_statement_time = " + strconv.FormatFloat(c.opt.Timeout.Seconds(), 'f', 3, 64)
	}
	// The limit of rows is for statements without a LIMIT of their own; those are
	// cut short by closing the connection.
	set := fmt.Sprintf("SET SESSION time_zone = '+00:00', sql_select_limit = %d, lock_wait_timeout = 10, innodb_lock_wait_timeout = 10, %s", m1(c.opt), limit)
	if _, err := conn.ExecContext(ctx, set, nil); err != nil {
		return nil, err
	}
	return &mysqlSession{driverConn: conn, thread: thread, server: server}, nil
}

// m1 is one row more than any answer has.
func m1(o *Options) int {
	most := o.MaxRows
	for _, n := range schemaRows {
		most = max(most, n)
	}
	return most + 1
}

// askRaw returns the first column of what a statement of ours answers.
func askRaw(ctx context.Context, conn driver.Conn, query string) ([]string, error) {
	q, ok := conn.(driver.QueryerContext)
	if !ok {
		return nil, errors.New("the driver cannot be asked")
	}
	rows, err := q.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // only read from
	var out []string
	for {
		row := make([]driver.Value, len(rows.Columns()))
		if err := rows.Next(row); err != nil {
			if errors.Is(err, io.EOF) {
				return out, nil
			}
			return nil, err
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s", row[0])))
	}
}

// run implements dialect. What the server may still be running is ended there; the
// call does not wait for it, but the connection's place in the pool does.
func (m *mysqlDB) run(ctx context.Context, conn *sql.Conn, req *request, out *table) error {
	s, err := sessionOf(conn)
	if err != nil {
		_ = conn.Close() // what failed is known
		return at(connecting, err)
	}
	s.wire.row()
	err = m.ask(ctx, conn, s, req, out)
	full := s.wire.full.Load()
	if full && err != nil && !errors.Is(err, errLarge) {
		err = at(running, errLarge) // the driver says only that the connection is lost
	}
	if ctx.Err() == nil && !full && (out.over == "" || req.write) { // a write is read to its end
		_ = conn.Close() // back to the pool
		return err
	}
	m.side.Go(func() {
		defer conn.Close() //nolint:errcheck // what failed is known
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sideTimeout)
		defer cancel()
		if err := s.kill(ctx); err != nil {
			m.opt.Log.Info("statement was not ended at the server, which will do so in its time", "upstream", m.opt.ID, "error", err)
		}
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // not back to the pool
	})
	return err
}

// ask carries out a request.
func (m *mysqlDB) ask(ctx context.Context, conn *sql.Conn, s *mysqlSession, req *request, out *table) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // closes the connection if rows are left to read
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: !req.write})
	if err != nil {
		return at(connecting, err)
	}
	done := false
	defer func() {
		if !done {
			_ = tx.Rollback() // ends with the connection at the latest
		}
	}()
	stmt, err := m.read(ctx, tx, req)
	if err != nil {
		return at(preparing, err)
	}
	defer stmt.Close() //nolint:errcheck // ends with the connection at the latest
	if req.write {
		err := m.change(ctx, tx, stmt, req, out, s.wire.row)
		switch {
		case err == nil:
		case s.wire.full.Load() && req.text.returns() && s.undoes(ctx): // and COMMIT was not sent
			return undone(errLarge)
		default:
			return at(running, err)
		}
		done = true
		return at(running, tx.Commit())
	}
	rows, err := stmt.QueryContext(ctx, mysqlValues(req.args)...)
	if err != nil {
		return at(running, err)
	}
	defer rows.Close() //nolint:errcheck // what failed is known
	if err := readRows(rows, mysqlColumn, out, s.wire.row); err != nil {
		return at(running, err)
	}
	if out.over != "" {
		cancel() // or closing would read all that is left
	}
	return nil
}

// read has the server read a statement, and what only reads as a subquery.
func (m *mysqlDB) read(ctx context.Context, tx *sql.Tx, req *request) (*sql.Stmt, error) {
	if req.probe != "" {
		probe, err := tx.PrepareContext(ctx, inSubquery(req.probe))
		switch {
		case err == nil:
			_ = probe.Close() // ends with the connection at the latest
		case mysqlCode(err) == erDupField && req.key != "": // names are no matter to the operator's own
		default:
			return nil, err
		}
	}
	return tx.PrepareContext(ctx, req.text.sql)
}

// prepare implements dialect.
func (m *mysqlDB) prepare(ctx context.Context, conn *sql.Conn, req *request) error {
	s, err := sessionOf(conn)
	if err != nil {
		return at(connecting, err)
	}
	s.wire.row()
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return at(connecting, err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was done
	stmt, err := m.read(ctx, tx, req)
	if err != nil {
		return at(preparing, err)
	}
	_ = stmt.Close()
	return nil
}

func mysqlColumn(t *sql.ColumnType) column {
	c := column{name: t.Name(), typ: strings.ToLower(t.DatabaseTypeName())}
	switch {
	case c.typ == "decimal" || strings.HasSuffix(c.typ, "int"):
		c.class = asNumber
	case strings.HasSuffix(c.typ, "blob") || strings.HasSuffix(c.typ, "binary") || c.typ == "bit" || c.typ == "geometry" || c.typ == "vector":
		c.class = asBytes
	case c.typ == "datetime" || c.typ == "timestamp":
		c.class = asTime
	case c.typ == "json":
		c.class = asJSON
	}
	return c
}

// The numbers of errors, of
// https://mariadb.com/docs/server/reference/error-codes/mariadb-error-code-reference
// and https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html.
const erDupField = 1060

func mysqlCode(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}

// account is how the server names who is refused, with the address.
var account = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`'[^']*'@'[^']*'`) })

// meaning implements dialect.
func (m *mysqlDB) meaning(err error) (cause, string) {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	switch {
	case errors.Is(err, errLarge):
		return large, ""
	case !ok:
		return lost, ""
	}
	said := account().ReplaceAllString(e.Message, "this role")
	switch e.Number {
	case 1045, 1698, 1251, 1275, 3118, 4151, 1862:
		return login, said
	case 1044, 1142, 1143, 1227, 1370, 1792, 1290, 1223, 1419:
		return forbidden, said
	case 1213, 1614:
		return again, said
	case 1205:
		return locked, said
	case 1040, 1203, 1226:
		return crowded, said
	case 1053, 1049, 1129, 1130, 1836, 1927, 1021, 1037, 1041:
		return away, said
	case 1969, 3024, 1317, 1028:
		return late, said
	case 1292, 1366, 1264, 1406, 1411, 1525, 3140, 1367:
		return unfit, said
	case erDupField:
		return misshapen, said + "; give each column of the answer a name of its own, with AS"
	case 1064, 1054, 1146, 1051, 1052, 1055, 1056, 1066, 1109, 1140, 1166, 1222, 1235, 1241, 1247, 1248, 1305, 1318, 1149, 1295, 1327, 1582, 1584, 1615, 1630, 3065:
		return misshapen, said
	}
	return faulty, said
}

// schema implements dialect.
func (m *mysqlDB) schema() map[string]string {
	const where = ` where t.table_schema = database() and (t.table_name like :filter escape '!' or concat(t.table_schema, '.', t.table_name) like :filter escape '!')`
	return map[string]string{
		"names": `select t.table_schema as "schema", t.table_name as name, lower(t.table_type) as kind from information_schema.tables t` + where + ` order by 1, 2`,
		"summary": `select t.table_schema as "schema", t.table_name as name, lower(t.table_type) as kind,
			(select count(*) from information_schema.columns c where c.table_schema = t.table_schema and c.table_name = t.table_name) as columns,
			t.table_rows as about_rows, t.table_comment as comment from information_schema.tables t` + where + ` order by 1, 2`,
		"full": `select t.table_schema as "schema", t.table_name as "table", t.column_name as "column", t.column_type as type, t.is_nullable as nullable, t.column_key as "key", t.column_comment as comment
			from information_schema.columns t` + where + ` order by 1, 2, t.ordinal_position`,
	}
}
