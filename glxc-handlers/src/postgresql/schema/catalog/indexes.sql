-- Every index of a table or materialized view, those of constraints included.
SELECT i.tableoid AS class, i.oid, i.relname AS name, i.oid::pg_catalog.regclass AS qualified, c.oid AS relation,
    c.relkind AS relation_kind, c.oid::pg_catalog.regclass AS relation_name,
    pg_catalog.pg_get_indexdef(i.oid) AS definition, n.nspname AS schema,
    k.oid AS constraint_oid, k.contype AS constraint_kind, x.indisunique AS is_unique,
    x.indisvalid AND x.indisready AND x.indislive AS valid, x.indimmediate AS immediate,
    x.indisexclusion AS exclusion, x.indexprs IS NOT NULL AS expressions,
    COALESCE((pg_catalog.to_jsonb(x) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_not_distinct,
    pg_catalog.pg_get_expr(x.indpred, x.indrelid) AS predicate, i.reltablespace <> 0 AS placed,
    h.inhparent AS parent
FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.oid AND k.contype IN ('p', 'u', 'x')
LEFT JOIN pg_catalog.pg_inherits h ON h.inhrelid = i.oid
WHERE {user_schema} AND c.relkind IN ('r', 'p', 'm')
