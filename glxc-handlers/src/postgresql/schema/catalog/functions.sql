-- Functions and procedures; aggregates are read apart.
SELECT p.tableoid AS class, p.oid, n.nspname AS schema, p.proname AS name, p.prokind AS kind,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname)
        || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' AS full,
    p.oid::pg_catalog.regprocedure AS qualified,
    pg_catalog.pg_get_functiondef(p.oid) AS definition,
    pg_catalog.pg_get_function_arguments(p.oid) AS arguments,
    COALESCE(pg_catalog.pg_get_function_result(p.oid), '') AS result,
    p.proleakproof AS leakproof, l.lanname AS language, l.lanpltrusted AS trusted
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE {user_schema} AND p.prokind IN ('f', 'p', 'w')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = p.tableoid AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
