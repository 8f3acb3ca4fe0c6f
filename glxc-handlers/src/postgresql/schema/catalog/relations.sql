-- Tables, views, materialized views and sequences.
SELECT c.tableoid AS class, c.oid, c.reltype AS row_type, t.typarray AS row_array, n.nspname AS schema,
    c.relname AS name, c.oid::pg_catalog.regclass AS qualified, c.relkind AS kind,
    c.relpersistence = 'u' AS unlogged, c.relrowsecurity AS row_security,
    c.relforcerowsecurity AS force_row_security, c.relreplident AS replica_identity,
    c.reltablespace <> 0 AS placed, c.reloftype <> 0 AS typed,
    CASE WHEN c.relkind = 'p' OR am.amname <> 'heap' THEN pg_catalog.quote_ident(am.amname) END AS method,
    pg_catalog.pg_get_partkeydef(c.oid) AS partition_key,
    pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bound,
    CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) END AS query,
    (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(o.option_name) || '=' ||
        CASE WHEN o.option_name = 'check_option' THEN o.option_value
            ELSE pg_catalog.quote_literal(o.option_value) END, ', ' ORDER BY o.option_name)
        FROM pg_catalog.pg_options_to_table(c.reloptions) o) AS options,
    COALESCE((SELECT pg_catalog.bool_or(t.typtype = 'e')
        FROM pg_catalog.pg_partitioned_table p, pg_catalog.unnest(p.partattrs::pg_catalog.int2[]) k,
            pg_catalog.pg_attribute a, pg_catalog.pg_type t
        WHERE p.partrelid = c.oid AND p.partstrat = 'h' AND a.attrelid = c.oid AND a.attnum = k
            AND t.oid = a.atttypid), false) AS hashes_enum
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam AND c.relkind IN ('r', 'p', 'm')
LEFT JOIN pg_catalog.pg_type t ON t.oid = c.reltype
WHERE {user_schema} AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
