package sqldb

import (
	"fmt"
	"slices"
	"strings"
)

// denied are functions that a query of the model may not call though they can
// stand in a query: what they do is not undone by rolling back, reaches beyond the
// database, runs text as SQL, or only waits. An entry that ends in * is a
// beginning. It is the last of the layers, for what the role's rights and the
// read-only transaction let through. From
// https://www.postgresql.org/docs/current/functions-admin.html and the pages of
// the extensions there, https://mariadb.com/docs/server/reference/sql-functions,
// https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html, and
// https://sqlite.org/lang_corefunc.html.
var denied = map[Driver][]string{
	Postgres: {
		"pg_sleep*", "pg_advisory_*", "pg_try_advisory_*", "pg_notify", "set_config",
		"pg_terminate_backend", "pg_cancel_backend", "pg_reload_conf", "pg_rotate_logfile*", "pg_log_*", "pg_promote", "pg_switch_wal", "pg_switch_xlog", "pg_wal_replay_*",
		"pg_backup_*", "pg_start_backup", "pg_stop_backup", "pg_create_*", "pg_drop_*", "pg_copy_*_slot", "pg_replication_*", "pg_logical_*", "pg_export_snapshot", "pg_stat_reset*", "pg_stat_statements_reset", "pg_prewarm", "autoprewarm*",
		"pg_read_file*", "pg_read_binary_file", "pg_ls_*", "pg_stat_file", "pg_file_*", "pg_current_logfile", "pg_import_system_collations", "pg_hba_file_rules", "pg_show_all_file_settings",
		"lo_*", "loread", "lowrite", "nextval", "setval",
		"query_to_xml*", "cursor_to_xml*", "table_to_xml*", "schema_to_xml*", "database_to_xml*", "ts_stat", "ts_rewrite", "xpath_table", "crosstab*", "connectby", "normal_rand", "get_raw_page",
		"dblink*", "postgres_fdw_*", "http*", "net.http*", "pg_background_*", "plpy*", "brin_*", "gin_clean_pending_list",
	},
	MySQL: {
		"sleep", "benchmark", "get_lock", "release_lock", "release_all_locks", "is_free_lock", "is_used_lock", "service_get_*", "service_release_*",
		"load_file", "master_pos_wait", "source_pos_wait", "master_gtid_wait", "wait_for_executed_gtid_set", "wait_until_sql_thread_after_gtids",
		"nextval", "setval", "sys_exec", "sys_eval", "sys_get", "sys_set", "spider_*", "keyring_*", "audit_log_*", "mysql_firewall_*", "group_replication_*", "asynchronous_connection_*", "version_tokens_*",
	},
	SQLite: {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "fsdir", "sqlar_*", "zipfile*", "lsmode"},
}

// placeholders are the characters that have no other meaning than that of a
// parameter; the server itself finds those of PostgreSQL.
var placeholders = map[Driver]string{MySQL: "?", SQLite: "?:@$"}

func deniedFunction(driver Driver, name string) bool {
	return slices.ContainsFunc(denied[driver], func(d string) bool {
		if begin, ok := strings.CutSuffix(d, "*"); ok {
			return strings.HasPrefix(name, begin)
		}
		return name == d
	})
}

// refuse says why the model may not send this; nil if it may.
func (p *parsed) refuse(driver Driver) error {
	for _, name := range p.calls() {
		if deniedFunction(driver, name) {
			return fmt.Errorf("the function %.60s may not be called here", name)
		}
	}
	for i, t := range p.tokens {
		if t.kind == other && strings.Contains(placeholders[driver], p.source[t.from:t.to]) {
			return fmt.Errorf("it has a parameter (%s); write the value", p.source[t.from:t.to])
		}
		next := p.keyword(i + 1)
		switch p.keyword(i) {
		case "into":
			return fmt.Errorf("INTO is not allowed: it writes; to use it as a name, put it in quotes")
		case "for":
			if slices.Contains([]string{"update", "share", "no", "key"}, next) {
				return fmt.Errorf("FOR %s is not allowed: it locks rows", strings.ToUpper(next))
			}
		case "lock":
			if next == "in" {
				return fmt.Errorf("LOCK IN SHARE MODE is not allowed: it locks rows")
			}
		case "next", "previous":
			if next == "value" && p.keyword(i+2) == "for" {
				return fmt.Errorf("%s VALUE FOR is not allowed: it takes a number of the sequence", strings.ToUpper(p.keyword(i)))
			}
		case "procedure":
			if driver == MySQL {
				return fmt.Errorf("PROCEDURE is not allowed; to use it as a name, put it in quotes")
			}
		}
	}
	return nil
}
