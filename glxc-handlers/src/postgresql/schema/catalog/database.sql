-- The database itself.
SELECT d.tableoid AS class, d.oid, d.datname AS name, pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
    d.datcollate AS collate, d.datctype AS ctype,
    COALESCE(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,
    COALESCE(pg_catalog.to_jsonb(d) ->> 'datlocale', pg_catalog.to_jsonb(d) ->> 'daticulocale') AS locale,
    pg_catalog.to_jsonb(d) ->> 'daticurules' AS icu_rules,
    d.dattablespace <> 1663 AS placed, d.datconnlimit <> -1 AS limited, d.datistemplate AS template,
    pg_catalog.current_setting('server_version_num') AS version
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
