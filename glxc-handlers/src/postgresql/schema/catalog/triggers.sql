-- Triggers, those that the server made for constraints included.
SELECT t.tableoid AS class, t.oid, t.tgname AS name, pg_catalog.quote_ident(t.tgname) AS quoted,
    c.oid AS relation, c.relkind AS relation_kind, c.oid::pg_catalog.regclass AS relation_name, n.nspname AS schema,
    t.tgenabled AS enabled, t.tgisinternal AS internal, t.tgparentid <> 0 AS clone,
    (SELECT p.tgenabled FROM pg_catalog.pg_trigger p WHERE p.oid = t.tgparentid) AS parent_enabled,
    (SELECT k.conname FROM pg_catalog.pg_constraint k WHERE k.oid = t.tgconstraint) AS constraint_name,
    pg_catalog.pg_get_triggerdef(t.oid, false) AS definition
FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {user_schema}
ORDER BY c.oid, t.tgname
