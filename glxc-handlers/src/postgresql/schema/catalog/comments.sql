-- Comments on what users made, and on the database. Those of extensions' members come from their scripts.
SELECT d.classoid AS class, d.objoid AS oid, d.objsubid AS sub, pg_catalog.quote_literal(d.description) AS comment
FROM pg_catalog.pg_description d
WHERE (d.objoid >= 16384 OR d.objoid = 2200 AND d.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
        OR d.classoid = 'pg_catalog.pg_extension'::pg_catalog.regclass)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend m
        WHERE m.classid = d.classoid AND m.objid = d.objoid AND m.deptype = 'e')
UNION ALL SELECT s.classoid, s.objoid, 0, pg_catalog.quote_literal(s.description) FROM pg_catalog.pg_shdescription s
    JOIN pg_catalog.pg_database b ON b.oid = s.objoid
    WHERE s.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND b.datname = pg_catalog.current_database()
