-- What seems to have been changed on an extension's own objects: what another transaction wrote than those that made or updated
-- the extension. A transaction id does not survive a pg_upgrade, so this is material for a note, not for an error.
WITH member AS (
    SELECT classid, objid, refobjid AS extension, xmin::text AS xid FROM pg_depend
    WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass AND refobjid >= 16384),
made AS (
    SELECT extension, xid FROM member UNION SELECT oid, xmin::text FROM pg_extension),
part(class, oid, sub, relation, xid) AS (
    SELECT 'pg_class'::regclass, indexrelid, 0, indrelid, xmin::text FROM pg_index
    UNION ALL SELECT tableoid, oid, 0, conrelid, xmin::text FROM pg_constraint
    UNION ALL SELECT tableoid, oid, 0, tgrelid, xmin::text FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT tableoid, oid, 0, ev_class, xmin::text FROM pg_rewrite WHERE rulename <> '_RETURN'
    UNION ALL SELECT tableoid, oid, 0, polrelid, xmin::text FROM pg_policy
    UNION ALL SELECT tableoid, oid, 0, stxrelid, xmin::text FROM pg_statistic_ext
    UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, attrelid, xmin::text FROM pg_attribute
        WHERE attnum > 0 AND NOT attisdropped),
changed(class, oid, sub, extension, xid, what) AS (
    SELECT p.class, p.oid, p.sub, m.extension, p.xid, ''
    FROM part p JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = p.relation
    UNION ALL SELECT m.classid, p.oid, 0, m.extension, p.xmin::text, ''
    FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    UNION ALL SELECT m.classid, m.objid, d.objsubid, m.extension, d.xmin::text, 'comment on '
    FROM pg_description d JOIN member m ON m.classid = d.classoid AND m.objid = d.objoid)
SELECT DISTINCT c.what || i.type || ' ' || i.identity
FROM changed c CROSS JOIN LATERAL pg_identify_object(c.class, c.oid, c.sub) i
WHERE NOT EXISTS (SELECT FROM made WHERE made.extension = c.extension AND made.xid = c.xid)
ORDER BY 1
