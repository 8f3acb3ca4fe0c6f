-- The columns of tables, views and materialized views and the attributes of composite types, in order.
SELECT c.oid AS relation, c.relkind AS relation_kind, a.attnum AS number, a.attname AS name,
    pg_catalog.quote_ident(a.attname) AS quoted, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
    t.typtype AS type_kind, b.base, a.attnotnull AS not_null, a.attgenerated AS generated,
    a.attidentity AS identity, a.attislocal AS local, a.attinhcount > 0 AS inherited,
    CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::pg_catalog.regcollation END AS collation,
    d.tableoid AS default_class, d.oid AS default_oid, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS expression
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
CROSS JOIN LATERAL (
    WITH RECURSIVE chain AS (
        SELECT t.oid, t.typtype, t.typbasetype, t.typname, t.typnamespace
        UNION ALL
        SELECT u.oid, u.typtype, u.typbasetype, u.typname, u.typnamespace
        FROM chain JOIN pg_catalog.pg_type u ON u.oid = chain.typbasetype WHERE chain.typtype = 'd')
    SELECT pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(chain.typname) AS base
    FROM chain JOIN pg_catalog.pg_namespace s ON s.oid = chain.typnamespace WHERE chain.typtype <> 'd') b
WHERE {user_schema} AND c.relkind IN ('r', 'p', 'v', 'm', 'c') AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.oid, a.attnum
