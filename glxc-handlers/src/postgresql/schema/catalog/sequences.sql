-- Sequences with the column that each belongs to.
SELECT c.oid, c.oid::pg_catalog.regclass AS qualified, n.nspname AS schema, c.relname AS name,
    pg_catalog.format_type(s.seqtypid, NULL) AS type, s.seqincrement AS increment, s.seqmin AS min, s.seqmax AS max,
    s.seqstart AS start, s.seqcache AS cache, s.seqcycle AS cycle,
    d.refobjid AS relation, d.refobjid::pg_catalog.regclass AS relation_name, a.attname AS column_name,
    pg_catalog.quote_ident(a.attname) AS column_quoted, COALESCE(d.deptype = 'i', false) AS identity,
    (SELECT e.extname FROM pg_catalog.pg_depend m JOIN pg_catalog.pg_extension e ON e.oid = m.refobjid
        WHERE m.classid = c.tableoid AND m.objid = c.oid AND m.deptype = 'e') AS extension
FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend d ON d.classid = c.tableoid AND d.objid = c.oid AND d.objsubid = 0
    AND d.refclassid = c.tableoid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE {user_schema}
