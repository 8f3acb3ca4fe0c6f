-- The key columns of unique and exclusion indexes, in order.
SELECT x.indexrelid AS index, a.attname AS name, p.position,
    pg_catalog.pg_get_indexdef(x.indexrelid, p.position::int, false) AS expression,
    (SELECT pg_catalog.quote_ident(s.nspname) || '.' || o.oprname FROM pg_catalog.pg_constraint k
        JOIN pg_catalog.pg_operator o ON o.oid = k.conexclop[p.position]
        JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
        WHERE k.conindid = x.indexrelid AND k.contype = 'x') AS operator
FROM pg_catalog.pg_index x
CROSS JOIN LATERAL pg_catalog.generate_series(1, x.indnkeyatts) AS p(position)
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[p.position - 1]
    AND a.attnum > 0
WHERE x.indexrelid >= 16384 AND (x.indisunique OR x.indisexclusion) ORDER BY x.indexrelid, p.position
