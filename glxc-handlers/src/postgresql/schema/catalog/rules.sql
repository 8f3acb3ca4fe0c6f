-- Rewrite rules; the one of each view itself is its query.
SELECT r.tableoid AS class, r.oid, pg_catalog.quote_ident(r.rulename) AS quoted, r.rulename = '_RETURN' AS is_query,
    c.oid AS relation, c.oid::pg_catalog.regclass AS relation_name, n.nspname AS schema,
    pg_catalog.pg_get_ruledef(r.oid) AS definition
FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {user_schema}
