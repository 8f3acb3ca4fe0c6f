-- Constraints of tables and domains. Those that the server keeps for a constraint trigger are the trigger's.
SELECT k.tableoid AS class, k.oid, k.conname AS name, pg_catalog.quote_ident(k.conname) AS quoted, k.contype AS kind,
    k.conrelid AS relation, k.contypid AS domain, k.contypid::pg_catalog.regtype AS domain_name,
    pg_catalog.pg_get_constraintdef(k.oid) AS definition, k.conparentid <> 0 AS clone,
    k.conislocal AS local, k.coninhcount > 0 AS inherited,
    k.condeferrable AS deferrable, k.condeferred AS deferred, k.convalidated AS validated,
    k.confmatchtype AS match_type, k.confrelid::pg_catalog.regclass AS referenced, k.conindid AS index,
    i.tableoid AS index_class, k.conindid::pg_catalog.regclass AS index_name, i.reltablespace <> 0 AS placed,
    x.indisvalid AS valid
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
LEFT JOIN pg_catalog.pg_class i ON i.oid = k.conindid
LEFT JOIN pg_catalog.pg_index x ON x.indexrelid = k.conindid
WHERE {user_schema} AND k.contype <> 't'
