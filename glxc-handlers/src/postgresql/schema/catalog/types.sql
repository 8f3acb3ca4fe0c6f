-- Enums, composite and range types and domains. Base and shell types are in the closed list.
SELECT t.tableoid AS class, t.oid, t.typarray AS array, t.typrelid AS relation, n.nspname AS schema,
    t.typname AS name, t.typtype AS kind,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname) AS qualified,
    pg_catalog.format_type(t.typbasetype, t.typtypmod) AS base,
    CASE WHEN t.typcollation <> b.typcollation THEN t.typcollation::pg_catalog.regcollation END AS collation,
    (SELECT r.rngsubtype::pg_catalog.regtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid) AS subtype,
    (SELECT pg_catalog.to_jsonb(r) ->> 'rngmultitypid' FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)
        AS multirange,
    (SELECT (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::pg_catalog.oid::pg_catalog.regtype
        FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid) AS multirange_name,
    (SELECT m.typarray FROM pg_catalog.pg_range r, pg_catalog.pg_type m WHERE r.rngtypid = t.oid
        AND m.oid = (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::pg_catalog.oid) AS multirange_array,
    (SELECT pg_catalog.quote_ident(on_.nspname) || '.' || pg_catalog.quote_ident(o.opcname)
        FROM pg_catalog.pg_range r JOIN pg_catalog.pg_opclass o ON o.oid = r.rngsubopc
        JOIN pg_catalog.pg_namespace on_ ON on_.oid = o.opcnamespace
        WHERE r.rngtypid = t.oid AND NOT o.opcdefault) AS opclass,
    (SELECT r.rngcollation::pg_catalog.regcollation
        FROM pg_catalog.pg_range r JOIN pg_catalog.pg_type s ON s.oid = r.rngsubtype
        WHERE r.rngtypid = t.oid AND r.rngcollation <> s.typcollation) AS range_collation,
    (SELECT r.rngsubdiff FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid AND r.rngsubdiff::pg_catalog.oid <> 0)
        AS subtype_diff,
    COALESCE((SELECT r.rngcanonical::pg_catalog.oid <> 0 FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid), false)
        AS canonical
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
WHERE {user_schema} AND t.typisdefined
    AND (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c')
