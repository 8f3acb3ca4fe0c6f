-- What is granted and revoked against what the server gives by itself: the built-in default, or what
-- the extension or initdb left. Initdb keeps no record of what it granted in information_schema.
WITH acls(class, oid, sub, type, owner, subject, acl, initial) AS (
    SELECT n.tableoid, n.oid, 0, 'n'::"char", n.nspowner, 'SCHEMA ' || pg_catalog.quote_ident(n.nspname), n.nspacl, NULL::int
        FROM pg_catalog.pg_namespace n WHERE n.nspname <> 'information_schema'
    UNION ALL SELECT c.tableoid, c.oid, 0, CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END, c.relowner,
        CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::pg_catalog.regclass, c.relacl, NULL
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relacl IS NOT NULL AND n.nspname <> 'information_schema'
    UNION ALL SELECT c.tableoid, c.oid, a.attnum, 'c', c.relowner,
        '(' || pg_catalog.quote_ident(a.attname) || ') ON TABLE ' || c.oid::pg_catalog.regclass, a.attacl, NULL
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid WHERE a.attacl IS NOT NULL
    UNION ALL SELECT p.tableoid, p.oid, 0, 'f', p.proowner,
        CASE p.prokind WHEN 'p' THEN 'PROCEDURE ' ELSE 'FUNCTION ' END || p.oid::pg_catalog.regprocedure, p.proacl, NULL
        FROM pg_catalog.pg_proc p WHERE p.proacl IS NOT NULL
    UNION ALL SELECT t.tableoid, t.oid, 0, 'T', t.typowner, 'TYPE ' || pg_catalog.format_type(t.oid, NULL), t.typacl, NULL
        FROM pg_catalog.pg_type t WHERE t.typacl IS NOT NULL
    UNION ALL SELECT l.tableoid, l.oid, 0, 'l', l.lanowner, 'LANGUAGE ' || pg_catalog.quote_ident(l.lanname), l.lanacl, NULL
        FROM pg_catalog.pg_language l WHERE l.lanacl IS NOT NULL
    UNION ALL SELECT d.tableoid, d.oid, 0, 'd', d.datdba, 'DATABASE current_database', d.datacl, NULL
        FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()),
found AS (
    SELECT a.class, a.oid, a.sub, a.type, a.owner, a.subject, COALESCE(a.acl, pg_catalog.acldefault(a.type, a.owner)) AS acl,
        COALESCE(i.initprivs, pg_catalog.acldefault(a.type, a.owner)) AS initial
    FROM acls a LEFT JOIN pg_catalog.pg_init_privs i ON i.classoid = a.class AND i.objoid = a.oid AND i.objsubid = a.sub
        AND NOT (a.type = 'n' AND a.oid = 2200)
    WHERE a.acl IS NOT NULL OR i.initprivs IS NOT NULL),
granted AS (
    SELECT f.class, f.oid, f.sub, f.owner, f.subject, e.grantor, e.grantee, e.privilege_type, e.is_grantable
    FROM found f, pg_catalog.aclexplode(f.acl) e),
initial AS (
    SELECT f.class, f.oid, f.sub, f.owner, f.subject, e.grantor, e.grantee, e.privilege_type, e.is_grantable
    FROM found f, pg_catalog.aclexplode(f.initial) e),
deltas AS (
    SELECT true AS grants, x.* FROM (SELECT * FROM granted EXCEPT SELECT * FROM initial) x
    UNION ALL SELECT false, x.* FROM (SELECT * FROM initial EXCEPT SELECT * FROM granted) x)
SELECT class, oid, sub, subject, grants, is_grantable AS grantable, grantor = owner AS by_owner,
    pg_catalog.pg_get_userbyid(grantor) AS grantor,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::pg_catalog.regrole::text END AS quoted,
    CASE grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(grantee) END AS name,
    pg_catalog.string_agg(privilege_type, ', ' ORDER BY privilege_type) AS privileges
FROM deltas GROUP BY class, oid, sub, subject, grants, is_grantable, owner, deltas.grantor, grantee
