-- ALTER DATABASE ... SET and ALTER ROLE ... IN DATABASE ... SET.
SELECT r.rolname AS role, pg_catalog.quote_ident(r.rolname) AS role_quoted, pg_catalog.split_part(c, '=', 1) AS name,
    pg_catalog.quote_ident(pg_catalog.split_part(c, '=', 1)) AS quoted,
    pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1) AS value,
    pg_catalog.quote_literal(pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1)) AS literal
FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole, pg_catalog.unnest(s.setconfig) c
WHERE d.datname = pg_catalog.current_database()
