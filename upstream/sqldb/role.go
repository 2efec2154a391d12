package sqldb

import (
	"context"
	"database/sql/driver"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// tooMighty refuses a role that may do more than a reader should.
func tooMighty(found string) error {
	return &refusal{upstream.Denied, fmt.Sprintf(
		"its database role may do more than a reader should, so it is not used: it %s; the operator has to give it a role that may only read, or to allow it with allow_privileged", found)}
}

// privileges lists what a PostgreSQL role may do that a reader should not, by its
// attributes, by those of the roles that it is a member of, and by roles that are
// there from the start, of PostgreSQL
// (https://www.postgresql.org/docs/current/predefined-roles.html) and of clouds
// where they stand for a superuser
// (https://cloud.google.com/sql/docs/postgres/users,
// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.PostgreSQL.CommonDBATasks.Roles.html).
// What it owns and which tables it may write to is not looked at: statements that
// write need that, and reading is held to by transactions.
const privileges = `with held as (select * from pg_catalog.pg_roles where pg_catalog.pg_has_role(session_user, oid, 'member'))
select case when exists (select from held where rolsuper) then 'is a superuser or can become one'
	else coalesce(string_agg(what, ', ' order by what), '') end from (
	select 'may replicate' as what from held where rolreplication
	union select 'may create roles' from held where rolcreaterole
	union select 'may create databases' from held where rolcreatedb
	union select 'may see rows that policies hide' from held where rolbypassrls
	union select 'is a member of ' || rolname from held where rolname in ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files',
		'pg_write_all_data', 'pg_maintain', 'pg_checkpoint', 'pg_signal_backend', 'pg_signal_autovacuum_worker', 'pg_create_subscription',
		'rds_superuser', 'cloudsqlsuperuser', 'alloydbsuperuser', 'azure_pg_admin', 'neon_superuser')
	union select 'can reach other databases through ' || proname from pg_catalog.pg_proc
		where proname in ('dblink', 'dblink_exec', 'dblink_open', 'dblink_send_query', 'dblink_connect', 'dblink_connect_u') and $1 and pg_catalog.has_function_privilege(session_user, oid, 'execute')
) as found`

// grantsOf returns what a MySQL or MariaDB account may do. MariaDB tells what its
// role may do with it; MySQL is asked for that of the roles that are active
// (https://mariadb.com/docs/server/reference/sql-statements/administrative-sql-statements/show/show-grants,
// https://dev.mysql.com/doc/refman/8.4/en/show-grants.html).
func grantsOf(ctx context.Context, conn driver.Conn, version string) ([]string, error) {
	first, _, _ := strings.Cut(version, ".")
	if major, _ := strconv.Atoi(first); major < 8 || strings.Contains(version, "MariaDB") {
		return askRaw(ctx, conn, "SHOW GRANTS")
	}
	roles, err := askRaw(ctx, conn, "SELECT CURRENT_ROLE()")
	if err != nil {
		return nil, err
	}
	if len(roles) != 1 || roles[0] == "NONE" {
		return askRaw(ctx, conn, "SHOW GRANTS")
	}
	return askRaw(ctx, conn, "SHOW GRANTS FOR CURRENT_USER() USING "+roles[0]) // quoted as it has to be
}

// harmless are the rights on everything, or on the server's own database, that a
// reader may have; there are ever more of the others
// (https://mariadb.com/docs/server/reference/sql-statements/account-management-sql-statements/grant,
// https://dev.mysql.com/doc/refman/8.4/en/privileges-provided.html).
var harmless = []string{
	"USAGE", "SELECT", "EXECUTE", "REFERENCES", "LOCK TABLES", "CREATE TEMPORARY TABLES", "PROCESS", "SHOW DATABASES", "SHOW VIEW", "SHOW CREATE ROUTINE", "SHOW_ROUTINE",
	"REPLICATION CLIENT", "BINLOG MONITOR", "SLAVE MONITOR", "REPLICA MONITOR",
}

// mighty returns what of the grants a reader should not have; "" if there is
// nothing. Databases of users are not looked at: statements that write need that.
func mighty(grants []string) string {
	found := map[string]bool{}
	for _, g := range grants {
		g, granted := strings.CutPrefix(strings.ToUpper(g), "GRANT ")
		rights, on, ok := strings.Cut(g, " ON ")
		if !granted || !ok { // of a role; what that may do is listed too
			continue
		}
		where := " on all databases"
		switch {
		case rights == "PROXY":
			where = ""
		case strings.HasPrefix(on, "*.* "):
		case ofServer(on):
			where = " on the server's own"
		default:
			continue
		}
		for r := range strings.SplitSeq(rights, ",") {
			r, _, _ = strings.Cut(strings.TrimSpace(r), " (")
			column := strings.ContainsAny(r, "`\")") // of those that the right before is for
			if !column && !slices.Contains(harmless, r) {
				found[r+where] = true
			}
		}
		if strings.Contains(on, " WITH GRANT OPTION") {
			found["GRANT OPTION"+where] = true
		}
	}
	if len(found) == 0 {
		return ""
	}
	return "has " + strings.Join(slices.Sorted(maps.Keys(found)), ", ")
}

// ofServer reports whether what a grant is on, in upper case, takes in the database
// of the accounts: `MYSQL`.*, `MYSQL`.`USER`, PROCEDURE `MYSQL`.`P`, or a pattern of
// LIKE such as `%`.*.
func ofServer(on string) bool {
	for _, kind := range []string{"TABLE ", "PROCEDURE ", "FUNCTION ", "PACKAGE ", "PACKAGE BODY "} {
		on = strings.TrimPrefix(on, kind)
	}
	name, _, _ := strings.Cut(on, ".")
	pattern := strings.NewReplacer("%", "*", "_", "?").Replace(strings.Trim(name, "`\""))
	ok, err := path.Match(pattern, "MYSQL")
	return ok && err == nil
}
