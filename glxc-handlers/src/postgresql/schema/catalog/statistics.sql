-- Extended statistics.
SELECT s.tableoid AS class, s.oid, s.stxname AS name,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(s.stxname) AS qualified,
    s.stxrelid AS relation, pg_catalog.pg_get_statisticsobjdef(s.oid) AS definition
FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
WHERE {user_schema}
