-- What new objects are granted, against what they are granted without it.
WITH found AS (
    SELECT d.oid, d.defaclrole AS role, d.defaclobjtype AS type, n.nspname AS schema, d.defaclacl AS acl,
        CASE WHEN d.defaclnamespace = 0 THEN pg_catalog.acldefault(
            CASE d.defaclobjtype WHEN 'S' THEN 's'::"char" ELSE d.defaclobjtype END, d.defaclrole)
            END AS initial
    FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace),
granted AS (
    SELECT f.oid, e.grantee, e.privilege_type, e.is_grantable FROM found f, pg_catalog.aclexplode(f.acl) e),
initial AS (
    SELECT f.oid, e.grantee, e.privilege_type, e.is_grantable FROM found f, pg_catalog.aclexplode(f.initial) e),
deltas AS (
    SELECT true AS grants, x.* FROM (SELECT * FROM granted EXCEPT SELECT * FROM initial) x
    UNION ALL SELECT false, x.* FROM (SELECT * FROM initial EXCEPT SELECT * FROM granted) x)
SELECT pg_catalog.pg_get_userbyid(f.role) AS role, f.role::pg_catalog.regrole AS role_quoted, f.schema,
    pg_catalog.quote_ident(f.schema) AS schema_quoted,
    CASE f.type WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES'
        WHEN 'n' THEN 'SCHEMAS' WHEN 'L' THEN 'LARGE OBJECTS' END AS objects,
    d.grants, d.is_grantable AS grantable,
    CASE d.grantee WHEN 0 THEN 'PUBLIC' ELSE d.grantee::pg_catalog.regrole::text END AS quoted,
    CASE d.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(d.grantee) END AS name,
    pg_catalog.string_agg(d.privilege_type, ', ' ORDER BY d.privilege_type) AS privileges
FROM found f JOIN deltas d ON d.oid = f.oid
GROUP BY f.oid, f.role, f.schema, f.type, d.grants, d.is_grantable, d.grantee
