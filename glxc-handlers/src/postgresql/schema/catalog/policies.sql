-- Row security policies.
SELECT p.tableoid AS class, p.oid, pg_catalog.quote_ident(p.polname) AS quoted, c.oid AS relation,
    c.oid::pg_catalog.regclass AS relation_name, n.nspname AS schema,
    pg_catalog.concat_ws(E'\n    ',
        CASE WHEN NOT p.polpermissive THEN 'AS RESTRICTIVE' END,
        CASE p.polcmd WHEN 'r' THEN 'FOR SELECT' WHEN 'a' THEN 'FOR INSERT' WHEN 'w' THEN 'FOR UPDATE'
            WHEN 'd' THEN 'FOR DELETE' END,
        'TO ' || (SELECT pg_catalog.string_agg(COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC'), ', '
            ORDER BY r.rolname) FROM pg_catalog.unnest(p.polroles) u LEFT JOIN pg_catalog.pg_roles r ON r.oid = u),
        'USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')',
        'WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')') AS definition
FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {user_schema}
