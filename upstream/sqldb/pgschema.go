package sqldb

// schema implements dialect. What the role may not read is left out, and so is the
// system's own.
func (p *postgres) schema() map[string]string {
	const tables = `from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
		and (pg_catalog.has_table_privilege(c.oid, 'select') or pg_catalog.has_any_column_privilege(c.oid, 'select'))
		and (c.relname ilike :filter escape '!' or n.nspname || '.' || c.relname ilike :filter escape '!')`
	const kind = `case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' else 'table' end as kind`
	return map[string]string{
		"names": `select n.nspname as schema, c.relname as name, ` + kind + ` ` + tables + ` order by 1, 2`,
		"summary": `select n.nspname as schema, c.relname as name, ` + kind + `,
			(select count(*) from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
			nullif(c.reltuples, -1)::bigint as about_rows, pg_catalog.obj_description(c.oid, 'pg_class') as comment ` + tables + ` order by 1, 2`,
		"full": `select c.nspname as schema, c.relname as table, a.attname as column, pg_catalog.format_type(a.atttypid, a.atttypmod) as type, not a.attnotnull as nullable,
			(select string_agg(case k.contype when 'p' then 'primary key' when 'u' then 'unique' else 'references ' || k.confrelid::pg_catalog.regclass::text end, ', ')
				from pg_catalog.pg_constraint k where k.conrelid = c.oid and k.contype in ('p', 'u', 'f') and a.attnum = any (k.conkey)) as key,
			pg_catalog.col_description(c.oid, a.attnum) as comment ` +
			`from pg_catalog.pg_attribute a, (select c.oid, c.relname, n.nspname ` + tables + `) c
			where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by 1, 2, a.attnum`,
	}
}
