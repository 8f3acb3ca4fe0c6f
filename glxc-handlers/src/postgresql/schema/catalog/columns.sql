-- The columns of tables, views and materialized views and the attributes of composite types, in order.
SELECT c.oid AS relation, c.relkind AS relation_kind, a.attnum AS number, a.attname AS name,
    pg_catalog.quote_ident(a.attname) AS quoted, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
    t.typtype AS type_kind, b.base, a.attnotnull AND COALESCE(k.convalidated, true) AS not_null, a.attgenerated AS generated,
    a.attidentity AS identity, a.attislocal AS local, a.attinhcount > 0 AS inherited,
    CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::pg_catalog.regcollation END AS collation,
    d.tableoid AS default_class, d.oid AS default_oid, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS expression,
    k.tableoid AS constraint_class, k.oid AS constraint_oid, pg_catalog.quote_ident(k.conname) AS constraint_name,
    k.conislocal AS constraint_local, k.coninhcount > 0 AS constraint_inherited, k.connoinherit AS constraint_no_inherit,
    k.convalidated AS constraint_validated,
    -- What the server adds to a name that is taken depends on the order in which tables are made.
    k.conname = c.relname || '_' || a.attname || '_not_null' AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o
        WHERE o.conname = k.conname AND o.connamespace = k.connamespace AND o.oid <> k.oid
            AND NOT (o.contype = 'n' AND o.coninhcount > 0)) AS constraint_usual
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey[1] = a.attnum
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
