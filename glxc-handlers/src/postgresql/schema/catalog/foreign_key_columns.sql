-- The columns of each foreign key, in order.
SELECT k.oid, a.attname AS name, b.attname AS referenced,
    pg_catalog.quote_ident(s.nspname) || '.' || o.oprname AS operator
FROM pg_catalog.pg_constraint k
CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey),
    pg_catalog.unnest(k.conpfeqop)) WITH ORDINALITY u(own, other, eq, position)
JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.own
JOIN pg_catalog.pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.other
JOIN pg_catalog.pg_operator o ON o.oid = u.eq
JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
WHERE k.contype = 'f' ORDER BY k.oid, u.position
